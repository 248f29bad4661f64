"""Measured speedups as points with their intervals over the promised ones: what several figures draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sepconv_bench.model.shapes import IDENTITY
from sepconv_bench.report.figures.palette import GROUND, INK, SOFT, WASH, Look
from sepconv_bench.report.figures.style import SPEEDUP, log_axis

PROMISED = "promised speedup  $1/(1/N + 1/D_K^2)$"
_MOST_PANELS = 4
_LOSS = 0.8  # speedup down to which axes reach where they show the ground on which separable is slower: room for its name


def panels(ratios: pd.DataFrame, best: bool) -> list[tuple[str, pd.DataFrame]]:
    """The comparisons to draw side by side: best with best if asked, then each rung with its like and each lone kernel."""
    if ratios.empty:
        return []
    found = [("fastest of each", ratios[ratios.best])] if best else []
    # Two kernels that were measured on a shape with several lists of kernels are one point, as they were measured last.
    once = ratios.drop_duplicates([*IDENTITY, "standard_kernel", "separable_kernel"], keep="last")
    found += [(str(rung), rows) for rung, rows in once[once.rung != ""].groupby("rung", sort=False)]
    return [(title, rows) for title, rows in found if len(rows)]


def parts_of_widths(best: pd.DataFrame) -> Sequence[pd.DataFrame]:
    """A part a D_K, or all of them where there are too many for panels."""
    return [part for _, part in best.groupby("D_K")] if best.D_K.nunique() <= _MOST_PANELS else [best]


def panels_of_widths(best: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure of measured over promised speedup with a panel for each of `parts_of_widths`, that with the most shapes the
    widest, for shapes of one D_K promise nearly the same. Points are yet to be drawn."""
    parts = parts_of_widths(best)
    most = max(map(len, parts))
    widths = [3.0 if len(part) == most else 1.35 for part in parts]
    size = (min(9.4, 3.2 + 1.55 * sum(widths)), 4.7)
    figure, (grid,) = plt.subplots(1, len(parts), figsize=size, width_ratios=widths, squeeze=False)
    for axes, part in zip(grid, parts, strict=True):
        speedup_axes(axes, [part])
        if len(parts) > 1:
            axes.set_title(f"$D_K$ = {part.D_K.iloc[0]}")
        if axes.get_ylim()[0] < 1:
            axes.annotate(
                "separable is slower",
                (0.98, 0),
                xycoords="axes fraction",
                xytext=(0, 4),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=8,
                color=SOFT,
            )
    grid[0].set_ylabel(f"measured {SPEEDUP}")
    grid[int(np.argmax(widths))].set_xlabel(PROMISED)
    return figure, [*zip(grid, parts, strict=True)]


def reach(rows: pd.DataFrame) -> tuple[float, float]:
    """The least and the most that a logarithmic axis has to hold: speedups and those ends of their intervals that are above 0
    and finite. An interval with another end runs to the edge of the figure."""
    ends = pd.concat([rows.speedup_lo.where(rows.speedup_lo > 0), rows.speedup_hi.replace(np.inf, np.nan), rows.speedup])
    return float(ends.min()), float(ends.max())


def speedup_axes(axes: Axes, parts: Sequence[pd.DataFrame]) -> None:
    """Log-log axes over all the parts, with the line on which the formula would be right and the one of no gain."""
    rows = pd.concat(parts)
    least, most = reach(rows)
    low, high = min(least, rows.theory_speedup.min()), max(most, rows.theory_speedup.max())
    x = np.array([rows.theory_speedup.min() / 1.25, rows.theory_speedup.max() * 1.25])
    bottom = low / 1.3
    y = np.array([min(bottom, _LOSS) if bottom < 1 else bottom, high * 1.3])
    axes.set_xscale("log")
    axes.set_yscale("log")
    line = np.array([min(x[0], y[0]), max(x[1], y[1])])
    if y[0] < 1:
        axes.axhspan(y[0], 1, color=WASH, linewidth=0, zorder=0)
    axes.plot(line, line, color=INK, linewidth=1.2, zorder=1)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    for side, (start, end) in ((axes.xaxis, x), (axes.yaxis, y)):
        # Where all are about the same, 1, 2 and 5 of a decade are too far apart.
        near = MaxNLocator(5).tick_values(start, end) if end < 4 * start else []
        log_axis(side, [float(tick) for tick in near if start < tick < end])


def points(axes: Axes, rows: pd.DataFrame, looks: Mapping[Any, Look], by: str = "D_K") -> None:
    """Measured over promised speedup, each point at its promise, with the look of its value in the column `by`."""
    for value, look in looks.items():
        chosen = rows[rows[by].eq(value)]
        if len(chosen):
            bars(axes, chosen.theory_speedup, chosen, look)


def bars(axes: Axes, x: np.ndarray | pd.Series, rows: pd.DataFrame, look: Look) -> None:
    """Points with their 95 % intervals, hollow where they did not close, on axes whose limits are set: an interval that is open
    to one side runs to the edge. They can be seen through: where several lie on each other it is darker."""
    bottom, top = axes.get_ylim()
    low, high = (ends.clip(bottom, top).fillna(rows.speedup) for ends in (rows.speedup_lo, rows.speedup_hi))
    axes.vlines(x, low, high, color=look.colour, linewidth=1.5, alpha=0.75, zorder=4)
    scale = min(1.0, (400 / len(rows)) ** 0.5)  # so that a crowd shows where it is densest
    at, closed = np.asarray(x), (rows.grade != "C").to_numpy()
    shape = {"s": 36 * scale, "marker": look.marker, "linewidths": 1.2 * scale, "zorder": 5}
    for chosen, face, alpha in ((~closed, GROUND, 1.0), (closed, look.colour, 0.6)):
        if chosen.any():
            axes.scatter(at[chosen], rows.speedup[chosen], c=face, edgecolors=look.colour, alpha=alpha, **shape)


def interval_handles(rows: pd.DataFrame) -> list[Line2D]:
    """What a hollow marker means, where there is one."""
    if not (rows.grade == "C").any():
        return []
    label = "hollow: interval not closed (grade C)"
    return [Line2D([], [], linestyle="", marker="o", markerfacecolor=GROUND, color=SOFT, label=label)]


def promise_handle() -> Line2D:
    return Line2D([], [], color=INK, linewidth=1.2, label="as promised")
