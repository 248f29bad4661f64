"""The report of asv's results: T_separable / T_standard and each kernel's time over commits, or over releases of a library."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.model import theory
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report import figures
from sepconv_bench.report.plain import in_figure
from sepconv_bench.results.history import History

THEORY = "1/N + 1/D_K^2"
_RATIO, _TIME, _PEAK = "track_cost_ratio", "track_time", "track_peak_over_attained"
_STEP = 0.02  # a smaller one is not worth a mark


@dataclass(frozen=True)
class Step:
    """A series' level changed by `change` (a share) with the run numbered `run`."""

    series: str
    run: int
    change: float


def write_history(history: History, folder: Path) -> Path:
    """Write index.html and its figures into `folder`; gives the page's path. ResultsError where it cannot be written."""
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        sections = [_section(str(machine), table, folder) for machine, table in history.table.groupby("machine", sort=False)]
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("sepconv_bench", "report"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = folder / "index.html"
        text = environment.get_template("history.html.j2").render(sections=sections, unread=history.unread)
        files.write(page, text)
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


def _section(machine: str, table: pd.DataFrame, folder: Path) -> dict:
    table, labels = numbered(table)
    drawn: tuple[tuple[str, str, str, Callable[[], Figure | None]], ...] = (
        (
            "cost_ratio",
            "What separable convolution costs of the standard one",
            "T_separable / T_standard, a panel a shape; the dashed line is 1/N + 1/D_K². Bars are asv's 99 % intervals.",
            lambda: cost_ratio(table, labels),
        ),
        (
            "times",
            "Each kernel's time",
            "Against its first run, a panel an operator. Broad lines are the levels that asv's step detection finds.",
            lambda: times(table, labels),
        ),
        (
            "speedup",
            f"Measured and promised, {labels[-1]}",
            "Of the newest run: measured speedup over the promised one, a point a shape and pair; the line is the formula.",
            lambda: newest_speedups(table),
        ),
        (
            "eta",
            f"Share of the machine's peak, {labels[-1]}",
            "Of the newest run: the share of the multiply-add peak, timed in the same rounds, that each kernel attains.",
            lambda: newest_eta(table),
        ),
    )
    shown = []
    for stem, heading, told, draw in drawn:
        figure = draw()
        if figure is None:
            continue
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in machine) + f"-{stem}"
        data = base64.b64encode(figures.save(figure, folder / "figures" / name)).decode()
        shown.append({"heading": heading, "told": told, "data": f"data:image/svg+xml;base64,{data}", "stem": stem})
    return {
        "machine": machine,
        "verdict": verdict(table, labels),
        "figures": shown,
        "rows": _newest_rows(table),
        "newest": labels[-1],
        "before": labels[-2] if len(labels) > 1 else None,
    }


