"""Our kernels beside the fastest other library on each shape, and the goals that they should reach: a table in Markdown.

python experiments/goals.py DIR [COLD_DIR]

DIR holds results of `run`, best with all of PEERS, or of `mobilenet`; COLD_DIR those of `run --cold`. A ratio is the time of
the fastest peer, numpy among them, over that of our fastest kernel, in paired samples: above 1 we are the faster ones. A goal
that is missed is bold.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Estimate, Fingerprint
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.networks import WHOLE, mobilenet_v1, multiply_adds
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store
from sepconv_bench.results.cell import Cell

PEERS = ("torch", "onnxruntime", "openvino", "xnnpack", "ncnn")


class Goal(NamedTuple):
    """Of the best peer's time over ours: the geometric mean over the cells, and the worst cell."""

    geomean: float
    worst: float


class Row(NamedTuple):
    """A row of the table: which kernels it is about, and its goals on AVX2 and on AVX-512."""

    operator: str
    winograd: bool = False  # whether it is among the kernels, ours and theirs
    cold: bool = False
    goals: tuple[Goal, Goal] | None = None

    @property
    def name(self) -> str:
        return self.operator + ", Winograd on both sides" * self.winograd + (", cold" if self.cold else "")


ROWS = (
    Row("standard", goals=(Goal(1.05, 0.92), Goal(1.10, 0.95))),
    Row("standard", winograd=True),
    Row("pointwise", goals=(Goal(1.10, 0.95),) * 2),
    Row("depthwise", goals=(Goal(1.25, 0.92),) * 2),
    Row("depthwise", cold=True, goals=(Goal(1.15, 0.92),) * 2),
    Row("separable", goals=(Goal(1.35, 1.0), Goal(1.5, 1.0))),
)


FOOTNOTE = (
    "A library whose algorithm is `chosen` may have taken Winograd's for standard; only kernels that are known to do so are",
    "left out of the first row.",
)


class Beside(NamedTuple):
    """The best peer's time over ours in one cell."""

    ratio: float
    shape: ConvShape
    peer: Declaration


def beside(cells: Iterable[Cell], row: Row) -> list[Beside]:
    """Of each cell that timed a kernel of ours and one of a peer's."""
    found = []
    for cell in cells:
        timed = [cell.declared[name] for name in cell.times]
        there = [one for one in timed if (one.device, one.operator) == ("cpu", row.operator)]
        there = [one for one in there if row.winograd or one.algorithm != "winograd"]
        ours = _fastest(cell, [one for one in there if one.library == OURS])
        theirs = _fastest(cell, [one for one in there if one.is_peer])
        if ours and theirs:
            found.append(Beside(cell.ratio(theirs.name, ours.name).value, cell.shape, theirs))
    return found


def _fastest(cell: Cell, kernels: Iterable[Declaration]) -> Declaration | None:
    return min(kernels, key=lambda one: cell.times[one.name].value, default=None)


def against(value: float, goal: float | None) -> str:
    """A number beside its goal, bold where it misses that."""
    if goal is None:
        return f"{value:.3f}"
    return f"{value:.3f} (goal {goal:.2f})" if value >= goal else f"**{value:.3f}, goal {goal:.2f} missed**"


def line(row: Row, found: Sequence[Beside], avx512: bool) -> str:
    """The row of the table, from what `beside` gives."""
    if not found:
        return _row(row.name, "no cell", "", "", 0, "")
    goal = row.goals[avx512] if row.goals else None
    mean, worst = geometric_mean(one.ratio for one in found), min(found, key=lambda one: one.ratio)
    winners = _counted(one.peer.library for one in found)
    if row.operator == "standard":
        winners += f"; by {_counted(one.peer.algorithm for one in found)}"
    means = against(mean, goal.geomean if goal else None), against(worst.ratio, goal.worst if goal else None)
    return _row(row.name, *means, f"{worst.shape}, {worst.peer.variant}", len(found), winners)


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word} {times}" for word, times in Counter(words).most_common())


