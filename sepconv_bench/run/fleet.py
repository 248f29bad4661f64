"""A grid over many hosts: its cells go to Dask workers, one at a time to each host, and come back as they are done.

A Dask worker only carries a cell to and fro. The kernels run in a process of their own beside it, `sweep.Worker`, with the
environment, the limits and the second chances of a run on one machine. It outlives its cell by a few seconds, for the next one
finds the kernels compiled; it ends at once when nobody waits for the cell any more.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import dask
from distributed import CancelledError, Client, Future, KilledWorker, get_worker, wait
from distributed.worker import WORKER_ANY_RUNNING

from sepconv_bench import gpu
from sepconv_bench.errors import InputError, Stopped
from sepconv_bench.measure.machine import allowed_threads, commit
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.store import Results
from sepconv_bench.run import sweep
from sepconv_bench.run.sweep import Progress, Settings, Worker

CELL = "cell"  # the resource that a Dask worker offers: one cell at a time
LOSSES = 3  # of workers in the middle of one cell, after which it is not tried again
_CONNECT_SECONDS = 10
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0  # in which a lost worker may come back when no other can go on: Dask's nanny restarts one in a few
_FETCH_SECONDS = 10.0
_IDLE_SECONDS = 10.0
_CLOCKWORK = ("tick", "profile", "profile-cycle", "monitor", "memory_monitor")  # of a Dask worker; its heartbeat stays


@dataclass(frozen=True)
class Order:
    """What every host is asked to measure. `threads`: None for the host's physical cores; `plugins`: file names and texts."""

    settings: Settings
    threads: int | None
    plugins: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, settings: Settings, threads: int | None) -> Order:
        """InputError where a plug-in cannot be read."""
        try:
            plugins = tuple((Path(plugin).name, Path(plugin).read_text(encoding="utf-8")) for plugin in settings.plugins)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"a plug-in cannot be read: {error}") from error
        return cls(replace(settings, plugins=()), threads, plugins)


# ---------------------------------------------------------------------------------------- on a host, in the Dask worker


def introduce(order: Order) -> dict:
    """The host's name, its machine's fingerprint, and the kernels chosen."""
    if order.settings.device == "cuda":
        gpu.require_for_timing()
    with _kept.lent(order) as process:
        return process.hello | {"host": socket.gethostname().partition(".")[0]}


def ceilings(order: Order) -> dict:
    """The ceilings of the host's machine."""
    with _quiet(), _kept.lent(order) as process, sweep.faults_refused():
        return sweep.measure_ceilings(process.worker, process.settings)


def cell(order: Order, shape: ConvShape, kernels: Sequence[str], faults: Mapping[str, int]) -> tuple[dict, dict[str, int]]:
    """One cell as `sweep.measure_cell` gives it, and the kernels that brought the process down while it was measured."""
    with _quiet(), _kept.lent(order) as process:
        counted = Counter(faults)
        measured = sweep.measure_cell(process.worker, process.settings, shape, kernels, counted)
        return measured, dict(counted - Counter(faults))


class _Process:
    """The process in which this host's kernels run, for one order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sepconv-bench-")))
            paths = []
            for number, (name, text) in enumerate(order.plugins):
                (folder / str(number)).mkdir()
                paths.append(folder / str(number) / name)
                paths[-1].write_text(text, encoding="utf-8")
            self.settings = replace(order.settings, threads=allowed_threads(order.threads), plugins=tuple(map(str, paths)))
            self.worker: Worker = stack.enter_context(sweep.worker_for(self.settings, _wanted, _set_by_the_nanny()))
            self.hello = self.worker.start()
            self._stack = stack.pop_all()

    def end(self) -> None:
        self._stack.close()


class _Kept:
    """One process at a time, kept for `_IDLE_SECONDS` after it was lent last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._lent = 0

    @contextmanager
    def lent(self, order: Order) -> Iterator[_Process]:
        """The process for this order; what goes wrong meanwhile ends it."""
        with self._lock:
            self._lent += 1
            if self._process and self._process.order != order:
                self._end()
            try:
                self._process = self._process or _Process(order)
                yield self._process
            except BaseException:
                self._end()
                raise
            timer = threading.Timer(_IDLE_SECONDS, self._end_if_idle, [self._lent])
            timer.daemon = True
            timer.start()

    def _end_if_idle(self, lent: int) -> None:
        with self._lock:
            if lent == self._lent:
                self._end()

    def _end(self) -> None:
        if self._process:
            self._process.end()
            self._process = None