def numbered(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """With a column `run`, counted over commits by date and over environments within one; and a label for each run."""
    environments = table.environment.nunique()
    keys = table[["date", "commit", "environment", "requirements"]].drop_duplicates(["commit", "environment"])
    order = {(row.commit, row.environment): number for number, row in enumerate(keys.itertuples())}
    labels = []
    for row in keys.itertuples():
        which = str(row.requirements or row.environment)
        labels.append(
            str(row.commit)[:8]
            if environments == 1
            else which
            if keys.commit.nunique() == 1
            else f"{str(row.commit)[:8]} {which}"
        )
    runs = [order[pair] for pair in zip(table.commit, table.environment, strict=True)]
    return table.assign(run=runs), labels


def series(table: pd.DataFrame, method: str) -> Iterator[tuple[str, dict, pd.DataFrame]]:
    """Benchmark class, parameters and the rows over runs of everything measured by a method of that name."""
    rows = table[table.benchmark.str.endswith(f".{method}") & (table.status == "ok")]
    keyed = rows.assign(
        key=[f"{name} {sorted(given.items())}" for name, given in zip(rows.benchmark, rows.parameters, strict=True)]
    )
    for _, part in keyed.groupby("key", sort=False):
        yield str(part.benchmark.iloc[0]).split(".")[-2], part.parameters.iloc[0], part.sort_values("run")


def steps(values: np.ndarray) -> list[tuple[int, int, float]] | None:
    """Stretches of one level as (first, one after the last, level), by asv's step detection; None without asv."""
    try:
        from asv.step_detect import detect_steps
    except ImportError:
        return None
    return [(int(first), int(last), float(level)) for first, last, level, *_ in detect_steps(list(map(float, values)))]


def found_steps(table: pd.DataFrame) -> list[Step] | None:
    """The steps in the kernels' times and in the cost ratios; None without asv."""
    found = []
    for method in (_TIME, _RATIO):
        for operator, given, rows in series(table, method):
            levels = steps(rows.value.to_numpy())
            if levels is None:
                return None
            for (_, _, before), (first, _, after) in pairwise(levels):
                if abs(after / before - 1) >= _STEP:
                    name = f"{operator} {_told(given)}"
                    found.append(Step(name, int(rows.run.iloc[first]), after / before - 1))
    return found


def verdict(table: pd.DataFrame, labels: list[str]) -> list[str]:
    """What the history says, in sentences."""
    sentences = []
    for _, given, rows in series(table, _RATIO):
        if given.get("pair") == THEORY:
            continue
        shape = _shape(given)
        promised = f", where 1/N + 1/D_K² promises {float(theory.cost_ratio(shape)):.3f}" if shape else ""
        sentences.append(f"{given.get('pair')} at {given.get('shape')}: {rows.value.iloc[-1]:.3f}{promised}.")
    if len(labels) == 1:
        return [*sentences, "There is one run yet: steps show once there are more."]
    found = found_steps(table)
    if found is None:
        sentences.append("Steps are not marked, because asv is not installed here.")
    elif not found:
        sentences.append(f"No step of {_STEP:.0%} or more over {len(labels)} runs.")
    else:
        biggest = sorted(found, key=lambda step: -abs(step.change))
        told = "; ".join(f"{step.series} {step.change:+.0%} with {labels[step.run]}" for step in biggest[:8])
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        sentences.append(f"Steps of {_STEP:.0%} or more over {len(labels)} runs: {told}{more}.")
    return sentences


@figures.styled
def cost_ratio(table: pd.DataFrame, labels: list[str]) -> Figure | None:
    """T_separable / T_standard over runs, a panel a shape, the theory beside."""
    found = list(series(table, _RATIO))
    shapes = list(dict.fromkeys(str(given.get("shape")) for _, given, _ in found))
    if not shapes:
        return None
    figure, panels = plt.subplots(1, len(shapes), figsize=(5.2 * len(shapes), 4.2), squeeze=False)
    pairs = list(dict.fromkeys(str(given.get("pair")) for _, given, _ in found if given.get("pair") != THEORY))
    for axes, name in zip(panels[0], shapes, strict=True):
        for _, given, rows in found:
            if str(given.get("shape")) != name:
                continue
            if given.get("pair") == THEORY:
                axes.axhline(rows.value.iloc[-1], color="#444444", linestyle=(0, (5, 2)), linewidth=1.2)
                continue
            colour, marker = figures.LOOKS[pairs.index(str(given.get("pair"))) % len(figures.LOOKS)]
            _line(axes, rows, rows.value, colour, marker)
        axes.set_ylim(bottom=0)
        axes.set_title(in_figure(name))
        _runs_axis(axes, labels)
    panels[0][0].set_ylabel("$T_{\\mathrm{separable}}\\,/\\,T_{\\mathrm{standard}}$")
    handles = [_handle(number, pair) for number, pair in enumerate(pairs)]
    promised = Line2D([], [], color="#444444", linestyle=(0, (5, 2)), linewidth=1.2, label="promised, $1/N + 1/D_K^2$")
    figure.legend(handles=[*handles, promised], loc="outside lower center", ncols=len(pairs) + 1)
    return figure


@figures.styled
def times(table: pd.DataFrame, labels: list[str]) -> Figure | None:
    """Each kernel's time relative to its first, over runs, a panel an operator, with the levels that step detection finds."""
    found = list(series(table, _TIME))
    operators = list(dict.fromkeys(operator for operator, _, _ in found))
    if not operators or len(labels) < 2:
        return None
    names = list(dict.fromkeys(_told(given) for _, given, _ in found))
    figure, panels = plt.subplots(1, len(operators), figsize=(3.4 * len(operators), 4.2), squeeze=False, sharey=True)
    for axes, operator in zip(panels[0], operators, strict=True):
        for whose, given, rows in found:
            if whose != operator:
                continue
            colour, marker = figures.LOOKS[names.index(_told(given)) % len(figures.LOOKS)]
            first = rows.value.iloc[0]
            axes.plot(rows.run, rows.value / first, color=colour, marker=marker, markersize=4, linewidth=1, zorder=3)
            for start, end, level in steps(rows.value.to_numpy()) or []:
                runs = rows.run.iloc[start:end]
                axes.plot([runs.min() - 0.3, runs.max() + 0.3], [level / first] * 2, color=colour, linewidth=3, alpha=0.3)
        axes.axhline(1, color="#999999", linewidth=0.9, zorder=1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * (value - 1):+.3g}%")
        axes.set_title(in_figure(operator.lower()))
        _runs_axis(axes, labels)
    panels[0][0].set_ylabel("time against the first run")
    figure.legend(handles=[_handle(number, name) for number, name in enumerate(names)], loc="outside lower center", ncols=2)
    return figure


def newest_speedups(table: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup of the newest run's pairs."""
    rows = []
    for _, given, over_runs in series(table, _RATIO):
        shape, newest = _shape(given), over_runs.iloc[-1]
        if given.get("pair") == THEORY or shape is None or newest.run != table.run.max():
            continue
        promised = float(1 / theory.cost_ratio(shape))
        separable, _, standard = str(given["pair"]).partition(" / ")
        rows.append(
            {
                **asdict(shape),
                "theory_speedup": promised,
                "roofline_speedup": np.nan,  # asv's results hold no bandwidths
                "speedup": 1 / newest.value,
                "speedup_lo": 1 / newest.hi,
                "speedup_hi": 1 / newest.lo,
                "standard_kernel": f"cpu.standard.{standard}",
                "separable_kernel": f"cpu.separable.{separable}",
                **{"standard_variant": standard, "standard_library": OURS},
                **{"separable_variant": separable, "separable_library": OURS},
                "best": separable == "fused",
                "doubts": "",
            }
        )
    return figures.headline(pd.DataFrame(rows)) if rows else None


@figures.styled
def newest_eta(table: pd.DataFrame) -> Figure | None:
    """The share of the peak that each kernel attains in the newest run, a row a kernel and shape."""
    found = [(operator, given, rows.iloc[-1]) for operator, given, rows in series(table, _PEAK)]
    found = [one for one in found if one[2].run == table.run.max()]
    if not found:
        return None
    names = [in_figure(f"{operator.lower()}.{_told(given)}") for operator, given, _ in found]
    figure, axes = plt.subplots(figsize=(8.2, 0.9 + 0.28 * len(names)))
    y = np.arange(len(names))[::-1]
    axes.barh(y, [1 / newest.value for *_, newest in found], color="#0072B2", height=0.6)
    axes.set_yticks(y, names)
    axes.set_xlim(0, max(1.0, *(1 / newest.value for *_, newest in found)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the machine's FMA peak, $\\eta$")
    axes.grid(False, axis="y")
    return figure


def _line(axes: Axes, rows: pd.DataFrame, values: pd.Series, colour: str, marker: str) -> None:
    axes.plot(rows.run, values, color=colour, marker=marker, markersize=5, linewidth=1, zorder=3)
    sure = rows[["lo", "hi"]].notna().all(axis=1)
    axes.vlines(rows.run[sure], rows.lo[sure], rows.hi[sure], color=colour, linewidth=1.4, zorder=2)


def _runs_axis(axes: Axes, labels: list[str]) -> None:
    shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), 16)).round().astype(int))
    axes.set_xticks(
        shown,
        [in_figure(labels[number]) for number in shown],
        rotation=45 if len(shown) > 3 else 0,
        ha="right" if len(shown) > 3 else "center",
    )
    axes.set_xlim(-0.5, len(labels) - 0.5)


