"""Measured speedups as points with their intervals over the promised ones: what several figures draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sepconv_bench.model.shapes import FIELDS
from sepconv_bench.report.figures.style import (
    MEASURED_GREY,
    log_axis,
)


def panels(ratios: pd.DataFrame, best: bool) -> list[tuple[str, pd.DataFrame]]:
    """The comparisons to draw side by side: best with best if asked, then each rung with its like and each lone kernel."""
    if ratios.empty:
        return []
    found = [("fastest of each", ratios[ratios.best])] if best else []
    # Two kernels that were measured on a shape with several lists of kernels are one point, as they were measured last.
    once = ratios.drop_duplicates([*FIELDS, "standard_kernel", "separable_kernel"], keep="last")
    found += [(str(rung), rows) for rung, rows in once[once.rung != ""].groupby("rung", sort=False)]
    return [(title, rows) for title, rows in found if len(rows)]


def speedup_axes(axes: Axes, parts: Sequence[pd.DataFrame]) -> None:
    """Log-log axes over all the parts, with the line on which the formula would be right and the one of no gain."""
    rows = pd.concat(parts)
    reached = pd.concat(
        [rows.speedup_lo.replace(0, np.nan), rows.speedup_hi.replace(np.inf, np.nan), rows.speedup, rows.roofline_speedup]
    )
    low, high = min(reached.min(), rows.theory_speedup.min()), max(reached.max(), rows.theory_speedup.max())
    x = np.array([rows.theory_speedup.min() / 1.25, rows.theory_speedup.max() * 1.25])
    y = np.array([low / 1.3, high * 1.3])
    axes.set_xscale("log")
    axes.set_yscale("log")
    line = np.array([min(x[0], y[0]), max(x[1], y[1])])
    axes.axhspan(y[0], 1, color="#000000", alpha=0.06, linewidth=0, zorder=0)
    axes.plot(line, line, color="#222222", linewidth=1.2, zorder=1)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    for side, (least, most) in ((axes.xaxis, x), (axes.yaxis, y)):
        # Where all are about the same, 1, 2 and 5 of a decade are too far apart.
        log_axis(side, [tick for tick in range(1, ceil(most)) if tick > least] if most < 4 * least else ())
    axes.set_xlabel("promised speedup  $1/(1/N + 1/D_K^2)$")


def spread(rows: pd.DataFrame) -> np.ndarray:
    """Promised speedups, points of the same promise moved apart a little so that their bars can be told apart."""
    rank = rows.groupby("theory_speedup").cumcount()
    size = rows.groupby("theory_speedup").theory_speedup.transform("size")
    # The whole group is at most 14 % wide.
    step = 0.14 / np.maximum(size, 8)
    return (rows.theory_speedup * (1 + step * (rank - (size - 1) / 2))).to_numpy()


def points(axes: Axes, rows: pd.DataFrame, x: np.ndarray, looks: dict) -> None:
    for value in looks:
        chosen = rows.D_K.eq(value).to_numpy()
        if chosen.any():
            bars(axes, x[chosen], rows[chosen], *looks[value])


def bars(axes: Axes, x: np.ndarray | pd.Series, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """Points with their 95 % intervals; hollow where they did not close."""
    high = rows.speedup_hi.replace(np.inf, np.nan).fillna(rows.speedup)
    axes.vlines(x, rows.speedup_lo.replace(0, np.nan).fillna(rows.speedup), high, color=colour, linewidth=1.6, zorder=4)
    faces = ["white" if grade == "C" else colour for grade in rows.grade]
    scale = min(1.0, (400 / len(rows)) ** 0.5)  # so that a crowd shows where it is densest
    axes.scatter(x, rows.speedup, s=34 * scale, marker=marker, c=faces, edgecolors=colour, linewidths=1.2 * scale, zorder=5)


def interval_handles(rows: pd.DataFrame) -> list[Line2D]:
    """What a hollow marker means, where there is one."""
    if not (rows.grade == "C").any():
        return []
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markerfacecolor="white",
            color=MEASURED_GREY,
            label="hollow: not closed (grade C)",
        )
    ]


def promise_handle() -> Line2D:
    return Line2D([], [], color="#222222", linewidth=1.2, label="as promised")
