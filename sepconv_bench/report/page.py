"""One self-contained HTML page: the figures, what they say in words, the tables, and the machine."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Ceilings, Fingerprint
from sepconv_bench.model.shapes import AXES
from sepconv_bench.report import figures, maps, markdown
from sepconv_bench.report import network as networks
from sepconv_bench.report.reasons import reasons as draw_reasons
from sepconv_bench.report.reasons import told_reasons
from sepconv_bench.results.records import Run
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import FASTEST, layers, network, ratios, sums, timings, why

PAGE = "index.html"
MARKDOWN = "report.md"
FIGURES = "figures"
_TEMPLATE = "page.html.j2"
_SCRIPT = "page.js"
_MOST_ROWS = 5000  # of a table on the page; what is beyond is a download
_ROWS_AT_FIRST = 200  # of a table, where scripts run: a browser lays out thousands for seconds


@dataclass(frozen=True)
class _Shown:
    """A figure on the page: file stem, heading, what it shows in words for those who cannot see it, and the picture; `places`
    are those of its points, by the rows that they stand for."""

    stem: str
    heading: str
    told: str
    data: str
    tall: bool
    intervals: bool
    places: Mapping[Hashable, tuple[float, float]]


def write_report(results: Results, folder: Path) -> Path:
    """Write index.html, report.md and the figures as PNG, SVG and PDF files into `folder`; gives the page's path.

    ResultsError where the results hold no cell yet, or `folder` cannot be written.
    """
    runs, times, pairs, reasons = results.runs(), timings(results), ratios(results), why(results)
    steps, libraries = layers(results), network(results)
    if not runs or (times.empty and libraries.empty):
        raise ResultsError(f"{results.path} holds no measured cell yet; `sepconv-bench run --resume` goes on measuring")
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        shown = _drawn(_figures(times, pairs, reasons, runs[-1].ceilings), folder / FIGURES)
        whole = _drawn(_network_figures(steps, libraries), folder / FIGURES)
        page = folder / PAGE
        sentences = [*verdict(pairs), *told_reasons(reasons), *told_sums(sums(results))]
        files.write(page, _render(runs, times, (pairs, reasons, sentences), shown, (steps, libraries, whole)))
        told = markdown.report(runs[-1].machine, sentences, pairs, networks.verdict(steps, libraries), [*shown, *whole])
        files.write(folder / MARKDOWN, told)
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


@dataclass(frozen=True)
class _Figure:
    """Who draws a figure; `tall` where it is narrower than the page, `intervals` where its bars are intervals; `places` tells
    where rows of a table are points in it."""

    stem: str
    heading: str
    told: str
    draw: Callable[[], Figure | None]
    tall: bool = True
    intervals: bool = False
    places: Callable[[Figure], dict[Hashable, tuple[float, float]]] = lambda figure: {}


def _figures(times: pd.DataFrame, pairs: pd.DataFrame, reasons: pd.DataFrame, ceilings: Ceilings) -> list[_Figure]:
    return [
        _Figure(
            "speedup",
            "What it buys, and what it promises",
            "Measured speedup over the promised one, both on logarithmic axes, a point a shape, coloured by D_K; the line is"
            " the formula, the dash above or below a point what perfect kernels would reach on this machine.",
            lambda: figures.headline(pairs),
            intervals=True,
            places=lambda figure: figures.places(figure, pairs),
        ),
        _Figure(
            "why",
            "Why each shape is not where the formula puts it",
            "A row a shape: from the promised speedup, at 1x, bars lead to the measured one, a dot. They are the factors by"
            " which memory bandwidth, the fixed cost of a launch, and how far the two kernels are from perfect ones move it;"
            " they multiply exactly.",
            lambda: draw_reasons(reasons),
        ),
        _Figure(
            "plane",
            "The promise as a plane",
            "The promised speedup over N and D_K as coloured ground with lines of equal promise, and on it the measured shapes"
            " in the colours of their measured speedup: a point that cannot be told from its ground is as promised.",
            lambda: maps.plane(pairs),
        ),
        _Figure(
            "crossover",
            "Where it stops paying",
            "Every shape by its promised speedup and the size of its standard layer, a panel a comparison, coloured by the"
            " measured speedup; crosses are shapes on which separable convolution is the slower one.",
            lambda: maps.crossover(pairs),
            tall=False,
        ),
        _Figure(
            "rungs",
            "Like with like",
            "The axes of the first figure, one panel a rung of kernels: the standard and the separable kernel of a panel are"
            " written alike.",
            lambda: figures.rungs(pairs),
            tall=False,
            intervals=True,
        ),
        *(
            _Figure(
                f"over_{axis}",
                f"Over {axis}",
                f"Speedup over {axis}, a panel a comparison; dashed lines are what the formula promises.",
                lambda axis=axis: figures.over(pairs, axis),  # type: ignore[misc]
                tall=False,
                intervals=True,
            )
            for axis in ("N", "D_K", "M", "D_G")
        ),
        _Figure(
            "ladder",
            "The ladder of kernels",
            "Share of the machine's multiply-add peak that each kernel reaches, a panel an operator: bars are medians over the"
            " shapes, lines go from the least to the most. Hatched bars are other people's libraries.",
            lambda: maps.rungs_to_the_peak(times),
        ),
        _Figure(
            "efficiency",
            "Efficiency over the channels",
            "Share of the peak that the fastest standard and the fastest separable kernel reach, over M input and N output"
            " channels; medians where several shapes share both.",
            lambda: maps.efficiency(times),
        ),
        _Figure(
            "roofline",
            "The roofline",
            "Each kernel's share of the machine's peak over its arithmetic intensity, under the roofs that the peak and the"
            " bandwidth of three memory levels set.",
            lambda: figures.roofline(times, ceilings),
        ),
    ]


def _network_figures(steps: pd.DataFrame, libraries: pd.DataFrame) -> list[_Figure]:
    return [
        _Figure(
            "network",
            "MobileNet-V1 end to end",
            "Time of MobileNet-V1 and of its all-standard counterpart, a pair of bars a library, with the speedup of each.",
            lambda: networks.end_to_end(steps, libraries),
        ),
        _Figure(
            "layers",
            "Layer by layer",
            "Our time of each step in both networks on a logarithmic axis, a dash where the fastest other library stands;"
            " below, the measured speedup of each block and the promised one.",
            lambda: networks.by_layer(steps),
        ),
        _Figure(
            "latency",
            "Latency against multiply-adds",
            "Time over multiply-adds, both on logarithmic axes, of MobileNet-V1 (filled) and its all-standard counterpart"
            " (open) over width multipliers and resolutions.",
            lambda: networks.latency(steps),
        ),
    ]


def _drawn(drawn: Sequence[_Figure], folder: Path) -> list[_Shown]:
    shown = []
    for one in drawn:
        figure = one.draw()
        if figure is None:
            for kind in figures.KINDS:  # of an earlier report
                (folder / f"{one.stem}.{kind}").unlink(missing_ok=True)
            continue
        picture = figures.save(figure, folder / one.stem)
        data = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        shown.append(_Shown(one.stem, one.heading, one.told, data, one.tall, one.intervals, one.places(figure)))
    return shown


def _render(
    runs: list[Run],
    times: pd.DataFrame,
    compared: tuple[pd.DataFrame, pd.DataFrame, list[str]],
    shown: list[_Shown],
    network: tuple[pd.DataFrame, pd.DataFrame, list[_Shown]],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sepconv_bench", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    machine, (steps, libraries, network_figures), (pairs, reasons, sentences) = runs[-1].machine, network, compared
    script = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
    return environment.get_template(_TEMPLATE).render(
        machine=machine,
        facts=_machine_facts(machine, runs),
        ceilings=runs[-1].ceilings,
        verdict=sentences,
        figures=shown,
        network={
            "verdict": networks.verdict(steps, libraries),
            "figures": network_figures,
            "columns": networks.COLUMNS,
            "rows": networks.rows_of(steps),
        },
        ratios=_ratio_rows(pairs, reasons, {row: place for figure in shown for row, place in figure.places.items()}),
        timings=_timing_rows(times),
        failures=[row for _, row in times[~times.status.isin(["ok", "unsupported"])].iterrows()],
        failed_parts=[row for _, row in libraries[~libraries.status.isin(["ok", "unsupported"])].iterrows()],
        rows_at_first=_ROWS_AT_FIRST,
        script=Markup(script),  # ours, and not to be escaped
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def verdict(pairs: pd.DataFrame) -> list[str]:
    """What the numbers say, in sentences; every number is a median over shapes."""
    best = pairs[pairs.best] if len(pairs) else pairs
    if best.empty:
        return ["No standard kernel was timed beside a separable one, so there is no speedup to speak of."]
    kept = best.speedup / best.theory_speedup
    sentences = [
        f"Fastest against fastest, separable convolution is {best.speedup.median():.1f} times as fast as standard in the median"
        f" of {len(best)} shapes ({best.speedup.min():.2g}x to {best.speedup.max():.2g}x), where 1/N + 1/D_K² promises"
        f" {best.theory_speedup.median():.1f} times: {kept.median():.0%} of the promise.",
        f"Perfect kernels would reach {best.roofline_speedup.median():.1f} times on this machine:"
        f" memory bandwidth explains {_share_of_gap(best)}.",
        f"The rest is how well each side uses the machine: the standard kernels reach {best.eta_standard.median():.0%} of its"
        f" FMA peak, the separable ones {best.eta_separable.median():.0%}. Measured speedup = promised x eta(separable) /"
        " eta(standard), an identity: a slow standard kernel flatters separable convolution as much as a fast separable one.",
    ]
    slower = int((best.speedup_hi < 1).sum())
    if slower:
        sentences.append(f"On {slower} of {len(best)} shapes separable is the slower one, beyond its interval.")
    if told := told_doubts(pairs):
        sentences.append(f"{told}: drawn open, and their intervals are stated all the same.")
    return sentences


def told_doubts(pairs: pd.DataFrame) -> str:
    """How many ratios show which signs of noise; empty where none does."""
    counted = Counter(sign for doubts in pairs.doubts for sign in doubts.split()) if len(pairs) else Counter()
    if not counted:
        return ""
    told = ", ".join(f"{count} {_DOUBTS[sign]}" for sign, count in counted.most_common())
    return f"{int((pairs.doubts != '').sum())} of {len(pairs)} ratios are in doubt, {told}"


_DOUBTS = {
    "wide": "with an interval wider than asked when time was up",
    "few": "with too few blocks",
    "humps": "in two heaps",
    "drift": "drifting",
    "steal": "while the hypervisor served others",
}


def told_sums(totals: pd.DataFrame) -> list[str]:
    """Of each network whose convolutions were all timed, what they add up to, fastest against fastest."""
    return [
        f"The {row.layers} convolutions of {row.network} of 3 x 3 and up add up to {row.standard_s * 1e3:.3g} ms standard and"
        f" {row.separable_s * 1e3:.3g} ms separable, each as often as it occurs: {row.speedup:.2f}x ({row.speedup_lo:.2f} to"
        f" {row.speedup_hi:.2f}), where the summed multiply-adds promise {row.theory_speedup:.2f}x: {row.held:.0%} of the"
        f" promise. {row.longest_share:.0%} of the standard time is in {row.longest}."
        for _, row in totals[totals.comparison == FASTEST].iterrows()
    ]


def _share_of_gap(best: pd.DataFrame) -> str:
    gap: pd.Series = (best.theory_speedup / best.speedup).map(log)
    explained: pd.Series = (best.theory_speedup / best.roofline_speedup).map(log)
    if gap.median() < 0.05:
        return "nothing, for there is hardly a gap"
    share = float(np.clip((explained / gap)[gap > 0].median(), 0, 1))
    return f"{share:.0%} of the gap" if share >= 0.005 else "none of the gap"


def _machine_facts(machine: Fingerprint, runs: list[Run]) -> list[tuple[str, str]]:
    settings = runs[-1].settings
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    blas = ", ".join(f"{pool.internal_api} {pool.version} ({pool.num_threads} threads)" for pool in machine.blas)
    device = [("CPU", f"{machine.cpu} (LLVM says {machine.llvm_cpu})")]
    if gpu := machine.gpu:
        named = f"{gpu.name}, {gpu.multiprocessors} multiprocessors of compute capability {gpu.compute_capability}"
        device = [("GPU", f"{named}, {gpu.memory_bytes / 2**30:.0f} GiB, driver {gpu.driver}")]
    return [
        *device,
        (
            "Threads",
            f"{machine.threads} of {machine.logical_cpus} logical CPUs, Numba's {machine.threading_layer} layer",
        ),
        ("Caches", ", ".join(f"{level} {size}" for level, size in machine.caches.items()) or "unknown"),
        ("Memory", f"{machine.memory_bytes / 2**30:.0f} GiB"),
        ("Idle pools", ", ".join(f"{name}={value}" for name, value in machine.wait_policy.items())),
        ("System", f"{machine.system}, Python {machine.python}"),
        ("Versions", versions),
        ("BLAS", blas or "unknown"),
        ("Commit", machine.commit or "not from a checkout"),
        (
            "Grid",
            f"{settings.grid}; interval target ±{settings.rules.target:.1%}, "
            f"at most {settings.rules.seconds:g} s of sampling a cell",
        ),
        ("Measured", " and ".join(run.machine.time for run in runs)),
    ]


def _shape(row: pd.Series) -> dict[str, int]:
    return {name: int(row[name]) for name in AXES}


@dataclass(frozen=True)
class _Rows:
    """Of a table: those on the page, and how many are not."""

    rows: list[dict]
    left_out: int


def _ratio_rows(pairs: pd.DataFrame, reasons: pd.DataFrame, places: Mapping[Hashable, tuple[float, float]]) -> _Rows:
    if pairs.empty:
        return _Rows([], 0)
    told = pairs.assign(why=reasons.told.to_numpy())
    kept = (told if len(told) <= _MOST_ROWS else told[told.best]).head(_MOST_ROWS)
    rows = [
        {
            **_shape(row),
            "anchor": f"speedup-{number}",
            "place": places.get(number),
            "standard": row.standard_kernel,
            "separable": row.separable_kernel,
            "best": row.best,
            "promised": f"{row.theory_speedup:.2f}",
            "roofline": f"{row.roofline_speedup:.2f}",
            "measured": f"{row.speedup:.2f}",
            "interval": f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f}",
            "eta_standard": f"{row.eta_standard:.1%}",
            "eta_separable": f"{row.eta_separable:.1%}",
            "doubts": row.doubts,
            "why": row.why,
        }
        for number, row in kept.iterrows()
    ]
    return _Rows(rows, len(told) - len(kept))


def _timing_rows(times: pd.DataFrame) -> _Rows:
    right = times[times.status == "ok"]
    rows = [
        {
            **_shape(row),
            "kernel": row.kernel,
            "time": f"{row.time_s * 1e6:,.1f}",
            "interval": f"{row.time_lo_s * 1e6:,.1f} to {row.time_hi_s * 1e6:,.1f}",
            "gflops": f"{row.gflops:.1f}",
            "eta": f"{row.eta:.1%}",
            "samples": int(row.samples),
            "compile": "" if pd.isna(row.compile_s) or not row.compile_s else f"{row.compile_s:.2f}",
        }
        for _, row in right.head(_MOST_ROWS).iterrows()
    ]
    return _Rows(rows, len(right) - len(rows))