def _handle(number: int, label: str) -> Line2D:
    colour, marker = figures.LOOKS[number % len(figures.LOOKS)]
    return Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1, label=in_figure(label))


def _told(given: dict) -> str:
    return " ".join(str(value) for value in given.values())


def _shape(given: dict) -> ConvShape | None:
    """The shape that a parameter spells as str(ConvShape) does, or None."""
    try:
        return ConvShape(**{name: int(size) for name, _, size in (word.partition("=") for word in str(given["shape"]).split())})
    except (KeyError, TypeError, ValueError):
        return None


def _newest_rows(table: pd.DataFrame) -> list[dict]:
    """Every number of the newest run, and its change against the run before."""
    rows = []
    last = table.run.max()
    before = {
        (row.benchmark, str(row.parameters)): row.value
        for row in table[table.run == last - 1].itertuples()
        if row.status == "ok"
    }
    for row in table[table.run == last].itertuples():
        earlier = before.get((row.benchmark, str(row.parameters)))
        known = row.status == "ok"
        rows.append(
            {
                "benchmark": row.benchmark,
                "parameters": _told(row.parameters),
                "value": f"{row.value:.4g}" if known else row.status,
                "unit": row.unit,
                "interval": f"{row.lo:.4g} to {row.hi:.4g}" if known and not np.isnan(row.lo) else "",
                "change": f"{row.value / earlier - 1:+.1%}" if known and earlier else "",
            }
        )
    return rows