_kept = _Kept()


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's worker looks after itself a hundred times a second: not while something is timed beside it."""
    worker = get_worker()
    clockwork = [worker.periodic_callbacks[name] for name in _CLOCKWORK if name in worker.periodic_callbacks]
    for part in clockwork:
        worker.loop.add_callback(part.stop)
    try:
        yield
    finally:
        for part in clockwork:
            worker.loop.add_callback(part.start)


def _wanted() -> bool:
    """Whether someone still waits for the task that this thread runs: not after a cancellation, nor once the client is gone."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is not None and task.state == "executing" and worker.status in WORKER_ANY_RUNNING


def _set_by_the_nanny() -> list[str]:
    """Variables that Dask's nanny gives its worker: a fixed threshold of malloc would slow down whatever allocates."""
    given = dask.config.get("distributed.nanny.pre-spawn-environ")
    return [name for name, value in given.items() if os.environ.get(name) == str(value)]


# ---------------------------------------------------------------------------------------- at the other end


@dataclass
class Job:
    """A grid on its way into one results file, measured by one host or shared by several."""

    results: Results
    missing: deque[ConvShape]
    faults: Counter[str] = field(default_factory=Counter)
    losses: Counter[ConvShape] = field(default_factory=Counter)
    given_up: list[ConvShape] = field(default_factory=list)


@dataclass
class Host:
    """A host, its Dask worker's address, and what it does now: `sent` is under way, of `shape`, or of the ceilings if None."""

    name: str
    ip: str
    address: str
    machine: dict
    kernels: list[str]
    run: int | None = None
    sent: Future | None = None
    shape: ConvShape | None = None


def measure(
    scheduler: str,
    settings: Settings,
    threads: int | None,
    share: bool,
    opened: Callable[[str], Results],
    tell: Callable[[Progress], None],
) -> list[str]:
    """Measure the cells that the results do not hold yet on every host that offers to, or have alike hosts share them.

    `opened` gives the results by the machine's name, made unique by the host's where each has its own; it is called once all
    hosts have answered: InputError before that leaves everything as it was. Gives a line for each results file that lacks cells
    in the end, because a host was lost for good.
    """
    order = Order.of(settings, threads)
    with _stops_held(), _connected(scheduler) as client:
        workers = _offering(client, scheduler)
        total = len(settings.grid.shapes) * (1 if share else len(workers))
        tell(Progress(0, total, f"hosts that offer to measure: {len(workers)}; asking what they are"))
        hosts = _introduced(client, workers, order)
        for host in hosts:
            tell(Progress(0, total, f"{host.name}: {sweep.told_machine(host.machine)}"))
        refuse_other_versions(hosts)
        if share:
            refuse_unlike(hosts)
        with ExitStack() as stack:
            jobs: dict[str, Job] = {}
            for host in hosts[:1] if share else hosts:
                name = host.machine["machine"] + ("" if share else f"-{host.name}")
                results = stack.enter_context(opened(name))
                sweep.refuse_other_machine(results, host.machine)
                jobs[host.name] = Job(results, deque(sweep.missing_shapes(settings, host.kernels, results)))
            if share:
                jobs = {host.name: jobs[hosts[0].name] for host in hosts}
            return _Sweep(client, order, hosts, jobs, total, tell).through()


