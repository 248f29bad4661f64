"""The plane that the formula spans over N and D_K, and what was measured on it."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sepconv_bench.report.figures.palette import GROUND, MAP, ON_DARK, ON_LIGHT, WASH
from sepconv_bench.report.figures.style import AXIS_NAMES, styled, title
from sepconv_bench.results.rows import of_the_paper

_MOST_NUMBERS = 120  # fields that still have room for words
_LEAST, _MOST = 0.5, 1.25  # of the promise: the ends of the colours


@styled
def plane(ratios: pd.DataFrame) -> Figure | None:
    """A field for each N and D_K: the measured speedup and the promised one, coloured by the share of the promise that is kept;
    medians over the field's shapes."""
    best = of_the_paper(ratios[ratios.best] if len(ratios) else ratios)
    if best.empty or best.N.nunique() < 2 or best.D_K.nunique() < 2:
        return None
    fields = best.assign(kept=best.speedup / best.theory_speedup).groupby(["D_K", "N"])
    table = fields[["speedup", "kept", "theory_speedup"]].median().assign(shapes=fields.size())
    kept = table.kept.unstack("N").sort_index()
    figure, axes = plt.subplots(figsize=(min(9.4, 2.6 + 0.78 * kept.shape[1]), 1.7 + 0.62 * kept.shape[0]))
    shown = axes.pcolormesh(kept.to_numpy(), vmin=_LEAST, vmax=_MOST, cmap=MAP, edgecolors=GROUND, linewidth=1.5)
    if len(table) <= _MOST_NUMBERS:
        at: dict[Any, tuple[int, int]] = {
            (D_K, N): (row, column) for row, D_K in enumerate(kept.index) for column, N in enumerate(kept.columns)
        }
        for key, field in table.iterrows():
            row, column = at[key]
            words = f"{field.speedup:.1f} of {field.theory_speedup:.1f}\nn = {int(field.shapes)}"
            colour = ON_LIGHT if field.kept < 0.9 else ON_DARK
            axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(np.arange(kept.shape[1]) + 0.5, [str(N) for N in kept.columns], rotation=45 * (kept.shape[1] > 12))
    axes.set_yticks(np.arange(kept.shape[0]) + 0.5, [str(D_K) for D_K in kept.index])
    axes.grid(visible=False)
    axes.set_facecolor(WASH)
    axes.set_xlabel(AXIS_NAMES["N"])
    axes.set_ylabel(AXIS_NAMES["D_K"])
    bar = figure.colorbar(shown, ax=axes, label="measured / promised,\nmedian of ratios", pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    title(figure, "Measured of promised speedup over $N$ and $D_K$")
    return figure
