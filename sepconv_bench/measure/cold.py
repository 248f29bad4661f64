"""Launches that find nothing of theirs in the host's caches, as `CudaClock(cold=True)` times them on a GPU.

A contender is bound several times, each time to a map and weights of its own. All threads together read more than the caches
hold; then the launches follow one another. The first wakes the pool and brings the code, and is not timed; what the others
work on nobody has touched since before the caches were filled.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from statistics import median
from time import perf_counter

import numba
import numpy as np
from numba import njit, prange
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.measure.clocks import IDLE_SECONDS, Clock, batch_seconds
from sepconv_bench.measure.cpus import cache_bytes

_COPIES = 6
_READ = 2  # times what the caches hold
_LINE = 16  # floats


class ColdClock(Clock):
    """The host's way, each launch by itself and on data from memory."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = _COPIES - 1
        # Read and not written, as on a GPU: what is evicted later, during a launch, must not have to go to memory first.
        self._read, self._buffer = _read_on_all_threads(), np.ones(_READ * cache_bytes() // 4, np.float32)
        self._sums = np.zeros(numba.get_num_threads(), np.float32)
        self._fill_caches()
        start = perf_counter()
        self._fill_caches()
        self.pause = perf_counter() - start + IDLE_SECONDS

    def bound(self, bind: Callable[[], Callable[[], object]]) -> Callable[[], object]:
        """A launch on one copy after the other; each has run once, for what a library only then allocates."""
        launches = [bind() for _ in range(_COPIES)]
        for launch in launches:
            launch()
        turns = cycle(launches)
        return lambda: next(turns)()

    def sample(self, launch: Callable[[], object], launches: int, batches: int) -> float:
        start = perf_counter()
        seconds = self.batch_seconds(launch, launches)
        self.timed += perf_counter() - start
        return seconds

    def batch_seconds(self, launch: Callable[[], object], launches: int) -> float:
        """The median of so many launches, each on other data; at most `launches` of this clock."""
        self._fill_caches()
        self.wait_until_idle()
        launch()
        return median(batch_seconds(launch, 1) for _ in range(launches))

    def _fill_caches(self) -> None:
        self._read(self._buffer, self._sums)


@compile_once
def _read_on_all_threads() -> Dispatcher:
    @njit(parallel=True)
    def read(buffer: np.ndarray, sums: np.ndarray) -> None:
        size = len(buffer) // len(sums)
        for thread in prange(len(sums)):
            total = np.float32(0)
            for element in range(thread * size, (thread + 1) * size, _LINE):
                total += buffer[element]
            sums[thread] = total

    return read
