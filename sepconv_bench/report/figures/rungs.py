"""Like with like: measured against promised speedup, a panel a rung."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sepconv_bench.report.figures.palette import WASH, of_widths
from sepconv_bench.report.figures.points import PROMISED, interval_handles, panels, points, promise_handle, speedup_axes
from sepconv_bench.report.figures.style import (
    SPEEDUP,
    facets,
    legend_below,
    look_handles,
    styled,
    title,
)
from sepconv_bench.report.plain import in_figure


@styled
def rungs(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, like with like: one panel a rung."""
    parts = panels(ratios, best=False)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=4.0)
    looks = of_widths(ratios.D_K)
    for axes, (name, rows) in zip(grid, parts, strict=True):
        speedup_axes(axes, [rows for _, rows in parts])
        points(axes, rows, looks)
        axes.set_title(in_figure(name))
    figure.supylabel(f"measured {SPEEDUP}", fontsize=10)
    title(figure, f"Like with like: measured speedup over the {PROMISED}, a panel a pair of kernels")
    legend_below(figure, [*look_handles("$D_K$ = ", looks), promise_handle(), _slower_handle(), *interval_handles(ratios)])
    return figure


def _slower_handle() -> Patch:
    return Patch(color=WASH, linewidth=0, label="separable is slower")
