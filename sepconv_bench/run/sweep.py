"""The main job: a grid goes through a worker process, cell by cell, into a results file, a few times; then through another one.

Where pages and code lie is drawn with each process, and a minute later the neighbours are others: what that makes is in no
visit's own intervals.

A kernel that crashes, hangs or eats the memory costs its own place in the cell: it is recorded with its reason, a fresh
worker measures the rest, and the sweep goes on. Cells that are in the file already are left alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Ceilings, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.grids import Grid
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import CellMeasured, Run, RunSettings, continued
from sepconv_bench.results.store import Results
from sepconv_bench.run import protocol
from sepconv_bench.run.describe import Progress, Steps, describe_ceilings, describe_cell, describe_sampling
from sepconv_bench.run.faulty import measure_sound, with_failed
from sepconv_bench.run.kernel_process import (
    CEILING_SECONDS,
    KernelProcess,
    WorkerSettings,
    measure_ceilings,
    open_kernel_process,
)
from sepconv_bench.run.machines import refuse_other_caches, refuse_other_machine
from sepconv_bench.run.supervisor import WorkerError

PROCESSES = 2  # in which each cell is measured
VISITS = 3  # of each process to a cell, with all the others between: what is in the way lasts for seconds, not for minutes
WORTH_SECONDS = 10.0  # of sampling, below which another process takes longer to start than to measure
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
    def processes(self) -> int:
        """In how many processes each cell is measured: a GPU's memory is not drawn anew with them."""
        return 1 if self.device == "cuda" or self._few else PROCESSES

    @property
    def visits(self) -> int:
        """How many of each process to a cell."""
        return 1 if self.device == "cuda" or self._few else VISITS

    @property
    def _few(self) -> bool:
        return len(self.grid.shapes) * self.rules.seconds < WORTH_SECONDS

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
        refuse_untaken(settings.grid.shapes, started.kernels)
        with opened() as results:
            _Sweep(process, settings, started, results, progress).measure_missing()


def refuse_untaken(shapes: Sequence[ConvShape], kernels: Sequence[Declaration]) -> None:
    """InputError where none of the kernels takes a dtype of the shapes."""
    taken = {dtype for kernel in kernels for dtype in kernel.dtypes}
    for dtype in dict.fromkeys(shape.dtype for shape in shapes):
        if dtype not in taken:
            raise InputError(
                f"none of the chosen kernels of {kernels[0].device} computes in {dtype}; they take {', '.join(sorted(taken))}"
            )


class _Sweep:
    """A grid visit by visit, through one process after the other, into the results."""

    def __init__(
        self,
        process: KernelProcess,
        settings: Settings,
        started: protocol.Started,
        results: Results,
        progress: Callable[[Progress], None],
    ) -> None:
        refuse_other_machine(results, started.machine)
        refuse_other_caches(results, settings.cold)
        self._process, self._settings, self._machine, self._results = process, settings, started.machine, results
        self._kernels, self._faults, self._begun = started.kernels, Counter[str](), time.monotonic()
        self._timed_s = 0.0
        shapes, visits = settings.grid.shapes, settings.processes * settings.visits
        self._left = [missing_shapes(shapes, self._kernels, results, number + 1) for number in range(visits)]
        self._rules = Rules(settings.rules.target, settings.rules.seconds / settings.processes, settings.rules.evenly)
        done = sum(len(shapes) - len(left) for left in self._left)
        self._steps = Steps(done, visits * len(shapes), settings.rules.seconds / visits, progress)

    def measure_missing(self) -> None:
        if not any(self._left):
            self._steps.tell(f"all {len(self._settings.grid.shapes)} cells are there already; nothing to measure")
            return
        run = self._run()
        self._steps.start()
        for number, missing in enumerate(self._left):
            if number and missing and number % self._settings.visits == 0:
                self._process.start()
            cells = self._results.cells() if number else []
            held = {cell.shape: cell for cell in cells if cell.measured.kernels == tuple(one.name for one in self._kernels)}
            for shape in missing:
                self._measure(shape, number, run, held.get(shape))
        cells = [cell for cell in self._results.cells() if cell.run.number == run.number]
        self._steps.tell(describe_sampling(cells, time.monotonic() - self._begun, self._timed_s))

    def _run(self) -> Run:
        """The run that cells belong to from now on, with its ceilings measured."""
        self._steps.tell(f"{self._machine.describe()}: measuring its ceilings; then {self._steps.left()} for the cells")
        ceilings = ceilings_within(self._process, self._settings.rules, self._settings.seed)
        self._steps.tell(describe_ceilings(ceilings))
        stored = run_settings(self._settings, self._kernels, self._settings.threads)
        return Run(self._results.add_run(self._machine, stored, ceilings), self._machine, stored, ceilings)

    def _measure(self, shape: ConvShape, number: int, run: Run, before: Cell | None) -> None:
        """A cell in one process; `before` is what others found of it, and the kernels that it was right for go on."""
        kernels: Sequence[Declaration] = self._kernels
        if before is not None:  # what has failed since then on others says nothing of what was right here
            kernels = [one for one in kernels if one.name in before.times and self._faults[one.name] < FAULTS]
        if not kernels:
            self._steps.advance(f"{shape}: no kernel goes on")
            return
        seed, visits = self._settings.seed + number, self._settings.visits
        measured = measure_cell(self._process, shape, kernels, self._rules, seed, self._faults, visits)
        self._timed_s += measured.timed_s
        if before is not None:
            measured, run = continued(before.measured, measured), before.run
        self._results.add_cell(run.number, measured)
        self._steps.advance(describe_cell(Cell(measured, run)))


def missing_shapes(
    shapes: Sequence[ConvShape], kernels: Sequence[Declaration], results: Results, visits: int = 1
) -> list[ConvShape]:
    """Those of the shapes that were visited less often with these kernels; in all, where the file does not say."""
    there, names = results.visits(), ",".join(kernel.name for kernel in kernels)
    return [shape for shape in shapes if (there.get((shape, names), -1) or visits) < visits]


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
    visits: int = 1,
) -> CellMeasured:
    """One visit to a cell, made again without each kernel that brings the worker down; `faults` counts those."""
    names = [kernel.name for kernel in kernels]
    tired = {
        name: f"not tried: it crashed or hung on {FAULTS} cells before this one" for name in names if faults[name] >= FAULTS
    }
    broken = dict(tired)

    def measure(sound: tuple[str, ...]) -> CellMeasured:
        return process.ask(protocol.MeasureCell(shape, sound, rules, seed, visits), protocol.CellTimed).cell

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
