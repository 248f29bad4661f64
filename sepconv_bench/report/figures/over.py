"""Speedup over one size with the theory's curves, the others fixed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model.shapes import AXES, OPTIONAL_AXES
from sepconv_bench.report.figures.palette import RULE, SOFT, of_series, of_widths
from sepconv_bench.report.figures.points import bars, interval_handles, panels, reach
from sepconv_bench.report.figures.style import (
    AXIS_NAMES,
    SPEEDUP,
    facets,
    legend_below,
    log_axis,
    look_handles,
    styled,
    title,
)
from sepconv_bench.report.plain import in_figure
from sepconv_bench.results.rows import of_the_paper

_FEWEST = 3  # values of a size, below which points show no course


@styled
def over(ratios: pd.DataFrame, axis: str) -> Figure | None:
    """Speedup over one of D_K, M, N, D_G with the theory's curves, a panel a comparison, the other sizes fixed."""
    by = _by(axis)
    ratios = of_the_paper(ratios)  # its curves are theirs
    rows, fixed = sliced(ratios, axis, by)
    parts = [(name, part) for name, part in panels(rows, best=True) if part[axis].nunique() > 1]
    if not parts:
        return None
    figure, grid = facets(len(parts), height=3.7)
    looks: Mapping = of_widths(rows.D_K) if by == "D_K" else of_series(sorted(rows[by].unique()))
    least, most = reach(rows)
    low, high = min(least, rows.theory_speedup.min()), max(most, rows.theory_speedup.max())
    for axes, (name, part) in zip(grid, parts, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(low / 1.25, high * 1.25)
        for value, line in part.groupby(by):
            axes.plot(*_theory_curve(line, axis), color=looks[value].colour, linestyle=(0, (5, 2)), linewidth=1.2, zorder=2)
            bars(axes, line[axis], line, looks[value])
        axes.axhline(1, color=RULE, linewidth=0.9, zorder=1)
        log_axis(axes.xaxis, sorted(rows[axis].unique()))
        log_axis(axes.yaxis)
        axes.set_xlabel(AXIS_NAMES[axis])
        axes.set_title(in_figure(name))
    figure.supylabel(f"measured {SPEEDUP}", fontsize=10)
    theory = Line2D([], [], color=SOFT, linestyle=(0, (5, 2)), linewidth=1.2, label="promised, $1/(1/N + 1/D_K^2)$")
    legend_below(figure, [*look_handles(f"${by}$ = ", looks), theory, *interval_handles(rows)])
    sizes = ", ".join(f"${name}$ = {value}" for name, value in fixed.items())
    title(figure, f"Speedup over {AXIS_NAMES[axis]}   ({sizes})")
    return figure


def shown(ratios: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows of `ratios` that the figure draws."""
    return sliced(of_the_paper(ratios), axis, _by(axis))[0]


def _by(axis: str) -> str:
    """The size that has a colour each."""
    return "N" if axis == "D_K" else "D_K"


def sliced(ratios: pd.DataFrame, axis: str, by: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of the setting of the other sizes in which `axis` takes most values; none if it takes fewer than three."""
    others = [name for name in AXES if name not in (axis, by)]
    if ratios.empty:
        return ratios, {}
    groups = [rows for _, rows in ratios.groupby(others)]
    rows = max(groups, key=lambda group: (group[axis].nunique(), len(group)))
    if rows[axis].nunique() < _FEWEST:
        return ratios.iloc[:0], {}
    # Two points at least: what the grid visits at a single value of the axis belongs to another figure.
    lines = rows.groupby(by)[axis].transform("nunique") > 1
    shown = {name: int(rows[name].iloc[0]) for name in others}
    shown = {name: value for name, value in shown.items() if value != 1 or name not in OPTIONAL_AXES}
    rows = rows[lines]
    if rows[by].nunique() == 1:
        shown = {by: int(rows[by].iloc[0])} | shown
    return rows, shown


def _theory_curve(line: pd.DataFrame, axis: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.geomspace(line[axis].min(), line[axis].max(), 60)
    N = x if axis == "N" else line.N.to_numpy()[0]
    D_K = x if axis == "D_K" else line.D_K.to_numpy()[0]
    return x, np.broadcast_to(1 / (1 / N + 1 / D_K**2), x.shape)
