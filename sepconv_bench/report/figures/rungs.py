"""Like with like: measured against promised speedup, a panel a rung."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sepconv_bench.report.figures.points import interval_handles, panels, points, promise_handle, speedup_axes, spread
from sepconv_bench.report.figures.style import (
    SPEEDUP,
    facets,
    legend_below,
    look_handles,
    looks_of,
    styled,
)
from sepconv_bench.report.plain import in_figure


@styled
def rungs(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, like with like: one panel a rung."""
    parts = panels(ratios, best=False)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=4.0)
    looks = looks_of(ratios.D_K)
    for axes, (title, rows) in zip(grid, parts, strict=True):
        speedup_axes(axes, [rows for _, rows in parts])
        points(axes, rows, spread(rows), looks)
        axes.set_title(in_figure(title))
    grid[0].set_ylabel(f"measured {SPEEDUP}")
    legend_below(figure, [*look_handles("$D_K$ = ", looks), promise_handle(), _slower_handle(), *interval_handles(ratios)])
    return figure


def _slower_handle() -> Patch:
    return Patch(color="#000000", alpha=0.06, linewidth=0, label="separable is slower")