class _Sweep:
    """All cells of all jobs through all hosts."""

    def __init__(
        self,
        client: Client,
        order: Order,
        hosts: Sequence[Host],
        jobs: Mapping[str, Job],
        total: int,
        tell: Callable[[Progress], None],
    ) -> None:
        self._client, self._order, self._hosts, self._jobs, self._total = client, order, hosts, jobs, total
        self._tell_progress = tell
        self._active = time.monotonic()

    def through(self) -> list[str]:
        if not any(job.missing for job in self._jobs.values()):
            self._tell(f"all {self._total} cells are there already; nothing to measure")
        try:
            while self._goes_on():
                self._step()
        finally:
            # Ctrl-C, or an error: whoever still measures is told to stop.
            with suppress(OSError, TimeoutError, CancelledError):
                self._client.cancel([host.sent for host in self._hosts if host.sent])
        return self._lacking()

    @cached_property
    def _own_jobs(self) -> dict[int, Job]:
        """Each job once, however many hosts share it."""
        return {id(job): job for job in self._jobs.values()}

    def _goes_on(self) -> bool:
        if any(host.sent for host in self._hosts):
            self._active = time.monotonic()
            return True
        return any(job.missing for job in self._jobs.values()) and time.monotonic() < self._active + _GRACE_SECONDS

    def _step(self) -> None:
        there = _workers(self._client)
        for host in self._hosts:
            if host.address not in there:
                self._lost(host, there)
            if host.address in there and not host.sent:
                self._send(host)
        sent = [host.sent for host in self._hosts if host.sent]
        if not sent:
            time.sleep(_POLL_SECONDS)
            return
        with suppress(TimeoutError, CancelledError):
            wait(sent, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
        for host in self._hosts:
            if host.sent and host.sent.done():
                self._take(host)

    def _send(self, host: Host) -> None:
        job = self._jobs[host.name]
        if not job.missing:
            return
        on_host: dict[str, Any] = {"workers": [host.address], "resources": {CELL: 1}, "pure": False}
        if host.run is None:
            host.shape = None
            host.sent = self._client.submit(ceilings, self._order, **on_host)
            return
        host.shape = job.missing.popleft()
        host.sent = self._client.submit(cell, self._order, host.shape, host.kernels, dict(job.faults), **on_host)

    def _take(self, host: Host) -> None:
        """Record what has come back; what can no longer be fetched is lost with its worker."""
        assert host.sent is not None
        try:
            came = host.sent.result(timeout=_FETCH_SECONDS)
        except TimeoutError:
            return
        except (KilledWorker, CancelledError):
            self._put_back(host)
            return
        except Exception as error:
            host.sent = None
            raise _told_error(host.name, error) from error
        host.sent = None
        job = self._jobs[host.name]
        if host.shape is None:
            told = sweep.told_settings(replace(self._order.settings, threads=host.machine["threads"]), host.kernels)
            host.run = job.results.add_run(host.machine, told, came)
            self._tell(f"{host.name}: {sweep.told_ceilings(came)}")
            return
        measured, faults = came
        job.faults.update(faults)
        job.results.add_cell(host.run or 0, host.kernels, measured)
        self._tell(f"{host.name}: {sweep.told_cell(host.shape, measured)}")

    def _lost(self, host: Host, there: Mapping[str, dict]) -> None:
        """Put back what a lost worker had in hands, and look whether the host has another one by now."""
        if host.sent:
            self._client.cancel([host.sent])
            self._put_back(host)
        for address, worker in there.items():
            if worker["host"] == host.ip and not _unfit(worker):
                host.address = address

    def _put_back(self, host: Host) -> None:
        job, shape, host.sent = self._jobs[host.name], host.shape, None
        if shape is None:
            self._tell(f"{host.name}: its worker was lost")
            return
        job.losses[shape] += 1
        if job.losses[shape] < LOSSES:
            job.missing.appendleft(shape)
            self._tell(f"{host.name}: its worker was lost; {shape} is measured again")
        else:
            job.given_up.append(shape)
            self._tell(f"{host.name}: its worker was lost; {shape} has now lost {LOSSES}, and is left out")

    def _lacking(self) -> list[str]:
        lines = []
        for job in self._own_jobs.values():
            count = len(job.missing) + len(job.given_up)
            if count:
                names = [host.name for host in self._hosts if self._jobs[host.name] is job]
                lines.append(f"{' and '.join(names)}: {count} cells lost with the worker")
        return lines

    def _tell(self, line: str) -> None:
        under_way = sum(host.shape is not None for host in self._hosts if host.sent)
        left = sum(len(job.missing) + len(job.given_up) for job in self._own_jobs.values()) + under_way
        self._tell_progress(Progress(self._total - left, self._total, line))


_stops: list[int] = []  # signals that have come while they were held


@contextmanager
def _stops_held() -> Iterator[None]:
    """Within a call of Dask's Ctrl-C would leave half a request behind, and a client that never closes: it is heeded between
    two of them, and but once."""
    kept = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                kept[number] = signal.signal(number, lambda number, frame: _stops.append(number))
    try:
        yield
        _heed_stops()
    finally:
        if not _stops:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _heed_stops() -> None:
    if _stops:
        raise Stopped


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler; InputError if none answers within seconds."""
    for name in ("distributed", "tornado.application"):  # what they would say is said here, in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r} ({_first_line(error)}); `dask scheduler` starts one and says where"
        ) from error
    with client:
        yield client


def _workers(client: Client) -> dict[str, dict]:
    """Every worker of the scheduler by its address; InputError where the scheduler has gone."""
    told: dict = {}
    _heed_stops()
    with suppress(OSError, TimeoutError, CancelledError):
        # Not `client.scheduler_info`: it answers from where the client itself notes, every 2 s, a cluster without its workers.
        if client.status == "running":
            told = client.sync(client.scheduler.identity, n_workers=-1)
    if client.status != "running" or "workers" not in told:
        raise InputError("the Dask scheduler was lost on the way; what had come back is kept, and --resume goes on")
    return told["workers"]


def _offering(client: Client, scheduler: str) -> dict[str, dict]:
    """The workers that cells can go to, by address; InputError where there is none, or one cannot measure undisturbed."""
    start = f"`dask worker {scheduler} --nworkers 1 --nthreads 1 --resources {CELL}=1 --memory-limit 0`"
    offering = {address: worker for address, worker in _workers(client).items() if CELL in worker["resources"]}
    if not offering:
        raise InputError(f"no worker of the scheduler at {scheduler} offers to measure; start one on each host: {start}")
    for address, worker in offering.items():
        if unfit := _unfit(worker):
            raise InputError(f"the worker at {address} {unfit}; start it as {start}")
    hosts = Counter(worker["host"] for worker in offering.values())
    ip, count = hosts.most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} workers offer to measure on the host {ip}, and would disturb each other; leave one there")
    return offering


def _unfit(worker: dict) -> str:
    """Why a worker cannot have cells, or nothing."""
    if worker["resources"].get(CELL) != 1:
        return f"offers {worker['resources'].get(CELL, 0):g} cells at a time, where one would disturb the other"
    return "" if worker["nthreads"] == 1 else f"runs {worker['nthreads']} tasks at a time, which would disturb what is timed"


def _introduced(client: Client, workers: Mapping[str, dict], order: Order) -> list[Host]:
    """What each host is. A worker that was given a name names its host; else it is the host's own name."""
    on_host = {"resources": {CELL: 1}, "pure": False}
    asked = {address: client.submit(introduce, order, workers=[address], **on_host) for address in workers}
    hosts = []
    for address, future in asked.items():
        given = workers[address]["name"]
        while not future.done():
            with suppress(TimeoutError):
                wait([future], timeout=_POLL_SECONDS)
            if address not in _workers(client):
                raise InputError(f"the worker {given} was lost before it had said what its host is")
        try:
            hello = future.result()
        except Exception as error:
            raise _told_error(str(given), error) from error
        name = hello["host"] if given == address else str(given)
        hosts.append(Host(name, workers[address]["host"], address, hello["machine"] | {"host": name}, hello["kernels"]))
    name, count = Counter(host.name for host in hosts).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} hosts are called {name}; give their workers a --name each")
    return sorted(hosts, key=lambda host: host.name)


