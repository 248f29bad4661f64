"""Why each shape is off the line: the factors between the promised and the measured speedup, end to end."""

from __future__ import annotations

from math import ceil, floor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sepconv_bench.report.figures.palette import GROUND, INK, LAUNCH, MEMORY, SEPARABLE, STANDARD
from sepconv_bench.report.figures.style import styled, title
from sepconv_bench.report.sentences import describe_shape, explained

_MOST = 40  # shapes that one page can show
# Colour, hatch for print in grey, and what the factor is in words.
_FACTORS = {
    "roofline": (MEMORY, "", "memory bandwidth"),
    "overhead": (LAUNCH, "////", "fixed cost of a launch"),
    "separable": (SEPARABLE, "", "separable kernel below its roofline"),
    "standard": (STANDARD, "....", "standard kernel below its roofline (flatters)"),
}


@styled
def reasons(why: pd.DataFrame) -> Figure | None:
    """From promised to measured, a row a shape: bars of log2 of each factor, end to end; fastest kernels of each side."""
    best = explained(why)
    if best.empty:
        return None
    rows = _some(best.assign(kept=best.speedup / best.theory_speedup).sort_values("kept", ascending=False))
    figure, axes = plt.subplots(figsize=(8.2, 1.9 + 0.24 * len(rows)))
    at = np.arange(len(rows))[::-1]
    below, above = np.zeros(len(rows)), np.zeros(len(rows))
    for name, (colour, hatch, _) in _FACTORS.items():
        logs = rows[f"log2_{name}"].to_numpy()
        left = np.where(logs < 0, below, above)
        axes.barh(at, logs, left=left, height=0.62, color=colour, hatch=hatch, edgecolor=GROUND, linewidth=0.4)
        below, above = below + np.minimum(logs, 0), above + np.maximum(logs, 0)
    axes.scatter(np.log2(rows.kept), at, s=30, color=INK, marker="o", edgecolors=GROUND, linewidths=0.8, zorder=5)
    axes.axvline(0, color=INK, linewidth=1.2, zorder=4)
    axes.set_yticks(at, [describe_shape(row) for _, row in rows.iterrows()], fontsize=7.5)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="y", visible=False)
    _times_axis(axes, min(below.min(), -0.5), max(above.max(), 0.5))
    axes.set_xlabel("measured / promised speedup; the bars multiply to the dot")
    shown = f"{len(rows)} of {len(best)} shapes" if len(rows) < len(best) else "the fastest kernels of each side"
    title(figure, f"What takes each shape from its promise: {shown}")
    handles: list = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=GROUND, label=words) for colour, hatch, words in _FACTORS.values()
    ]
    handles += [
        Line2D([], [], linestyle="", marker="o", color=INK, label="measured"),
        Line2D([], [], color=INK, linewidth=1.2, label="as promised"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, columnspacing=1.4)
    return figure


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """All rows, or as many as fit, evenly from the first to the last."""
    if len(rows) <= _MOST:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, _MOST).round().astype(int)]


def _times_axis(axes: Axes, low: float, high: float) -> None:
    """An axis of log2, labelled with what it means: 1/2, 1, 2 times."""
    axes.set_xlim(low * 1.06 - 0.05, high * 1.06 + 0.05)
    step = 0.5 if high - low < 5 else 1.0
    ticks = np.arange(ceil(low / step), floor(high / step) + 1) * step
    axes.set_xticks(ticks, [f"{2**tick:.2g}x" for tick in ticks])
