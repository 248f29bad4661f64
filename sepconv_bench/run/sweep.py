"""The main job: a grid goes through a worker process, cell by cell, into a results file.

A kernel that crashes, hangs or eats the memory costs its own place in the cell: it is recorded with its reason, a fresh
worker measures the rest, and the sweep goes on. Cells that are in the file already are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sepconv_bench.measure.records import Ceilings, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.grids import Grid
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured, RunSettings
from sepconv_bench.results.store import Results
from sepconv_bench.run import protocol
from sepconv_bench.run.describe import Progress, describe_ceilings, describe_cell
from sepconv_bench.run.faulty import measure_sound, with_failed
from sepconv_bench.run.kernel_process import (
    CEILING_SECONDS,
    KernelProcess,
    WorkerSettings,
    measure_ceilings,
    open_kernel_process,
)
from sepconv_bench.run.machines import refuse_other_machine
from sepconv_bench.run.supervisor import WorkerError

FAULTS = 3  # crashes and hangs after which a kernel is not tried on the cells that are left


@dataclass(frozen=True)
class Settings:
    """What a sweep measures, and how long it may take; the others are those of `WorkerSettings`."""

    grid: Grid
    kernels: str | None = None
    plugins: tuple[str, ...] = ()
    threads: int = 1
    rules: Rules = field(default_factory=Rules)
    timeout: float = 60.0
    seed: int = 0
    device: str = "cpu"
    cold: bool = False

    @property
    def worker(self) -> WorkerSettings:
        return WorkerSettings(self.threads, self.kernels, self.plugins, self.timeout, self.device, self.cold)


def sweep(settings: Settings, opened: Callable[[], Results], progress: Callable[[Progress], None]) -> None:
    """Measure the cells of the grid that the results do not hold yet.

    `opened` gives the results, and is called only once the worker runs, the plug-ins are loaded and the kernels chosen:
    InputError before that leaves everything as it was.
    """
    with open_kernel_process(settings.worker) as process:
        started = process.start()
        with opened() as results:
            _measure_missing(process, settings, started, results, progress)


def _measure_missing(
    process: KernelProcess,
    settings: Settings,
    started: protocol.Started,
    results: Results,
    progress: Callable[[Progress], None],
) -> None:
    refuse_other_machine(results, started.machine)
    missing = missing_shapes(settings.grid.shapes, started.kernels, results)
    total, before = len(settings.grid.shapes), len(settings.grid.shapes) - len(missing)
    if not missing:
        progress(Progress(total, total, f"all {total} cells are there already; nothing to measure"))
        return
    progress(Progress(before, total, f"{started.machine.describe()}: measuring its ceilings"))
    ceilings = ceilings_within(process, settings.rules, settings.seed)
    progress(Progress(before, total, describe_ceilings(ceilings)))
    run = results.add_run(started.machine, run_settings(settings, started.kernels, settings.threads), ceilings)
    faults: Counter[str] = Counter()
    for number, shape in enumerate(missing, start=before + 1):
        measured = measure_cell(process, shape, started.kernels, settings.rules, settings.seed, faults)
        results.add_cell(run, measured)
        progress(Progress(number, total, describe_cell(measured)))


def missing_shapes(shapes: Sequence[ConvShape], kernels: Sequence[Declaration], results: Results) -> list[ConvShape]:
    """Those of the shapes on which the results do not hold these kernels yet."""
    done, names = results.done(), ",".join(kernel.name for kernel in kernels)
    return [shape for shape in shapes if (shape, names) not in done]


def run_settings(settings: Settings, kernels: Sequence[Declaration], threads: int) -> RunSettings:
    """What is stored of the settings."""
    return RunSettings(
        grid=settings.grid.name,
        kernels=tuple(kernel.name for kernel in kernels),
        rules=settings.rules,
        threads=threads,
        seed=settings.seed,
        timeout=settings.timeout,
        device=settings.device,
        cold=settings.cold,
        plugins=settings.plugins,
    )


def ceilings_within(process: KernelProcess, rules: Rules, seed: int) -> Ceilings:
    """The ceilings of the worker's machine, in no more time than a cell of this run may take twice."""
    return measure_ceilings(process, seed, min(CEILING_SECONDS, 2 * rules.seconds))


def measure_cell(
    process: KernelProcess,
    shape: ConvShape,
    kernels: Sequence[Declaration],
    rules: Rules,
    seed: int,
    faults: Counter[str],
) -> CellMeasured:
    """One cell, measured again without each kernel that brings the worker down; `faults` counts those."""
    names = [kernel.name for kernel in kernels]
    tired = {
        name: f"not tried: it crashed or hung on {FAULTS} cells before this one" for name in names if faults[name] >= FAULTS
    }
    broken = dict(tired)

    def measure(sound: tuple[str, ...]) -> CellMeasured:
        return process.ask(protocol.MeasureCell(shape, sound, rules, seed), protocol.CellTimed).cell

    own: dict[str, str] = {}
    try:
        measured = measure_sound(measure, names, broken)
    except WorkerError as fault:
        # Our own side failed, most likely on memory: the cell is lost, the sweep is not.
        reason = f"the suite's own part of this cell failed: {fault.reason}"
        own = {name: reason for name in names if name not in broken}
        measured = CellMeasured(shape, ())
    faults.update(broken.keys() - tired.keys())
    return with_failed(measured, kernels, broken | own)
