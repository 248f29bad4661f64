"""What asv has recorded, in figures: ratios and times over runs, and the newest run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model import theory
from sepconv_bench.model.declaration import OURS
from sepconv_bench.report.figures.headline import headline
from sepconv_bench.report.figures.palette import INK, OPERATORS, RULE, Look, of_series
from sepconv_bench.report.figures.style import styled
from sepconv_bench.report.history_series import PEAK_RATIO, RATIOS, THEORY, TIMES, describe_parameters, series, shape_of, steps
from sepconv_bench.report.plain import in_figure


@styled
def cost_ratio(table: pd.DataFrame, labels: list[str]) -> Figure | None:
    """T_separable / T_standard over runs, a panel a shape, with the theory."""
    found = list(series(table, RATIOS))
    shapes = list(dict.fromkeys(str(given.get("shape")) for _, given, _ in found))
    if not shapes:
        return None
    figure, panels = plt.subplots(1, len(shapes), figsize=(5.2 * len(shapes), 4.2), squeeze=False)
    looks = of_series(str(given.get("pair")) for _, given, _ in found if given.get("pair") != THEORY)
    for axes, name in zip(panels[0], shapes, strict=True):
        for _, given, rows in found:
            if str(given.get("shape")) != name:
                continue
            if given.get("pair") == THEORY:
                axes.axhline(rows.value.iloc[-1], color=INK, linestyle=(0, (5, 2)), linewidth=1.2)
                continue
            _line(axes, rows, rows.value, looks[str(given.get("pair"))])
        axes.set_ylim(bottom=0)
        axes.set_title(in_figure(name))
        _runs_axis(axes, labels)
    panels[0][0].set_ylabel("$T_{\\mathrm{separable}}\\,/\\,T_{\\mathrm{standard}}$")
    handles = [_handle(pair, look) for pair, look in looks.items()]
    promised = Line2D([], [], color=INK, linestyle=(0, (5, 2)), linewidth=1.2, label="promised, $1/N + 1/D_K^2$")
    figure.legend(handles=[*handles, promised], loc="outside lower center", ncols=len(looks) + 1)
    return figure


@styled
def times(table: pd.DataFrame, labels: list[str]) -> Figure | None:
    """Each kernel's time relative to its first, over runs, a panel an operator, with the levels that step detection finds."""
    found = list(series(table, TIMES))
    operators = list(dict.fromkeys(operator for operator, _, _ in found))
    if not operators or len(labels) < 2:
        return None
    looks = of_series(describe_parameters(given) for _, given, _ in found)
    figure, panels = plt.subplots(1, len(operators), figsize=(3.4 * len(operators), 4.2), squeeze=False, sharey=True)
    for axes, operator in zip(panels[0], operators, strict=True):
        for whose, given, rows in found:
            if whose != operator:
                continue
            look = looks[describe_parameters(given)]
            first = rows.value.iloc[0]
            axes.plot(rows.run, rows.value / first, **_drawn(look, len(rows)), markersize=4, zorder=3)
            for start, end, level in steps(rows.value.to_numpy()) or []:
                runs = rows.run.iloc[start:end]
                axes.plot([runs.min() - 0.3, runs.max() + 0.3], [level / first] * 2, color=look.colour, linewidth=3, alpha=0.3)
        axes.axhline(1, color=RULE, linewidth=0.9, zorder=1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * (value - 1):+.3g}%")
        axes.set_title(in_figure(operator.lower()))
        _runs_axis(axes, labels)
    panels[0][0].set_ylabel("time against the first run")
    figure.legend(handles=[_handle(name, look) for name, look in looks.items()], loc="outside lower center", ncols=2)
    return figure


def newest_speedups(table: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup of the newest run's pairs."""
    rows = []
    for _, given, over_runs in series(table, RATIOS):
        shape, newest = shape_of(given), over_runs.iloc[-1]
        if given.get("pair") == THEORY or shape is None or newest.run != table.run.max():
            continue
        promised = float(1 / theory.cost_ratio(shape))
        separable, _, standard = str(given["pair"]).partition(" / ")
        rows.append(
            {
                **asdict(shape),
                "theory_speedup": promised,
                "bound_speedup": np.nan,  # asv's results hold no bandwidths
                "speedup": 1 / newest.value,
                "speedup_lo": 1 / newest.hi,
                "speedup_hi": 1 / newest.lo if newest.lo > 0 else np.inf,
                "standard_kernel": f"cpu.standard.{standard}",
                "separable_kernel": f"cpu.separable.{separable}",
                **{"standard_variant": standard, "standard_library": OURS},
                **{"separable_variant": separable, "separable_library": OURS},
                "best": separable == "fused",
                "grade": "",
            }
        )
    return headline(pd.DataFrame(rows)) if rows else None


@styled
def newest_eta(table: pd.DataFrame) -> Figure | None:
    """The share of the peak that each kernel attains in the newest run, a row a kernel and shape."""
    found = [(operator, given, rows.iloc[-1]) for operator, given, rows in series(table, PEAK_RATIO)]
    found = [one for one in found if one[2].run == table.run.max()]
    if not found:
        return None
    names = [in_figure(f"{operator.lower()}.{describe_parameters(given)}") for operator, given, _ in found]
    figure, axes = plt.subplots(figsize=(8.2, 0.9 + 0.28 * len(names)))
    y = np.arange(len(names))[::-1]
    colours = [OPERATORS[operator.lower()] for operator, *_ in found]
    axes.barh(y, [1 / newest.value for *_, newest in found], color=colours, height=0.6)
    axes.set_yticks(y, names)
    axes.set_xlim(0, max(1.0, *(1 / newest.value for *_, newest in found)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the machine's FMA peak, $\\eta$")
    axes.grid(False, axis="y")
    return figure


def _drawn(look: Look, count: int) -> dict[str, Any]:
    """Points with a line through them, if there are more than two."""
    return {"color": look.colour, "marker": look.marker, "linestyle": "-" if count > 2 else "", "linewidth": 1}


def _line(axes: Axes, rows: pd.DataFrame, values: pd.Series, look: Look) -> None:
    axes.plot(rows.run, values, **_drawn(look, len(rows)), markersize=5, zorder=3)
    sure = rows[["lo", "hi"]].notna().all(axis=1)
    axes.vlines(rows.run[sure], rows.lo[sure], rows.hi[sure], color=look.colour, linewidth=1.4, zorder=2)


def _runs_axis(axes: Axes, labels: list[str]) -> None:
    shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), 16)).round().astype(int))
    axes.set_xticks(
        shown,
        [in_figure(labels[number]) for number in shown],
        rotation=45 if len(shown) > 3 else 0,
        ha="right" if len(shown) > 3 else "center",
    )
    axes.set_xlim(-0.5, len(labels) - 0.5)


def _handle(label: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linewidth=1, label=in_figure(label))
