"""Where separable convolution stops paying."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from sepconv_bench.model import theory
from sepconv_bench.model.shapes import FIELDS, ConvShape
from sepconv_bench.report.figures.points import panels
from sepconv_bench.report.figures.style import (
    MEASURED_GREY,
    facets,
    log_axis,
    styled,
)

_LOSES, _PAYS = "X", "o"  # markers, so that print in grey tells them apart


@styled
def crossover(ratios: pd.DataFrame) -> Figure | None:
    """Where separable convolution pays: every shape by its promise and its size, a panel a comparison."""
    parts = panels(ratios, best=True)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=3.9)
    norm = TwoSlopeNorm(0, -2, 3)  # of log2: from a quarter to eight times
    sizes = {index: _multiply_adds(row) for index, row in ratios.iterrows()}
    marks = None
    for axes, (title, rows) in zip(grid, parts, strict=True):
        loses = rows.speedup < 1
        for chosen, marker in ((loses, _LOSES), (~loses, _PAYS)):
            part = rows[chosen]
            marks = axes.scatter(
                part.theory_speedup,
                [sizes[index] for index in part.index],
                c=np.log2(part.speedup).clip(-2, 3),
                norm=norm,
                cmap="RdBu",
                s=46,
                marker=marker,
                edgecolors="#333333",
                linewidths=0.6,
                zorder=3,
            )
        axes.axvline(1, color="#999999", linewidth=0.9, zorder=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{title}: loses on {int(loses.sum())} of {len(rows)}", fontsize=9.5)
        axes.set_xlabel("promised speedup")
        axes.set_xlim(ratios.theory_speedup.min() / 1.4, ratios.theory_speedup.max() * 1.4)
        axes.set_ylim(min(sizes.values()) / 2, max(sizes.values()) * 2)
        log_axis(axes.xaxis)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    grid[0].set_ylabel("multiply-adds of the standard layer (millions)")
    assert marks is not None
    bar = figure.colorbar(marks, ax=list(grid), label="measured speedup", pad=0.01)
    bar.ax.set_yticks([-2, -1, 0, 1, 2, 3], ["1/4x", "1/2x", "1x", "2x", "4x", "8x"])
    handles = [
        Line2D([], [], linestyle="", marker=_PAYS, color=MEASURED_GREY, label="separable pays"),
        Line2D([], [], linestyle="", marker=_LOSES, color=MEASURED_GREY, label="separable is slower"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle("Where separable convolution stops paying", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _multiply_adds(row: pd.Series) -> float:
    """Of the standard layer, in millions."""
    shape = ConvShape(*(int(row[name]) for name in FIELDS))
    return theory.multiplications("standard", shape) / 1e6