def is_avx512(machine: Fingerprint) -> bool:
    return "avx512f" in machine.vector_features


def described(cells: Sequence[Cell]) -> list[str]:
    """Grid, machine and peers of the cells."""
    runs = {cell.run.number: cell.run for cell in cells}.values()
    machine = cells[-1].run.machine
    width = "AVX-512" if is_avx512(machine) else "AVX2"
    libraries = {one.library for cell in cells for name, one in cell.declared.items() if name in cell.times}
    lines = [
        f"Grid {', '.join(dict.fromkeys(run.settings.grid for run in runs))}, {len(cells)} cells, {machine.machine}"
        f" ({machine.cpu}, {machine.llvm_cpu}, {machine.threads} threads), goals for {width}."
    ]
    if missing := [peer for peer in PEERS if peer not in libraries]:
        lines.append(f"Not in the file: {', '.join(missing)}.")
    return lines


def kernels_table(warm: Sequence[Cell], cold: Sequence[Cell]) -> list[str]:
    """The lines of the table of kernels."""
    lines = described(warm)
    if cold:
        lines += ["Cold: " + text for text in described(cold)]
    lines += ["", _row("best peer's time / ours", "geomean", "worst", "at", "cells", "the fastest peer"), _row(*["---"] * 6)]
    for row in ROWS:
        if cold or not row.cold:
            cells = cold if row.cold else warm
            lines.append(line(row, beside(cells, row), is_avx512(cells[-1].run.machine)))
    return [*lines, "", *FOOTNOTE]


def network_table(whole: Sequence[Cell]) -> list[str]:
    """The lines of the table of whole networks."""
    lines = [*described(whole), "", _row("MobileNet-V1", "", "time / ours"), _row(*["---"] * 3)]
    for cell in whole:
        network = cell.network
        assert network is not None
        name = f"alpha {network.alpha:g}, {network.resolution}, batch {network.batch}"
        timed = [cell.declared[name] for name in cell.times]
        ours = {one.operator: one.name for one in timed if one.library == OURS}
        if "separable" not in ours:
            continue
        peers = [one for one in timed if one.is_peer and one.operator == "separable"]
        for peer in sorted(peers, key=lambda one: cell.times[one.name].value):
            lines.append(_row(name, peer.variant, _interval(cell.ratio(peer.name, ours["separable"]))))
        if "standard" in ours:
            size = network.alpha, network.resolution, network.batch
            promised = multiply_adds(mobilenet_v1(*size, separable=False)) / multiply_adds(mobilenet_v1(*size))
            gain = cell.ratio(ours["standard"], ours["separable"])
            share = f"promised {promised:.2f}, of which {gain.value / promised:.0%}"
            lines.append(_row(name, "our all-standard twin", f"{_interval(gain)}; {share}"))
    return lines


def _interval(ratio: Estimate) -> str:
    return f"{ratio.value:.3f} ({ratio.lo:.3f} to {ratio.hi:.3f})"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def lines_of(folder: Path, cold_folder: Path | None = None) -> list[str]:
    """All that is printed."""
    with store.open_results(folder) as results:
        warm, parts = [cell for cell in results.cells() if not cell.run.settings.cold], results.parts()
    cold: list[Cell] = []
    if cold_folder:
        with store.open_results(cold_folder) as results:
            cold = [cell for cell in results.cells() if cell.run.settings.cold]
        if not cold:
            raise ResultsError(f"{cold_folder} holds nothing that `run --cold` measured")
    whole = [cell for cell in parts if cell.network and cell.network.part == WHOLE]
    lines = kernels_table(warm, cold) if warm else []
    return [*lines, *([""] if warm and whole else []), *(network_table(whole) if whole else [])]


if __name__ == "__main__":
    print("\n".join(lines_of(*map(Path, sys.argv[1:]))))
