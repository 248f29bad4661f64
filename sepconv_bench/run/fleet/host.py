"""On a host, in its Dask worker: what it is asked for goes to a process beside it, in which the kernels run.

The process outlives its cell by a few seconds, for the next one finds the kernels compiled; it ends at once when nobody waits
for the cell any more.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
from distributed import get_worker
from distributed.worker import WORKER_ANY_RUNNING

from sepconv_bench import gpu
from sepconv_bench.measure.machine import allowed_threads
from sepconv_bench.run import sweep
from sepconv_bench.run.fleet.records import CellDone, CellOrder, Introduction, Order, Plugin, decode, encode
from sepconv_bench.run.kernel_process import faults_refused, open_kernel_process

_KEPT_SECONDS = 10.0
_CLOCKWORK = ("tick", "profile", "profile-cycle", "monitor", "memory_monitor")  # of a Dask worker; its heartbeat stays


def introduce(order: bytes) -> bytes:
    """What this host is."""
    decoded = decode(order, Order)
    if decoded.device == "cuda":
        gpu.require_for_timing()
    with _kept.lent(decoded) as one:
        return encode(Introduction(socket.gethostname().partition(".")[0], one.started.machine, one.started.kernels))


def ceilings(order: bytes) -> bytes:
    """The ceilings of this host's machine."""
    decoded = decode(order, Order)
    with _quiet(), _kept.lent(decoded) as one, faults_refused():
        return encode(sweep.ceilings_within(one.process, decoded.rules, decoded.seed))


def cell(order: bytes, asked: bytes) -> bytes:
    """One cell as `sweep.measure_cell` gives it, and the kernels that brought the process down while it was measured."""
    decoded, job = decode(order, Order), decode(asked, CellOrder)
    with _quiet(), _kept.lent(decoded) as one:
        before = Counter(job.faults)
        counted = before.copy()
        measured = sweep.measure_cell(one.process, job.shape, job.kernels, decoded.rules, decoded.seed, counted)
        return encode(CellDone(measured, dict(counted - before)))


class _OrderProcess:
    """The process in which this host's kernels run, for one order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sepconv-bench-")))
            settings = order.worker_settings(allowed_threads(order.threads), _written(order.plugins, folder))
            self.process = stack.enter_context(open_kernel_process(settings, _wanted, _set_by_the_nanny()))
            self.started = self.process.start()
            self._stack = stack.pop_all()

    def end(self) -> None:
        self._stack.close()


def _written(plugins: tuple[Plugin, ...], folder: Path) -> tuple[str, ...]:
    """The plug-ins as files, each in a folder of its own: two may have one name."""
    paths = []
    for number, plugin in enumerate(plugins):
        path = folder / str(number) / plugin.name
        path.parent.mkdir()
        path.write_text(plugin.text, encoding="utf-8")
        paths.append(str(path))
    return tuple(paths)


class _KeptProcess:
    """One process at a time, kept for `_KEPT_SECONDS` after it was lent last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _OrderProcess | None = None
        self._lent = 0

    @contextmanager
    def lent(self, order: Order) -> Iterator[_OrderProcess]:
        """The process for this order; what goes wrong meanwhile ends it."""
        with self._lock:
            self._lent += 1
            if self._process and self._process.order != order:
                self._end()
            try:
                self._process = self._process or _OrderProcess(order)
                yield self._process
            except BaseException:
                self._end()
                raise
            timer = threading.Timer(_KEPT_SECONDS, self._end_if_idle, [self._lent])
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


_kept = _KeptProcess()


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
