"""How much of the peak the fastest kernels reach, over the channels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sepconv_bench.model.shapes import IDENTITY
from sepconv_bench.report.figures.palette import GROUND, MAP, ON_DARK, ON_LIGHT, WASH
from sepconv_bench.report.figures.style import AXIS_NAMES, facets, styled, title

_SIDES = ("standard", "separable")
_FEWEST = 4  # channel pairs, below which a map is no map
_MOST_NUMBERS = 150  # squares that still have room for a number


@styled
def efficiency(timings: pd.DataFrame) -> Figure | None:
    """Share of the peak over M and N, a panel a side, of the fastest kernel of each; the median where shapes share both."""
    rows = timings[(timings.status == "ok") & timings.eta.notna() & timings.operator.isin(_SIDES)] if len(timings) else timings
    if rows.empty or len(rows[["M", "N"]].drop_duplicates()) < _FEWEST:
        return None
    fastest = rows.groupby(["operator", *IDENTITY]).eta.max()
    shares = fastest.groupby(["operator", "M", "N"]).median()
    figure, grid = facets(2, height=4.4, width=4.4)
    shown = None
    for axes, side in zip(grid, _SIDES, strict=True):
        if side not in shares.index.get_level_values(0):
            continue
        table = shares[side].unstack("N").sort_index()
        shown = axes.pcolormesh(table.to_numpy(), vmin=0, vmax=1, cmap=MAP, edgecolors=GROUND, linewidth=1.5)
        if table.size <= _MOST_NUMBERS:
            for (row, column), share in np.ndenumerate(table.to_numpy()):
                if np.isfinite(share):
                    colour = ON_DARK if share > 0.55 else ON_LIGHT
                    axes.text(column + 0.5, row + 0.5, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(np.arange(table.shape[1]) + 0.5, [str(N) for N in table.columns], rotation=45 * (table.shape[1] > 7))
        axes.set_yticks(np.arange(table.shape[0]) + 0.5, [str(M) for M in table.index])
        axes.grid(visible=False)
        axes.set_facecolor(WASH)
        axes.set_xlabel(AXIS_NAMES["N"])
        axes.set_title(side)
    grid[0].set_ylabel(AXIS_NAMES["M"])
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(grid), label="share of the FMA peak, $\\eta$;\nmedian of the shapes", pad=0.02)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    title(figure, "Share of the peak that the fastest kernels reach, over the channels")
    return figure
