"""The ladder of kernels: the share of the peak that each reaches."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.report.figures.palette import GROUND, INK, OPERATORS, PEER
from sepconv_bench.report.figures.style import styled, title


@styled
def rungs_to_the_peak(timings: pd.DataFrame) -> Figure | None:
    """Share of the peak of every kernel, a panel an operator: the median over shapes, and a line from least to most."""
    rows = timings[(timings.status == "ok") & timings.eta.notna()] if len(timings) else timings
    if rows.empty:
        return None
    operators = list(dict.fromkeys(rows.operator))
    longest = max(rows[rows.operator == operator].kernel.nunique() for operator in operators)
    across = min(2, len(operators))
    down = -(-len(operators) // across)
    figure, grid = plt.subplots(down, across, figsize=(4.6 * across, down * (0.9 + 0.24 * longest)), sharex=True, squeeze=False)
    for axes in grid.flat[len(operators) :]:
        axes.remove()
    for axes, operator in zip(grid.flat, operators, strict=False):
        _bars_of(axes, rows[rows.operator == operator], OPERATORS[operator])
        axes.set_title(operator)
        axes.set_xlim(0, 1.02)
    for axes in grid[-1]:
        if axes.figure is not None:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))
            axes.set_xlabel("share of the FMA peak, $\\eta$")
    title(figure, "From the equation to the peak: every kernel, median over shapes, least and most")
    return figure


def _bars_of(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    shares = rows.groupby("kernel", sort=False).eta.agg(["median", "min", "max"])
    at = np.arange(len(shares))[::-1]
    declared = rows.drop_duplicates("kernel").set_index("kernel").loc[shares.index]
    others = ~declared.library.isin([OURS, USER])
    colours = [PEER if other else colour for other in others]
    hatches = ["//" if other else "" for other in others]
    axes.barh(at, shares["median"], height=0.66, color=colours, hatch=hatches, edgecolor=GROUND)
    axes.hlines(at, shares["min"], shares["max"], color=INK, linewidth=1.1, zorder=4)
    axes.set_yticks(at, list(declared.variant), fontsize=8)
    axes.grid(axis="y", visible=False)
