"""The main job: a grid goes through a worker process, cell by cell, into a results file.

A kernel that crashes, hangs or eats the memory costs its own place in the cell: it is recorded with its reason, a fresh
worker measures the rest, and the sweep goes on. Cells that are in the file already are left alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sepconv_bench.errors import InputError, ResultsError
from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.sampler import Rules
from sepconv_bench.model import theory
from sepconv_bench.model.grids import Grid
from sepconv_bench.model.networks import WHOLE
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.store import Results, told_machine

FAULTS = 3  # crashes and hangs after which a kernel is not tried on the cells that are left
_POLL_SECONDS = 1.0  # rarely: this process shares the cores with what is being timed
_CEILING_SECONDS = 4.0
_OWN_SECONDS = 300.0  # of silence while no kernel runs: importing Numba, the reference of a large cell, the ceilings


class WorkerError(Exception):
    """The worker died or fell silent. `kernel` is whose code ran then; empty where it was the suite's own."""

    def __init__(self, kernel: str, reason: str) -> None:
        super().__init__(reason)
        self.kernel = kernel
        self.reason = reason


class UnwantedError(Exception):
    """Whoever asked for this no longer waits for it."""


@contextmanager
def _signals_held() -> Iterator[None]:
    """Nothing stops us before we know the process that has just started, and it starts deaf: only we end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """A process that kernels run in; started again by itself after a fault.

    `wanted` is asked every second while a job runs: once it says no, the process is ended and the job raises UnwantedError.
    `unset` names environment variables of this process that are not for the kernels.
    """

    def __init__(
        self,
        threads: int,
        plugins: Sequence[str] = (),
        kernels: str | None = None,
        timeout: float = 60.0,
        device: str = "cpu",
        cold: bool = False,
        wanted: Callable[[], bool] = lambda: True,
        unset: Collection[str] = (),
    ) -> None:
        self._threads, self._wanted, self._unset = threads, wanted, unset
        self._start_job = {
            "do": "start",
            "plugins": [str(Path(plugin).absolute()) for plugin in plugins],
            "kernels": kernels,
            "device": device,
            "cold": cold,
        }
        self._timeout = timeout
        self._marks = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._marks.close()

    def start(self) -> dict:
        """Start the process if none runs; gives the machine's fingerprint and the names of the kernels selected."""
        self.stop()
        ours, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if name not in self._unset}
        # -P: a file of the user's that happens to be called coverage.py or numba.py is not ours to import.
        command = [sys.executable, "-P", "-m", "sepconv_bench.run.worker", str(theirs.fileno()), str(self._marks.fileno())]
        with theirs, _signals_held():
            # A session of its own: Ctrl-C is for the sweep, which then ends the worker. Standard output stays the sweep's.
            self._process = subprocess.Popen(
                command,
                env=environment | pool_environment(self._threads),
                pass_fds=(theirs.fileno(), self._marks.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        return self._ask(self._start_job)

    def ask(self, **job: object) -> dict:
        """The worker's answer to a job. WorkerError if it dies or is silent for `timeout`, InputError if it refuses."""
        if self._process is None:
            self.start()
        return self._ask(job)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, job: dict) -> dict:
        assert self._connection is not None
        os.ftruncate(self._marks.fileno(), 0)
        try:
            self._connection.send_bytes(json.dumps(job).encode())
            self._wait()
            answer = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._death() from None
        if "refused" in answer:
            raise InputError(answer["refused"])
        if "failed" in answer:
            raise WorkerError("", answer["failed"])
        return answer["answer"]

    def _wait(self) -> None:
        assert self._connection is not None
        seen, since = self._mark(), time.monotonic()
        while not self._connection.poll(min(_POLL_SECONDS, self._timeout)):
            if not self._wanted():
                self.stop()
                raise UnwantedError
            kernel = self._running()
            timeout = self._timeout if kernel else max(_OWN_SECONDS, self._timeout)
            if self._mark() != seen:
                seen, since = self._mark(), time.monotonic()
            elif time.monotonic() - since > timeout:
                self.stop()
                raise WorkerError(kernel, f"it gave no result within {timeout:g} s, and was ended")

    def _death(self) -> WorkerError:
        assert self._process is not None
        kernel, code = self._running(), self._process.wait()
        self.stop()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return WorkerError(kernel, f"it crashed its process with {name}{hint}")
        return WorkerError(kernel, f"it ended its process with exit code {code}")

    def _mark(self) -> bytes:
        return os.pread(self._marks.fileno(), 128, 0)

    def _running(self) -> str:
        return self._mark().decode().strip("\0\n ").partition(" ")[2]


@dataclass(frozen=True)
class Settings:
    """What a sweep measures, and how long it may take. `kernels`: comma-separated patterns, None for all of the device.

    `cold`: what is launched on a GPU finds nothing of its own in L2.
    """

    grid: Grid
    kernels: str | None = None
    plugins: tuple[str, ...] = ()
    threads: int = 1
    rules: Rules = field(default_factory=Rules)
    timeout: float = 60.0
    seed: int = 0
    device: str = "cpu"
    cold: bool = False


@dataclass(frozen=True)
class Progress:
    """Told after each step: `done` of `total` cells, and what has happened in one line."""

    done: int
    total: int
    line: str


def sweep(settings: Settings, opened: Callable[[], Results], tell: Callable[[Progress], None]) -> None:
    """Measure the cells of the grid that the results do not hold yet.

    `opened` gives the results, and is called only once the worker runs, the plug-ins are loaded and the kernels chosen:
    InputError before that leaves everything as it was.
    """
    with worker_for(settings) as worker:
        hello = worker.start()
        kernels: list[str] = hello["kernels"]
        with opened() as results:
            _measure_missing(worker, settings, kernels, hello["machine"], results, tell)


def _measure_missing(
    worker: Worker, settings: Settings, kernels: list[str], machine: dict, results: Results, tell: Callable[[Progress], None]
) -> None:
    refuse_other_machine(results, machine)
    missing = missing_shapes(settings, kernels, results)
    total, before = len(settings.grid.shapes), len(settings.grid.shapes) - len(missing)
    if not missing:
        tell(Progress(total, total, f"all {total} cells are there already; nothing to measure"))
        return
    tell(Progress(before, total, f"{told_machine(machine)}: measuring its ceilings"))
    measured_ceilings = measure_ceilings(worker, settings)
    tell(Progress(before, total, told_ceilings(measured_ceilings)))
    run = results.add_run(machine, told_settings(settings, kernels), measured_ceilings)
    faults: Counter[str] = Counter()
    for number, shape in enumerate(missing, start=before + 1):
        measured = measure_cell(worker, settings, shape, kernels, faults)
        results.add_cell(run, kernels, measured)
        tell(Progress(number, total, told_cell(shape, measured)))


def missing_shapes(settings: Settings, kernels: Sequence[str], results: Results) -> list[ConvShape]:
    """The shapes of the grid on which the results do not hold these kernels yet."""
    done = results.done()
    return [shape for shape in settings.grid.shapes if (shape, ",".join(kernels)) not in done]


def told_settings(settings: Settings, kernels: Sequence[str]) -> dict:
    """What a run's row says of its settings."""
    return asdict(settings) | {"grid": settings.grid.name, "kernels": list(kernels)}


def measure_ceilings(worker: Worker, settings: Settings) -> dict:
    """The ceilings of the worker's machine, in no more time than a cell of this run may take twice."""
    return worker.ask(do="ceilings", seed=settings.seed, seconds=min(_CEILING_SECONDS, 2 * settings.rules.seconds))


def measure_cell(worker: Worker, settings: Settings, shape: ConvShape, kernels: Sequence[str], faults: Counter[str]) -> dict:
    """One cell, measured again without each kernel that brings the worker down; `faults` counts those."""
    broken = {
        name: f"not tried: it crashed or hung on {FAULTS} cells before this one" for name in kernels if faults[name] >= FAULTS
    }
    while True:
        sound = [name for name in kernels if name not in broken]
        job = {"shape": asdict(shape), "kernels": sound, "rules": asdict(settings.rules), "seed": settings.seed}
        try:
            measured = worker.ask(do="measure", **job)
        except WorkerError as fault:
            if fault.kernel in sound:
                faults[fault.kernel] += 1
                broken[fault.kernel] = fault.reason
                continue
            # Our own side failed, most likely on memory: the cell is lost, the sweep is not.
            broken |= dict.fromkeys(sound, f"the suite's own part of this cell failed: {fault.reason}")
            measured = {"shape": asdict(shape), "outcomes": [], "samples": {}, "converged": False}
        measured["outcomes"] = sorted([*measured["outcomes"], *_failed(broken)], key=lambda o: kernels.index(o["kernel"]))
        return measured


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


def sweep_networks(settings: NetworkSettings, opened: Callable[[], Results], tell: Callable[[Progress], None]) -> None:
    """Time MobileNet-V1 and its all-standard counterpart whole, for every alpha and resolution, and the largest step by step.

    `opened` and faults as in `sweep`.
    """
    networks = [
        {"alpha": alpha, "resolution": resolution, "batch": settings.batch}
        for alpha in settings.alphas
        for resolution in settings.resolutions
    ]
    job = {"do": "network", "weights": str(settings.weights) if settings.weights else None, "seed": settings.seed}
    nothing = Grid("none", "", ())
    with worker_for(Settings(nothing, threads=settings.threads, timeout=settings.timeout, device=settings.device)) as worker:
        hello = worker.start()
        largest = max(networks, key=lambda network: (network["alpha"], network["resolution"]))
        parts = worker.ask(**job, **largest, part=None)["parts"]
        todo = [(network, part) for network in networks for part in (parts if network is largest else [WHOLE])]
        with opened() as results:
            refuse_other_machine(results, hello["machine"])
            tell(Progress(0, len(todo), f"{told_machine(hello['machine'])}: measuring its ceilings"))
            measured_ceilings = worker.ask(do="ceilings", seed=settings.seed, seconds=_CEILING_SECONDS)
            tell(Progress(0, len(todo), told_ceilings(measured_ceilings)))
            told = asdict(settings) | {"grid": "mobilenet_v1, end to end", "kernels": []}
            told["weights"] = settings.weights.name if settings.weights else None
            run = results.add_run(hello["machine"], told, measured_ceilings)
            for number, (network, part) in enumerate(todo, start=1):
                ask = partial(worker.ask, **job, **network, part=part, rules=asdict(settings.rules))
                measured = _measured_part(ask)
                names = [outcome["kernel"] for outcome in measured["outcomes"]]
                results.add_cell(run, names, measured, network, part)
                tell(Progress(number, len(todo), _told_part(network, part, measured)))


def _measured_part(ask: Callable[..., dict]) -> dict:
    """A part of a network, measured again without each contender that brings the worker down."""
    broken: dict[str, str] = {}
    while True:
        try:
            measured = ask(without=list(broken))
        except WorkerError as fault:
            if not fault.kernel or fault.kernel in broken:
                raise
            broken[fault.kernel] = fault.reason
            continue
        measured["outcomes"] += _failed(broken)
        return measured


def _failed(reasons: Mapping[str, str]) -> list[dict]:
    return [
        {"kernel": name, "status": "failed", "reason": reason, "compile_s": None, "launches": 0, "error": None}
        for name, reason in reasons.items()
    ]


@dataclass(frozen=True)
class Verdict:
    """One kernel on one shape against the reference. `error` is in units of what float32 rounding explains."""

    kernel: str
    shape: ConvShape
    status: str
    reason: str
    error: float | None


# Odd sizes, sizes of one, strides that leave a rest, a kernel as wide as its map: where loops and tiles go wrong.
AWKWARD = (
    ConvShape(1, 1, 1, 1),
    ConvShape(3, 1, 1, 1),
    ConvShape(1, 3, 5, 4),
    ConvShape(2, 5, 3, 7),
    ConvShape(3, 4, 8, 5, stride=2),
    ConvShape(3, 7, 17, 6, batch=3),
    ConvShape(5, 13, 9, 3, stride=3, batch=2),
    ConvShape(3, 33, 31, 9),
    ConvShape(4, 16, 1, 8, stride=2),
    ConvShape(7, 2, 65, 11),
    ConvShape(3, 65, 129, 14, stride=2),
)


def check(settings: Settings, shapes: Sequence[ConvShape] = AWKWARD) -> Iterator[Verdict]:
    """Every selected kernel against the reference on every shape, in a worker that may die of it."""
    with worker_for(settings) as worker:
        for kernel in worker.start()["kernels"]:
            for shape in shapes:
                try:
                    found = worker.ask(do="check", kernel=kernel, shape=asdict(shape), seed=settings.seed)
                except WorkerError as fault:
                    yield Verdict(kernel, shape, "failed", fault.reason, None)
                    break  # a kernel that takes the process down is not tried further
                yield Verdict(kernel, shape, found["status"], found["reason"], found["error"])


def ceilings(threads: int, device: str = "cpu") -> tuple[dict, dict]:
    """This machine's fingerprint and its ceilings, as measured in a worker of so many threads."""
    with worker_for(Settings(Grid("none", "", ()), threads=threads, device=device)) as worker:
        return worker.start()["machine"], worker.ask(do="ceilings", seed=0, seconds=_CEILING_SECONDS)


@contextmanager
def worker_for(settings: Settings, wanted: Callable[[], bool] = lambda: True, unset: Collection[str] = ()) -> Iterator[Worker]:
    """A worker of these settings; InputError where it dies without a kernel having run."""
    kept = (settings.threads, settings.plugins, settings.kernels, settings.timeout, settings.device, settings.cold)
    with Worker(*kept, wanted, unset) as worker, faults_refused():
        yield worker


@contextmanager
def faults_refused() -> Iterator[None]:
    """InputError for a WorkerError that is no kernel's of a cell."""
    try:
        yield
    except WorkerError as fault:
        whose = fault.kernel or "the worker, while it started or measured the machine's ceilings"
        raise InputError(f"{whose}: {fault.reason}") from fault


def refuse_other_machine(results: Results, machine: dict) -> None:
    """ResultsError where the results were measured on something else than `machine`, or by something else."""
    for run in results.runs():
        for what, then, now in differences(run["machine"], machine):
            raise ResultsError(
                f"{results.path} was measured with {what} {then}, and this is {now};"
                " measure into another --output, or run without --resume"
            )


def differences(then: dict, now: dict) -> Iterator[tuple[str, Any, Any]]:
    """In what two fingerprints differ, so that their cells do not belong into one grid: what, and the two values.

    Of libraries those count that both have: one that was not there has timed nothing.
    """
    for what in ("cpu", "llvm_cpu", "gpu", "threads", "threading_layer", "versions", "commit"):
        values: list[Any] = [machine.get(what) for machine in (then, now)]
        if what == "versions" and all(values):
            changed = [name for name in values[0] if name in values[1] and values[0][name] != values[1][name]]
            values = [{name: value[name] for name in changed} for value in values]
        if values[0] != values[1]:
            yield what, *values


def told_ceilings(measured: dict) -> str:
    near, far = measured["levels"][0], measured["levels"][-1]
    return (
        f"FMA peak {measured['peak'][0] / 1e9:.0f} GFLOP/s, copy {near['bandwidth'][0] / 1e9:.0f} GB/s near"
        f" and {far['bandwidth'][0] / 1e9:.0f} GB/s far"
    )


def told_cell(shape: ConvShape, measured: dict) -> str:
    return f"{shape}: theory {float(1 / theory.cost_ratio(shape)):.2f}x, {_told_end(measured)}"


def _told_part(network: dict, part: str, measured: dict) -> str:
    return f"alpha {network['alpha']:g}, resolution {network['resolution']}, {part}: {_told_end(measured)}"


def _told_end(measured: dict) -> str:
    bad = [
        f"; {o['kernel']} {o['status']} ({o['reason']})"
        for o in measured["outcomes"]
        if o["status"] not in ("ok", "unsupported")
    ]
    closed = "" if measured["converged"] else ", not converged"
    slowed = f", {measured['slowed']} samples with the clock held down" if measured.get("slowed") else ""
    return f"{measured.get('seconds', 0):.1f} s{closed}{slowed}" + "".join(bad)
