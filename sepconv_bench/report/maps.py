"""Maps of where the formula holds: the plane it spans with the measured points on it, the kernels' efficiency over channels,
and where separable convolution stops paying.

Every function takes tidy tables and gives a matplotlib Figure, or None where the results have nothing for it.
"""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from sepconv_bench.model import theory
from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report.figures import AXIS_NAMES, MEASURED_GREY, facets, log_axis, panels, styled

_SIDES = ("standard", "separable")
_LOSES, _PAYS = "X", "o"  # markers, so that print in grey tells them apart
_FEWEST = 4  # channel pairs, below which a map is no map
_MOST_TOLD = 150  # squares that still have room for a number


@styled
def plane(ratios: pd.DataFrame) -> Figure | None:
    """The promise over N and D_K as ground, and on it the measured speedups of the fastest kernels in the same colours."""
    best = ratios[ratios.best] if len(ratios) else ratios
    if best.empty or best.N.nunique() < 2 or best.D_K.nunique() < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.6, 5.2))
    N = np.geomspace(best.N.min() / 1.6, best.N.max() * 1.6, 160)
    D_K = np.linspace(max(best.D_K.min() - 0.6, 0.5), best.D_K.max() + 0.6, 120)
    promised = 1 / (1 / N[None, :] + 1 / D_K[:, None] ** 2)
    low, high = (float(reach(reach(best.speedup), reach(promised.ravel()))) for reach in (min, max))
    norm = LogNorm(low, high)
    ground = axes.pcolormesh(N, D_K, promised, norm=norm, cmap="viridis", shading="gouraud", rasterized=True)
    levels = [level for level in (0.5, 1, 2, 4, 8, 16, 32, 64, 128) if promised.min() < level < promised.max()]
    lines = axes.contour(N, D_K, promised, levels=levels, colors="white", linewidths=0.8, alpha=0.8)
    axes.clabel(lines, fmt=lambda value: f"{value:g}x", fontsize=8)
    # Shapes of the same N and D_K stand side by side.
    rank = best.groupby(["N", "D_K"]).cumcount()
    size = best.groupby(["N", "D_K"]).N.transform("size")
    x = best.N * 1.09 ** (rank - (size - 1) / 2).clip(-3.5, 3.5)
    faces = matplotlib.colormaps["viridis"](norm(best.speedup))
    axes.scatter(x, best.D_K, s=64, c=faces, edgecolors="white", linewidths=1.1, zorder=4)
    axes.set_xscale("log")
    log_axis(axes.xaxis, sorted(best.N.unique()))
    axes.set_yticks(sorted(best.D_K.unique()))
    axes.set_xlim(N[0], N[-1])
    axes.set_ylim(D_K[0], D_K[-1])
    axes.set_xlabel(AXIS_NAMES["N"])
    axes.set_ylabel(AXIS_NAMES["D_K"])
    axes.grid(visible=False)
    bar = figure.colorbar(ground, ax=axes, label="speedup: ground promised, points measured", pad=0.02)
    log_axis(bar.ax.yaxis)
    axes.set_title("The promise over $N$ and $D_K$, and what was measured", fontsize=12)
    return figure


@styled
def efficiency(timings: pd.DataFrame) -> Figure | None:
    """Share of the peak over M and N, a panel a side, of the fastest kernel of each; the median where shapes share both."""
    rows = timings[(timings.status == "ok") & timings.eta.notna() & timings.operator.isin(_SIDES)] if len(timings) else timings
    if rows.empty or len(rows[["M", "N"]].drop_duplicates()) < _FEWEST:
        return None
    fastest = rows.groupby(["operator", "D_K", "M", "N", "D_G", "stride", "batch"]).eta.max()
    shares = fastest.groupby(["operator", "M", "N"]).median()
    figure, grid = facets(2, height=4.4, width=4.4)
    shown = None
    for axes, side in zip(grid, _SIDES, strict=True):
        if side not in shares.index.get_level_values(0):
            continue
        table = shares[side].unstack("N").sort_index()
        shown = axes.pcolormesh(table.to_numpy(), vmin=0, vmax=1, cmap="viridis", edgecolors="white", linewidth=1.5)
        if table.size <= _MOST_TOLD:
            for (row, column), share in np.ndenumerate(table.to_numpy()):
                if np.isfinite(share):
                    colour = "black" if share > 0.55 else "white"
                    axes.text(column + 0.5, row + 0.5, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(np.arange(table.shape[1]) + 0.5, [str(N) for N in table.columns], rotation=45 * (table.shape[1] > 7))
        axes.set_yticks(np.arange(table.shape[0]) + 0.5, [str(M) for M in table.index])
        axes.grid(visible=False)
        axes.set_facecolor("#f0f0f0")
        axes.set_xlabel(AXIS_NAMES["N"])
        axes.set_title(side)
    grid[0].set_ylabel(AXIS_NAMES["M"])
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(grid), label="share of the machine's FMA peak, $\\eta$", pad=0.02)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    figure.suptitle("How much of the peak the fastest kernels reach", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


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
        _bars_of(axes, rows[rows.operator == operator])
        axes.set_title(operator)
        axes.set_xlim(0, 1.02)
    for axes in grid[-1]:
        if axes.figure is not None:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
            axes.set_xlabel("share of the FMA peak, $\\eta$")
    figure.suptitle("The ladder: from the equation to the peak", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _bars_of(axes: Axes, rows: pd.DataFrame) -> None:
    shares = rows.groupby("kernel", sort=False).eta.agg(["median", "min", "max"])
    at = np.arange(len(shares))[::-1]
    declared = rows.drop_duplicates("kernel").set_index("kernel").loc[shares.index]
    others = ~declared.library.isin([OURS, USER])
    colours = ["#9AA3AD" if other else "#0072B2" for other in others]
    hatches = ["//" if other else "" for other in others]
    axes.barh(at, shares["median"], height=0.66, color=colours, hatch=hatches, edgecolor="white")
    axes.hlines(at, shares["min"], shares["max"], color="#222222", linewidth=1.1, zorder=4)
    axes.set_yticks(at, list(declared.variant), fontsize=8)
    axes.grid(axis="y", visible=False)


def _multiply_adds(row: pd.Series) -> float:
    """Of the standard layer, in millions."""
    shape = ConvShape(*(int(row[name]) for name in ("D_K", "M", "N", "D_G", "stride", "batch")))
    return theory.multiplications("standard", shape) / 1e6
