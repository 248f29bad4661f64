"""A clock, a pause in which idle thread pools fall asleep, and the environment in which they do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from itertools import repeat
from pathlib import Path
from statistics import median
from threading import get_native_id
from time import perf_counter, perf_counter_ns

MOST_THREADS = 8 * (os.cpu_count() or 1)  # beyond all use: they would do nothing but take turns
IDLE_SECONDS = 500e-6
# How long an idle pool spins before it sleeps: longer than waking a thread takes (60 us on a virtual machine: below
# that, the threads of a batch of short launches keep finding each other asleep), yet over within IDLE_SECONDS, so
# that nobody else's sample is disturbed. About 0.2 ms here; GNU OpenMP counts pauses, OpenBLAS powers of two of
# clock cycles (left alone it spins for 50 ms and more), LLVM's OpenMP milliseconds, for which only 0 is short enough.
_SHORT_SPINS = {"GOMP_SPINCOUNT": "5000", "OPENBLAS_THREAD_TIMEOUT": "19", "KMP_BLOCKTIME": "0"}
_POOL_SIZES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pool_environment(threads: int) -> dict[str, str]:
    """Environment variables for a process that is to time kernels; they must be there before any pool starts.

    A wait policy that the user has set stays as it is.
    """
    sizes = {name: str(threads) for name in _POOL_SIZES}
    return sizes | {name: os.environ.get(name, value) for name, value in _SHORT_SPINS.items()}


def wait_policy() -> dict[str, str]:
    """The variables that decide how idle pools wait, as this process has them."""
    names = (*_SHORT_SPINS, "OMP_WAIT_POLICY")
    return {name: os.environ[name] for name in names if name in os.environ}


def wait_for_idle_pools(seconds: float = IDLE_SECONDS) -> None:
    """Keep this core awake, doing nothing, until pools that worked a moment ago sleep."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


@contextmanager
def threads_apart() -> Iterator[None]:
    """Keep this thread on the CPU where it is, and the other threads of the process off it.

    When its CPUs have been busy Linux does not look for an idle one and wakes a pool's thread on the CPU of the thread that
    launches: the two take turns there, for seconds, while the other CPU does nothing. Threads that have been given CPUs of
    their own keep those. Nothing is done on fewer CPUs than a pool has threads, or where the system has no such call.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if len(allowed) < max(2, int(os.environ.get("NUMBA_NUM_THREADS", 0))):
        yield
        return
    me, here = get_native_id(), _last_cpu()
    others = [thread for thread in _threads() if thread != me]
    settled = {thread for thread in others if _affinity(thread) != allowed}
    for thread in others:
        if thread not in settled:
            _run_on(thread, allowed - {here})
    _run_on(me, {here})
    try:
        yield
    finally:
        for thread in _threads():
            if thread not in settled:
                _run_on(thread, allowed)


def _threads() -> list[int]:
    """Those of this process."""
    return [int(name) for name in os.listdir("/proc/self/task")]


def _last_cpu() -> int:
    """The CPU that this thread runs on: the 39th field, of which the second is a name in parentheses."""
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])


def _affinity(thread: int) -> set[int]:
    with suppress(ProcessLookupError):
        return os.sched_getaffinity(thread)
    return set()


def _run_on(thread: int, cpus: set[int]) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.sched_setaffinity(thread, cpus)


def batch_seconds(launch: Callable[[], object], launches: int) -> float:
    """Seconds a launch of `launches` in a row, without what two looks at the clock take."""
    return (_elapsed_ns(launch, launches) - _looking_ns()) / launches * 1e-9


def _elapsed_ns(launch: Callable[[], object], launches: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, launches):
        launch()
    return perf_counter_ns() - start


@cache
def _looking_ns() -> int:
    """The least that it can be: no launch takes less than nothing."""
    return min(_elapsed_ns(int, 0) for _ in range(100))


class Clock:
    """How a sample is taken: the host's way, launches between two looks at the clock."""

    queues = False  # whether launches come back before they are done
    sample_seconds = 2e-3  # how long a sample lasts
    # A launch that takes longer is timed by itself: where some take much longer than most, the median of batches grows with
    # what is in a batch, and two kernels alike were 10 % apart for one launch more.
    shortest_batch = 4e-6
    launches: int | None = None  # of a sample, each timed by itself, however long they take; None where that decides
    pause = IDLE_SECONDS  # before each sample

    def __init__(self) -> None:
        self.timed = 0.0  # seconds inside samples, until now

    def bound(self, bind: Callable[[], Callable[[], object]]) -> Callable[[], object]:
        """What is launched in samples: what `bind` gives, on fresh buffers."""
        return bind()

    def sample(self, launch: Callable[[], object], launches: int, batches: int) -> float:
        """Seconds a launch once all is quiet: the median of batches, for some are interrupted.

        A launch that wakes the pool and fills the caches goes before several; a long one notices neither.
        """
        self.wait_until_idle()
        if launches * batches > 1:
            launch()
        start = perf_counter()
        seconds = median([self.batch_seconds(launch, launches) for _ in range(batches)])
        self.timed += perf_counter() - start
        return seconds

    def steady(self) -> AbstractContextManager[None]:
        """While samples are taken."""
        return threads_apart()

    def wait_until_idle(self) -> None:
        """Wait until nothing that ran before disturbs."""
        wait_for_idle_pools()

    def batch_seconds(self, launch: Callable[[], object], launches: int) -> float:
        """Seconds a launch of `launches` in a row."""
        return batch_seconds(launch, launches)
