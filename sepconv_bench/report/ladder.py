"""The table of rungs as Markdown: how fast each kernel is, of the peak and beside the peers; into a page between markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import FIELDS
from sepconv_bench.report.plain import in_markdown
from sepconv_bench.report.view import TextTable, markdown_table
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import peers, timings

_MARKERS = re.compile(r"(<!-- ladder\b[^\n]*-->\n).*?(<!-- end of ladder -->)", re.S)


def ladder(results: Results) -> str:
    """A row a kernel of ours, and a row a peer in its fastest way on each shape: medians over the shapes of the results,
    and how many times as fast as each peer, geometric mean and least. ResultsError where there is no cell."""
    times, beside = timings(results), peers(results)
    times = times[(times.status == "ok") & times.time_s.notna()]
    if times.empty:
        raise ResultsError(f"{results.path} holds no measured cell yet; `sepconv-bench run --resume` goes on measuring")
    # A kernel that was measured on a shape with several lists of kernels counts once, as it was measured last.
    times = times.drop_duplicates([*FIELDS, "kernel"], keep="last")
    times = times.assign(peer=times.library.mask(times.library.isin([OURS, USER])))
    shown = list(dict.fromkeys(times.peer.dropna()))
    headings = ["", "GFLOP/s", "% of peak", *(f"beside {library}" for library in shown)]
    table = TextTable(headings, [True] + [False] * (len(headings) - 1), _rungs(times, beside, shown))
    cells = len(times[[*FIELDS]].drop_duplicates())
    machine = results.runs()[-1].machine
    lines = [
        markdown_table(table),
        "",
        f'Medians over {cells} shapes; "% of peak" of the multiply-add rate timed in the same rounds, highest in brackets.'
        ' "Beside": the peer\'s time over ours in paired samples, geometric mean and, in brackets, least and most.'
        f" {in_markdown(machine.describe())}; {in_markdown(_versions(machine, shown))}.",
    ]
    return "\n".join(lines) + "\n"


def _rungs(times: pd.DataFrame, beside: pd.DataFrame, shown: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for operator in OPERATORS:
        of_operator = times[times.operator == operator]
        for kernel, ours in of_operator[of_operator.peer.isna()].groupby("kernel", sort=False):
            rows.append([f"`{kernel}`", *_rates(ours), *(_beside(beside, str(kernel), library) for library in shown)])
        for library in shown:
            theirs = of_operator[of_operator.peer == library]
            if len(theirs):
                fastest = theirs.loc[theirs.groupby([*FIELDS]).time_s.idxmin()]
                ways = theirs.kernel.nunique()
                name = f"*{operator}, {library}*" if ways == 1 else f"*{operator}, {library}, the best of {ways} ways*"
                rows.append([name, *_rates(fastest), *[""] * len(shown)])
    return rows


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


def _rates(rows: pd.DataFrame) -> tuple[str, str]:
    return f"{rows.gflops.median():.0f}", f"{100 * rows.eta.median():.0f} ({100 * rows.eta.max():.0f})"


def _beside(beside: pd.DataFrame, kernel: str, library: str) -> str:
    found = beside[(beside.kernel == kernel) & (beside.peer == library)]
    return "".join(f"{row.geomean:.2g}x ({row['min']:.2g} to {row['max']:.2g})" for _, row in found.iterrows())


def _versions(machine: Fingerprint, shown: Sequence[str]) -> str:
    names = ["numba", *shown]
    return ", ".join(f"{name} {machine.versions[name]}" for name in names if name in machine.versions)
