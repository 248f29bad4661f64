"""Two results files, cell by cell and kernel by kernel: which became faster or slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.statistics import change
from sepconv_bench.measure.verdicts import Verdict, shared_confidence, verdicts
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import PEAK
from sepconv_bench.results.store import Results


@dataclass(frozen=True)
class FilesCompared:
    """Verdicts (new over old), what one of the files lacks or failed, and in what the machines differ: (what, old, new).

    `relative`: times counted relative to the multiply-add peak of their own rounds, not as they are.
    """

    verdicts: list[Verdict]
    left_out: dict[str, str]
    differs: list[tuple[str, str, str]]
    relative: bool


def compare_files(old: Results, new: Results) -> FilesCompared:
    """Every kernel on every shape that both files hold; ResultsError where they share none.

    A file may hold a shape several times, with other kernels each time: of each kernel the cell that was measured last counts.
    On one machine a time counts relative to the multiply-add peak of its own rounds, which takes the machine's drift between
    the two runs out of it; between machines it counts as it is.
    """
    before, after = _latest(old), _latest(new)
    both = {shape for shape, _ in before} & {shape for shape, _ in after}
    differs = _differences(old, new)
    relative = not any(what in ("cpu", "threads") for what, _, _ in differs)
    found: dict[str, tuple[Sequence[np.ndarray], Sequence[np.ndarray]]] = {}
    left_out: dict[str, str] = {}
    for shape, kernel in dict.fromkeys([*before, *after]):
        name, cells = f"{kernel} {shape}", [latest.get((shape, kernel)) for latest in (before, after)]
        timed = [cell for cell in cells if cell is not None and kernel in cell.times]
        if shape not in both or not timed:
            continue
        if len(timed) == 2:
            found[name] = _blocks(timed[0], kernel, relative), _blocks(timed[1], kernel, relative)
        else:
            left_out[name] = f"the {'new' if timed[0] is cells[0] else 'old'} results have no time of it"
    if not found:
        raise ResultsError(f"{old.path} and {new.path} have no kernel on a shape in common")
    confidence = shared_confidence(len(found))
    judged = verdicts({name: change(*both, confidence) for name, both in found.items()})
    return FilesCompared(judged, left_out, differs, relative)


def _latest(results: Results) -> dict[tuple[ConvShape, str], Cell]:
    """By shape and kernel, the last cell in which that kernel was measured on that shape."""
    return {(cell.shape, kernel): cell for cell in results.cells() for kernel in cell.declared}


def _blocks(cell: Cell, kernel: str, relative: bool) -> Sequence[np.ndarray]:
    times = cell.samples[kernel]
    if not relative or PEAK not in cell.samples:
        return times
    flop = cell.measured.peak_flop or np.nan
    return [block / peak * flop for block, peak in zip(times, cell.samples[PEAK], strict=True)]


def _differences(old: Results, new: Results) -> list[tuple[str, str, str]]:
    runs = [results.runs()[-1] for results in (old, new)]
    machines = [msgspec.structs.asdict(run.machine) | {"caches": "cold" if run.settings.cold else "warm"} for run in runs]
    return [
        (what, str(machines[0].get(what)), str(machines[1].get(what)))
        for what in ("caches", "cpu", "threads", "threading_layer", "versions", "wait_policy")
        if machines[0].get(what) != machines[1].get(what)
    ]
