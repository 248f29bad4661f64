"""The table of rungs: how fast each kernel is, of the peak and vs the peers; as Markdown, also into a page between markers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import pandas as pd

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import IDENTITY
from sepconv_bench.report.plain import in_markdown
from sepconv_bench.report.view import TextTable, markdown_table
from sepconv_bench.results.rows import of_first_dtype
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import peers, timings

_MARKERS = re.compile(r"(<!-- ladder\b[^\n]*-->\n).*?(<!-- end of ladder -->)", re.S)


@dataclass(frozen=True)
class VsPeer:
    """The peer's time over ours in paired samples: geometric mean, least and most over the shapes of both."""

    geomean: float
    least: float
    most: float


@dataclass(frozen=True)
class Rung:
    """A kernel of ours, or a peer in its fastest way on each shape: medians over the shapes, eta also at its highest."""

    kernel: str  # of a peer its operator and its name
    ways: int | None  # of a peer the number of its kernels
    gflops: float
    eta: float
    eta_highest: float
    vs: Mapping[str, VsPeer]


@dataclass(frozen=True)
class Ladder:
    """The rungs of the results, by operator, and what they were measured with."""

    rungs: Sequence[Rung]
    peers: Sequence[str]
    shapes: int
    machine: str
    versions: str


def ladder(results: Results) -> Ladder:
    """What the results say of each kernel, in the first dtype of theirs. ResultsError where there is no cell."""
    times, compared = of_first_dtype(timings(results)), of_first_dtype(peers(results))
    times = times[(times.status == "ok") & times.time_s.notna()]
    if times.empty:
        raise ResultsError(f"{results.path} holds no measured cell yet; `sepconv-bench run --resume` goes on measuring")
    # A kernel that was measured on a shape with several lists of kernels counts once, as it was measured last.
    times = times.drop_duplicates([*IDENTITY, "kernel"], keep="last")
    times = times.assign(peer=times.library.mask(times.library.isin([OURS, USER])))
    shown = list(dict.fromkeys(times.peer.dropna()))
    machine = results.runs()[-1].machine
    return Ladder(
        _rungs(times, compared, shown),
        shown,
        len(times[[*IDENTITY]].drop_duplicates()),
        machine.describe(),
        ", ".join(f"{name} {machine.versions[name]}" for name in ("numba", *shown) if name in machine.versions),
    )


def _rungs(times: pd.DataFrame, compared: pd.DataFrame, shown: Sequence[str]) -> list[Rung]:
    rungs: list[Rung] = []
    for operator in OPERATORS:
        of_operator = times[times.operator == operator]
        for kernel, ours in of_operator[of_operator.peer.isna()].groupby("kernel", sort=False):
            rows = compared[(compared.kernel == kernel) & compared.peer.isin(shown)]
            vs = {row.peer: VsPeer(row.geomean, row["min"], row["max"]) for _, row in rows.iterrows()}
            rungs.append(Rung(str(kernel), None, *_rates(ours), vs))
        for library in shown:
            theirs = of_operator[of_operator.peer == library]
            if len(theirs):
                fastest = theirs.loc[theirs.groupby([*IDENTITY]).time_s.idxmin()]
                rungs.append(Rung(f"{operator}, {library}", theirs.kernel.nunique(), *_rates(fastest), {}))
    return rungs


def _rates(rows: pd.DataFrame) -> tuple[float, float, float]:
    return rows.gflops.median(), rows.eta.median(), rows.eta.max()


def markdown(table: Ladder) -> str:
    """The rungs as a Markdown table, and what its numbers are."""
    headings = ["", "GFLOP/s", "% of peak", *(f"vs {library}" for library in table.peers)]
    rows = [
        [_name(one), f"{one.gflops:.0f}", _of_peak(one)] + [_vs(one.vs.get(library)) for library in table.peers]
        for one in table.rungs
    ]
    lines = [
        markdown_table(TextTable(headings, [True] + [False] * (len(headings) - 1), rows)),
        "",
        f"Medians over {table.shapes} shapes."
        ' "% of peak": of the multiply-add rate timed in the same rounds, highest in brackets.'
        ' "vs": the peer\'s time over ours in paired samples, geometric mean and, in brackets, least and most.'
        f" {in_markdown(table.machine)}; {in_markdown(table.versions)}.",
    ]
    return "\n".join(lines) + "\n"


def _name(rung: Rung) -> str:
    if rung.ways is None:
        return f"`{rung.kernel}`"
    return f"*{rung.kernel}*" if rung.ways == 1 else f"*{rung.kernel}, the best of {rung.ways} ways*"


def _of_peak(rung: Rung) -> str:
    """Nothing for one that multiplies less often than theory counts."""
    return "" if isnan(rung.eta) else f"{100 * rung.eta:.0f} ({100 * rung.eta_highest:.0f})"


def _vs(found: VsPeer | None) -> str:
    return "" if found is None else f"{found.geomean:.2g}x ({found.least:.2g} to {found.most:.2g})"


def write_between_markers(table: str, page: Path) -> None:
    """Replace what is between `<!-- ladder ... -->` and `<!-- end of ladder -->` in a file; ResultsError if it is not so."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{page} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from error
    if len(_MARKERS.findall(text)) != 1:
        raise ResultsError(
            f"{page} needs one line <!-- ladder --> and, below it, one <!-- end of ladder -->; the table goes between"
        )
    written = _MARKERS.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)
    files.write(page, written)
