"""One self-contained HTML page: the figures, what they say in words, the tables, and the machine."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.model.dtypes import DTYPES
from sepconv_bench.model.shapes import AXES
from sepconv_bench.report import markdown
from sepconv_bench.report.claims import Tile, claim_of_dtypes, claims, claims_of_network, reason, tiles
from sepconv_bench.report.drawn import FIGURES, DrawnFigure, drawn
from sepconv_bench.report.explorer import Explorer, explorer
from sepconv_bench.report.figures.registry import OF_ALL_DTYPES
from sepconv_bench.report.machine_facts import machine_facts
from sepconv_bench.report.network import describe_network, layer_view
from sepconv_bench.report.sentences import describe_caches, describe_ratios, describe_reasons, describe_sums
from sepconv_bench.report.templates import rendered
from sepconv_bench.report.view import TextTable, view
from sepconv_bench.results.columns import RATIOS, TIMINGS, WHY, Table
from sepconv_bench.results.records import Run
from sepconv_bench.results.rows import of_first_dtype, said
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import layers, network, ratios, sums, timings, why

PAGE = "index.html"
MARKDOWN = "report.md"
_SCRIPTS = ("page.js", "explorer.js")
_MOST_ROWS = 5000  # of a table on the page; what is beyond is a download
_ROWS_AT_FIRST = 200  # of a table, where scripts run: a browser lays out thousands for seconds
_SPEEDUPS = (
    *("theory_speedup", "roofline_speedup", "speedup", ("speedup_lo", "speedup_hi"), "eta_standard", "eta_separable"),
    *("standard_kernel", "separable_kernel", "grade", "remark", "explanation"),
)
_TIMES = ("time_s", ("time_lo_s", "time_hi_s"), "gflops", "eta", "samples", "compile_s")
_FAILURES = ("status", "reason")


@dataclass(frozen=True)
class _Tables:
    """What the page is made of."""

    timings: pd.DataFrame
    ratios: pd.DataFrame
    why: pd.DataFrame
    layers: pd.DataFrame
    network: pd.DataFrame


@dataclass(frozen=True)
class _First:
    """The first screen: what it is about, four numbers, and why."""

    title: str
    tiles: Sequence[Tile]
    reason: str
    machine: str
    dates: str
    dtypes: str


@dataclass(frozen=True)
class _Row:
    """Of the table of speedups: its texts, and of its point where there is one."""

    cells: list[str]
    best: bool
    anchor: str
    place: tuple[float, float] | None


def write_report(results: Results, folder: Path) -> Path:
    """Write index.html, report.md and the figures as PNG, SVG and PDF files into `folder`; gives the page's path.

    ResultsError where the results hold no cell yet, or `folder` cannot be written.
    """
    runs = results.runs()
    tables = _Tables(timings(results), ratios(results), why(results), layers(results), network(results))
    if not runs or (tables.timings.empty and tables.network.empty):
        raise ResultsError(f"{results.path} holds no measured cell yet; `sepconv-bench run --resume` goes on measuring")
    # What is drawn and said is of one dtype, but for the figure that is of all; so are the tables below.
    first_ratios, first_why, first_timings = map(of_first_dtype, (tables.ratios, tables.why, tables.timings))
    run, dates = runs[-1], " and ".join(dict.fromkeys(one.machine.time[:10] for one in runs))
    given = {
        **vars(tables),
        **{"ratios": first_ratios, "why": first_why, "timings": first_timings},
        **{OF_ALL_DTYPES: tables.ratios, "dtypes": {*tables.timings["dtype"]}},
        "run": run,
        "source": f"{run.machine.describe()}; measured {dates}",
        "claims": {
            **claims(first_ratios, first_why, first_timings),
            **claims_of_network(tables.layers),
            "dtypes": claim_of_dtypes(tables.ratios),
        },
    }
    what = "MobileNet-V1 gains from separable convolution" if tables.ratios.empty else "separable convolution gains"
    title = f"What {what} on {run.machine.machine}"
    why_so, numbers = reason(first_why, tables.layers), tiles(first_ratios, tables.layers)
    first = _First(title, numbers, why_so, run.machine.describe(), dates, _in_which(tables.timings, first_timings))
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        shown, whole = (drawn(section, given, folder / FIGURES) for section in ("sweep", "network"))
        caches = describe_caches(runs[-1].settings.cold)
        of_sweep = [*caches, *describe_ratios(first_ratios), *describe_reasons(first_why), *describe_sums(sums(results))]
        of_network = describe_network(tables.layers, tables.network)
        # A network that was timed by itself has no pair of a sweep, and need not say so.
        sentences = [*(of_sweep if len(first_ratios) or not of_network else []), *of_network]
        written = _render(runs, tables, first, sentences, shown, whole, explorer(results.cells()))
        files.write(folder / PAGE, written)
        text = markdown.report(title, run.machine, first.reason, sentences, first_ratios, [*shown, *whole])
        files.write(folder / MARKDOWN, text)
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return folder / PAGE


def _in_which(timed: pd.DataFrame, said: pd.DataFrame) -> str:
    """The dtypes that were timed, and which one is spoken of where there are several."""
    dtypes = [dtype for dtype in DTYPES if (timed["dtype"] == dtype).any()] or ["f32"]
    if len(dtypes) == 1:
        return "float32" if dtypes == ["f32"] else dtypes[0]
    return f"{', '.join(dtypes)}; where no dtype is named, {said['dtype'].iloc[0]} is meant"


def _render(
    runs: Sequence[Run],
    tables: _Tables,
    first: _First,
    sentences: Sequence[str],
    shown: Sequence[DrawnFigure],
    whole: Sequence[DrawnFigure],
    explored: Explorer | None,
) -> str:
    machine = runs[-1].machine
    script = "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    libraries = [explored.library] if explored else []
    times = tables.timings
    failed = times[~times.status.isin(["ok", "unsupported"])]
    return rendered(
        "page.html.j2",
        machine=machine,
        first=first,
        facts=machine_facts(machine, runs),
        said=sentences,
        figures=shown,
        network={"figures": whole, "layers": layer_view(tables.layers)},
        explorer=explored,
        speedups=_speedups(tables, {row: place for figure in shown for row, place in figure.places.items()}),
        times=_times(times),
        failures=view(TIMINGS, failed, ("kernel", *AXES, *said(failed), *_FAILURES)),
        failed_parts=[row for _, row in tables.network[~tables.network.status.isin(["ok", "unsupported"])].iterrows()],
        rows_at_first=_ROWS_AT_FIRST,
        scripts=[Markup(text) for text in (*libraries, script)],  # ours and Bokeh's, and not to be escaped
        script_hashes=" ".join(f"'sha256-{_hash(text)}'" for text in (*libraries, script)),
        data=Markup(explored.given) if explored else "",
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True)
class _Listed:
    """A table on the page: its headings and rows, and how many rows are not on it."""

    view: TextTable
    rows: Sequence[_Row] | Sequence[list[str]]
    left_out: int


def _speedups(tables: _Tables, places: Mapping[Hashable, tuple[float, float]]) -> _Listed:
    explained = tables.ratios.assign(explanation=tables.why.explanation.to_numpy())
    kept = (explained if len(explained) <= _MOST_ROWS else explained[explained.best]).head(_MOST_ROWS)
    shown = view(Table("", (*RATIOS.columns, WHY["explanation"])), kept, (*AXES, *said(kept), *_SPEEDUPS))
    rows = [
        _Row(cells, best, f"speedup-{number}", places.get(number))
        for number, best, cells in zip(kept.index, kept.best, shown.rows, strict=True)
    ]
    return _Listed(shown, rows, len(explained) - len(kept))


def _times(times: pd.DataFrame) -> _Listed:
    right = times[times.status == "ok"]
    kept = right.head(_MOST_ROWS)
    shown = view(TIMINGS, kept.assign(compile_s=kept.compile_s.replace(0, np.nan)), ("kernel", *AXES, *said(kept), *_TIMES))
    return _Listed(shown, shown.rows, len(right) - len(kept))
