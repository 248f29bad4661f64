"""Where separable convolution stops paying."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sepconv_bench.model import theory
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report.figures.palette import WASH, of_widths
from sepconv_bench.report.figures.points import bars, interval_handles, panels, reach
from sepconv_bench.report.figures.style import SPEEDUP, facets, legend_below, log_axis, look_handles, styled, title
from sepconv_bench.report.plain import in_figure


@styled
def crossover(ratios: pd.DataFrame) -> Figure | None:
    """Where separable convolution pays: measured speedup over the size of the standard layer, a panel a comparison."""
    parts = panels(ratios, best=True)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=3.4)
    looks = of_widths(ratios.D_K)
    sizes = ratios.apply(_multiply_adds, axis=1)
    low, high = reach(ratios)
    for axes, (name, rows) in zip(grid, parts, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(sizes.min() / 2, sizes.max() * 2)
        axes.set_ylim(min(low / 1.25, 0.8), max(high * 1.25, 1.25))
        axes.axhspan(axes.get_ylim()[0], 1, color=WASH, linewidth=0, zorder=0)
        for _, part in rows.groupby("D_K"):
            bars(axes, sizes[part.index], part, looks[int(part.D_K.iloc[0])])
        axes.set_title(f"{in_figure(name)}: loses on {int((rows.speedup < 1).sum())} of {len(rows)}", fontsize=9.5)
        log_axis(axes.yaxis)
        log_axis(axes.xaxis, [10.0**power for power in range(-6, 9) if sizes.min() / 2 <= 10.0**power <= sizes.max() * 2])
    figure.supylabel(f"measured {SPEEDUP}", fontsize=10)
    for axes in grid[-4:]:
        axes.set_xlabel("million multiply-adds, standard")
    slower = Patch(color=WASH, linewidth=0, label="separable is slower")
    legend_below(figure, [*look_handles("$D_K$ = ", looks), slower, *interval_handles(ratios)])
    title(figure, "Where separable convolution stops paying: speedup over the size of the standard layer")
    return figure


def _multiply_adds(row: pd.Series) -> float:
    """Of the standard layer, in millions."""
    return theory.multiplications("standard", ConvShape.of_row(row.to_dict())) / 1e6
