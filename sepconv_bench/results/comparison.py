"""Two results files, cell by cell and kernel by kernel: which became faster or slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.statistics import change
from sepconv_bench.measure.verdicts import Verdict, shared_confidence, verdicts
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import PEAK
from sepconv_bench.results.store import Results


@dataclass(frozen=True)
class FilesCompared:
    """Verdicts (new over old), what one of the files lacks or failed, and in what the machines differ: (what, old, new)."""

    verdicts: list[Verdict]
    left_out: dict[str, str]
    differs: list[tuple[str, str, str]]


def compare_files(old: Results, new: Results) -> FilesCompared:
    """Every kernel on every shape that both files hold; ResultsError where they share none.

    On one machine a time counts relative to the multiply-add peak of its own rounds, which takes the machine's drift between
    the two runs out of it; between machines it counts as it is.
    """
    cells = [{cell.shape: cell for cell in results.cells()} for results in (old, new)]
    shared = [shape for shape in cells[0] if shape in cells[1]]
    differs = _differences(old, new)
    relative = not any(what in ("cpu", "threads") for what, _, _ in differs)
    found: dict[str, tuple[Sequence[np.ndarray], Sequence[np.ndarray]]] = {}
    left_out: dict[str, str] = {}
    for shape in shared:
        before, after = cells[0][shape], cells[1][shape]
        for kernel in dict.fromkeys([*before.times, *after.times]):
            name = f"{kernel} {shape}"
            lacking = [whose for whose, cell in (("old", before), ("new", after)) if kernel not in cell.times]
            if lacking:
                left_out[name] = f"the {lacking[0]} results have no time of it"
            else:
                found[name] = _blocks(before, kernel, relative), _blocks(after, kernel, relative)
    if not found:
        raise ResultsError(f"{old.path} and {new.path} have no kernel on a shape in common")
    confidence = shared_confidence(len(found))
    return FilesCompared(verdicts({name: change(*both, confidence) for name, both in found.items()}), left_out, differs)


def _blocks(cell: Cell, kernel: str, relative: bool) -> Sequence[np.ndarray]:
    times = cell.samples[kernel]
    if not relative or PEAK not in cell.samples:
        return times
    flop = cell.measured.peak_flop or np.nan
    return [block / peak * flop for block, peak in zip(times, cell.samples[PEAK], strict=True)]


def _differences(old: Results, new: Results) -> list[tuple[str, str, str]]:
    machines = [msgspec.structs.asdict(results.runs()[-1].machine) for results in (old, new)]
    return [
        (what, str(machines[0].get(what)), str(machines[1].get(what)))
        for what in ("cpu", "threads", "threading_layer", "versions", "wait_policy")
        if machines[0].get(what) != machines[1].get(what)
    ]
