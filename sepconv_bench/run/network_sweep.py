"""MobileNet-V1 and its all-standard counterpart through a worker process into a results file, whole and step by step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sepconv_bench.measure.records import Fingerprint, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.networks import WHOLE
from sepconv_bench.results.records import CellMeasured, NetworkPart, RunSettings, continued
from sepconv_bench.results.store import Results
from sepconv_bench.run import protocol
from sepconv_bench.run.describe import Progress, Steps, describe_ceilings, describe_part
from sepconv_bench.run.faulty import measure_sound, with_failed
from sepconv_bench.run.kernel_process import KernelProcess, WorkerSettings, measure_ceilings, open_kernel_process
from sepconv_bench.run.machines import refuse_other_caches, refuse_other_machine
from sepconv_bench.run.sweep import PROCESSES, WORTH_SECONDS


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


@dataclass(frozen=True)
class _Part:
    """A part that is to be timed, and who takes part."""

    part: NetworkPart
    contenders: tuple[Declaration, ...]


def sweep_networks(
    settings: NetworkSettings, opened: Callable[[Fingerprint], Results], progress: Callable[[Progress], None]
) -> None:
    """Time MobileNet-V1 and its all-standard counterpart whole, for every alpha and resolution, and the largest step by step.

    `opened`, which is told what the worker's machine is, and faults as in `sweep`.
    """
    with open_kernel_process(settings.worker) as process:
        machine = process.start().machine
        there = _opened(process, settings)
        missing = list(_parts(there, settings))
        few = len(missing) * settings.rules.seconds < WORTH_SECONDS
        processes = 1 if settings.device == "cuda" or few else PROCESSES
        rules = Rules(settings.rules.target, settings.rules.seconds / processes)
        with opened(machine) as results:
            refuse_other_machine(results, machine)
            refuse_other_caches(results, cold=False)
            steps = Steps(0, processes * len(missing), rules.seconds, progress)
            if there.missing:
                names = ",".join(there.missing)
                steps.tell(f"not installed, and not beside ours: {names}; pip install 'sepconv-bench[{names}]'")
            steps.tell(f"{machine.describe()}: measuring its ceilings; then {steps.left()} for the parts")
            ceilings = measure_ceilings(process, settings.seed)
            steps.tell(describe_ceilings(ceilings))
            run = results.add_run(machine, settings.stored, ceilings)
            steps.start()
            found: dict[NetworkPart, CellMeasured] = {}
            for number in range(processes):
                if number:
                    process.start()
                for one in missing:
                    before = found.get(one.part)
                    measured = _measure_part(process, settings, rules, _right(one, before) if before else one)
                    found[one.part] = continued(before, measured) if before else measured
                    results.add_cell(run, found[one.part])
                    steps.advance(describe_part(one.part, found[one.part]))


def _right(one: _Part, before: CellMeasured) -> _Part:
    """The part with those contenders that another process found right."""
    right = {outcome.kernel.name for outcome in before.outcomes if outcome.status == "ok"}
    return _Part(one.part, tuple(contender for contender in one.contenders if contender.name in right))


def _opened(process: KernelProcess, settings: NetworkSettings) -> protocol.NetworkOpened:
    """The largest network."""
    job = protocol.OpenNetwork(*_largest(settings), settings.batch, settings.weights_path, settings.seed)
    return process.ask(job, protocol.NetworkOpened)


def _largest(settings: NetworkSettings) -> tuple[float, int]:
    return max(settings.alphas), max(settings.resolutions)


def _parts(opened: protocol.NetworkOpened, settings: NetworkSettings) -> Iterator[_Part]:
    """Every part of the largest network, and the others whole; in order of alpha and resolution."""
    there = opened.parts
    whole = [one for one in there if one.part == WHOLE]
    for alpha in settings.alphas:
        for resolution in settings.resolutions:
            for one in there if (alpha, resolution) == _largest(settings) else whole:
                yield _Part(NetworkPart(alpha, resolution, settings.batch, one.part), one.contenders)


def _measure_part(process: KernelProcess, settings: NetworkSettings, rules: Rules, one: _Part) -> CellMeasured:
    """A part of a network, measured again without each contender that brings the worker down."""

    def measure(sound: tuple[str, ...]) -> CellMeasured:
        job = protocol.MeasureNetworkPart(one.part, settings.weights_path, sound, rules, settings.seed)
        return process.ask(job, protocol.CellTimed).cell

    broken: dict[str, str] = {}
    measured = measure_sound(measure, [contender.name for contender in one.contenders], broken)
    return with_failed(measured, one.contenders, broken)
