"""MobileNet-V1 and its all-standard counterpart through worker processes into a results file, whole and step by step.

Each part is visited several times in two processes, as the cells of a sweep are, and for the same reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from sepconv_bench.measure.records import Fingerprint, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.networks import PARTS, WHOLE
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import CellMeasured, NetworkPart, Run, RunSettings, continued
from sepconv_bench.results.store import Results
from sepconv_bench.run import protocol
from sepconv_bench.run.describe import Progress, Steps, describe_ceilings, describe_part
from sepconv_bench.run.faulty import measure_sound, with_failed
from sepconv_bench.run.kernel_process import KernelProcess, WorkerSettings, measure_ceilings, open_kernel_process
from sepconv_bench.run.machines import refuse_other_caches, refuse_other_machine
from sepconv_bench.run.sweep import PROCESSES, VISITS, WORTH_SECONDS


@dataclass(frozen=True)
class NetworkSettings:
    """Which MobileNet-V1s are timed; `weights` is a file of theirs, None for random ones."""

    alphas: tuple[float, ...]
    resolutions: tuple[int, ...]
    batch: int = 1
    weights: Path | None = None
    threads: int = 1
    rules: Rules = field(default_factory=Rules)
    timeout: float = 300.0
    seed: int = 0
    device: str = "cpu"

    @property
    def worker(self) -> WorkerSettings:
        return WorkerSettings(self.threads, timeout=self.timeout, device=self.device)

    @property
    def weights_path(self) -> bytes | None:
        return os.fsencode(self.weights) if self.weights else None

    @property
    def largest(self) -> tuple[float, int]:
        """Alpha and resolution of the network that is timed step by step, too."""
        return max(self.alphas), max(self.resolutions)

    @cached_property
    def parts(self) -> tuple[NetworkPart, ...]:
        """Every part of the largest network, and the others whole; in order of alpha and resolution."""
        return tuple(
            NetworkPart(alpha, resolution, self.batch, part)
            for alpha in self.alphas
            for resolution in self.resolutions
            for part in (PARTS if (alpha, resolution) == self.largest else (WHOLE,))
        )

    @property
    def processes(self) -> int:
        """In how many processes each part is measured, as a cell of a sweep."""
        return 1 if self.device == "cuda" or self._few else PROCESSES

    @cached_property
    def turns(self) -> tuple[NetworkPart, ...]:
        """The visits of one process: several times round the parts of a network, then the next, for only one is in memory.

        A network that is timed whole alone has no others to go round with, and one visit.
        """
        turns: list[NetworkPart] = []
        for _, parts in groupby(self.parts, key=lambda part: (part.alpha, part.resolution)):
            network = [*parts]
            turns += network * (1 if self.device == "cuda" or self._few or len(network) == 1 else VISITS)
        return tuple(turns)

    @property
    def _few(self) -> bool:
        return len(self.parts) * self.rules.seconds < WORTH_SECONDS

    @property
    def stored(self) -> RunSettings:
        return RunSettings(
            grid="mobilenet_v1, end to end",
            kernels=(),
            rules=self.rules,
            threads=self.threads,
            seed=self.seed,
            timeout=self.timeout,
            device=self.device,
            alphas=self.alphas,
            resolutions=self.resolutions,
            batch=self.batch,
            weights=self.weights.name if self.weights else None,
        )


def sweep_networks(
    settings: NetworkSettings,
    opened: Callable[[Fingerprint], Results],
    progress: Callable[[Progress], None],
    resume: bool = False,
) -> None:
    """Time MobileNet-V1 and its all-standard counterpart whole, for every alpha and resolution, and the largest step by step.

    With `resume`, visits that the results hold are not made again.

    `opened`, which is told what the worker's machine is, and faults as in `sweep`.
    """
    with open_kernel_process(settings.worker) as process:
        machine = process.start().machine
        there = _opened(process, settings)
        contenders = {one.part: one.contenders for one in there.parts}
        with opened(machine) as results:
            refuse_other_machine(results, machine)
            refuse_other_caches(results, cold=False)
            found = _held(results, settings, contenders) if resume else {}
            left = visits_left(settings, {part: len(cell.measured.visits) for part, cell in found.items()})
            total = settings.processes * len(settings.turns)
            seconds = settings.rules.seconds * len(settings.parts) / total
            steps = Steps(total - len(left), total, seconds, max(map(len, contenders.values())), progress)
            if there.missing:
                names = ",".join(there.missing)
                steps.tell(f"not installed, so not compared with ours: {names}; pip install 'sepconv-bench[{names}]'")
            if not left:
                steps.tell(f"all {len(settings.parts)} parts are there already; nothing to measure")
                return
            steps.tell(f"{machine.describe()}: measuring its ceilings; then {steps.left()} for the parts")
            ceilings = measure_ceilings(process, settings.seed)
            steps.tell(describe_ceilings(ceilings))
            run = Run(results.add_run(machine, settings.stored, ceilings), machine, settings.stored, ceilings)
            steps.start()
            running = left[0].process
            for one in left:
                if one.process != running:
                    process.start()
                    running = one.process
                before = found.get(one.part)
                measured = _measure_part(process, settings, one, _right(contenders[one.part.part], before))
                cell = Cell(continued(before.measured, measured), before.run) if before else Cell(measured, run)
                found[one.part] = cell
                results.add_cell(cell.run.number, cell.measured)
                steps.advance(describe_part(one.part, cell.measured))


class Visit(NamedTuple):
    """To a part, the `number`th of all processes; `process` says in which."""

    process: int
    part: NetworkPart
    number: int


def visits_left(settings: NetworkSettings, made: Mapping[NetworkPart, int]) -> list[Visit]:
    """The visits that are left, in order, of parts that were visited so often; 0 where the file does not say: then none is."""
    seen, left = Counter[NetworkPart](), []
    for process in range(settings.processes):
        for part in settings.turns:
            if part not in made or 0 < made[part] <= seen[part]:
                left.append(Visit(process, part, seen[part]))
            seen[part] += 1
    return left


def _held(
    results: Results, settings: NetworkSettings, contenders: Mapping[str, Sequence[Declaration]]
) -> dict[NetworkPart, Cell]:
    """Those of the parts asked for that the results hold, measured with the same contenders."""
    cells = {cell.network: cell for cell in results.parts()}
    names = {part: tuple(one.name for one in declared) for part, declared in contenders.items()}
    asked = ((part, cells.get(part)) for part in settings.parts)
    return {part: cell for part, cell in asked if cell and cell.measured.kernels == names[part.part]}


def _right(contenders: Sequence[Declaration], before: Cell | None) -> list[Declaration]:
    """Those contenders that earlier visits found right; all where there were none."""
    return [one for one in contenders if before is None or one.name in before.times]


def _opened(process: KernelProcess, settings: NetworkSettings) -> protocol.NetworkOpened:
    """The largest network."""
    job = protocol.OpenNetwork(*settings.largest, settings.batch, settings.weights_path, settings.seed)
    return process.ask(job, protocol.NetworkOpened)


def _measure_part(
    process: KernelProcess, settings: NetworkSettings, visit: Visit, contenders: Sequence[Declaration]
) -> CellMeasured:
    """One visit to a part of a network, made again without each contender that brings the worker down."""
    rules = Rules(settings.rules.target, settings.rules.seconds / settings.processes)
    visits = settings.turns.count(visit.part)

    def measure(sound: tuple[str, ...]) -> CellMeasured:
        job = protocol.MeasureNetworkPart(visit.part, settings.weights_path, sound, rules, settings.seed, visit.number, visits)
        return process.ask(job, protocol.CellTimed).cell

    broken: dict[str, str] = {}
    measured = measure_sound(measure, [contender.name for contender in contenders], broken)
    return with_failed(measured, contenders, broken)