def refuse_other_versions(hosts: Sequence[Host]) -> None:
    """InputError where a host runs another sepconv-bench than this one."""
    ours = (metadata.version("sepconv-bench"), commit())
    for host in hosts:
        theirs = (host.machine["versions"]["sepconv-bench"], host.machine["commit"])
        if theirs != ours:
            told = [f"{version} ({of or 'not from a checkout'})" for version, of in (theirs, ours)]
            raise InputError(f"{host.name} runs sepconv-bench {told[0]}, and this is {told[1]}; install the same on all hosts")


def refuse_unlike(hosts: Sequence[Host]) -> None:
    """InputError where two hosts are not so alike that their cells belong into one grid."""
    first = hosts[0]
    for host in hosts[1:]:
        found: list[tuple[str, Any, Any]] = [*sweep.differences(first.machine, host.machine)]
        if host.kernels != first.kernels:
            only = [set(a) - set(b) for a, b in ((first.kernels, host.kernels), (host.kernels, first.kernels))]
            first_only, host_only = (", ".join(sorted(names)) or "none" for names in only)
            found.append(("kernels of its own", first_only, host_only))
        for what, one, other in found:
            raise InputError(
                f"--share needs hosts that are alike: {first.name} has {what} {one}, {host.name} has {other};"
                " --each measures the grid on every host"
            )


def _told_error(name: str, error: Exception) -> InputError:
    """What a host has refused, or cannot do."""
    told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {_first_line(error)}"
    return InputError(f"{name}: {told}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
