"""Time on the GPU: events on our stream, the peak of its multiply-adds, what a copy moves, and what slows its clock down.

Nothing here runs in the simulator, whose times mean nothing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec.structs import replace

from sepconv_bench import gpu
from sepconv_bench.measure.ceilings import Peak
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.records import Fingerprint, Gpu
from sepconv_bench.measure.sampler import Launch

FOOTPRINTS = tuple(1 << power for power in range(20, 32))  # bytes: 1 MiB, well within L2, to 2 GiB
_CHAINS, _UNROLLED, _STEPS, _THREADS = 16, 8, 512, 256
_BLOCKS = 4  # of a multiprocessor: all at once, for those that come late fall to a few multiprocessors
_COPIED_BYTES = 1 << 26  # a launch copies at least this much
_NAP_NS = 50_000
_LONGEST_NAP = 50e-3  # seconds; a queue that takes longer to fill has no room for more launches
_FLUSH = 4  # L2s that are written between cold launches
# NVML's reasons for a clock below the one asked for that are not of our making: power cap, thermal, hardware slowdown.
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


class CudaClock(Clock):
    """Seconds between two events on our stream.

    Launches are queued while a napping kernel holds the GPU: what is timed is the GPU's work, back to back, and not the
    microseconds that Python takes to ask for it. `cold`: before each launch more than L2 holds is written, and not timed.
    """

    queues = True
    sample_seconds = shortest_batch = 1e-3  # one batch: between two events only the GPU works

    def __init__(self, cold: bool = False) -> None:
        from numba import cuda

        super().__init__()
        self.slowed = 0  # samples during which NVML says that the clock was held down
        self._cuda: Any = cuda
        self._stream, self._queue_seconds = gpu.stream(), 20e-6
        self._nap = gpu.configured(kernels().nap, 1, 1)
        self._fill = gpu.configured(kernels().fill, 4 * gpu.multiprocessors(), _THREADS)
        self._nvml = _nvml_handle()
        self._junk = cuda.device_array(_FLUSH * _l2_bytes() // 4, np.float32) if cold else None

    def steady(self) -> AbstractContextManager[None]:
        """One thread launches."""
        return nullcontext()

    def wait_until_idle(self) -> None:
        """A GPU has no pools; it must only be idle."""
        self._stream.synchronize()

    def batch_seconds(self, launch: Launch, launches: int) -> float:
        seconds = self._cold_seconds(launch, launches) if self._junk is not None else self._warm_seconds(launch, launches)
        self.slowed += self._is_slowed()
        return seconds

    def _warm_seconds(self, launch: Launch, launches: int) -> float:
        for patience in (1.5, 4.0, 10.0):
            start, stop = self._event(), self._event()
            self._hold(patience * self._queue_seconds * launches)
            start.record(self._stream)
            began = perf_counter()
            for _ in range(launches):
                launch()
            self._queue_seconds = (perf_counter() - began) / launches
            late = start.query()  # the GPU had begun before all was queued: it may have waited for Python since
            stop.record(self._stream)
            stop.synchronize()
            if not late:
                break
        return self._cuda.event_elapsed_time(start, stop) * 1e-3 / launches

    def _cold_seconds(self, launch: Launch, launches: int) -> float:
        events = []
        for _ in range(launches):
            start, stop = self._event(), self._event()
            self._hold(2 * self._queue_seconds)
            self._fill(self._junk)
            start.record(self._stream)
            launch()
            stop.record(self._stream)
            events.append((start, stop))
        self._stream.synchronize()
        return sum(self._cuda.event_elapsed_time(*pair) for pair in events) * 1e-3 / launches

    def _hold(self, seconds: float) -> None:
        self._nap(1 + int(min(seconds, _LONGEST_NAP) * 1e9 / _NAP_NS))

    def _event(self) -> Any:
        return self._cuda.event(timing=True)

    def _is_slowed(self) -> bool:
        if self._nvml is None:
            return False
        import pynvml

        with suppress(pynvml.NVMLError):
            return bool(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._nvml) & _SLOWED)
        return False


def fma_peak(rng: np.random.Generator) -> Peak:
    """The launch of nothing but multiply-adds that reaches most FLOP/s on every core of the GPU.

    Two loops are tried: which registers a multiply-add reads decides whether they can be read at its pace.
    """
    from numba import cuda

    blocks, clock = _BLOCKS * gpu.multiprocessors(), CudaClock()
    sums = cuda.device_array(blocks * _THREADS, np.float32)
    tried = [
        partial(gpu.configured(kernels().fma, blocks, _THREADS), sums, np.float32(0.5)),
        partial(gpu.configured(kernels().fma_constant, blocks, _THREADS), sums, np.float32(0.5)),
    ]
    for launch in tried:
        launch()  # compiles
    best = min(tried, key=lambda launch: min(clock.batch_seconds(launch, 4) for _ in range(5)))
    return Peak(best, 2 * _CHAINS * _UNROLLED * _STEPS * blocks * _THREADS, 32)


def copies() -> dict[int, tuple[Callable[[np.random.Generator], Launch], int]]:
    """By footprint in bytes: what binds a copy of half of it into the other half, and how often it copies."""
    free = gpu.free_bytes() or 0
    return {size: (partial(_copy_bind, size), max(1, _COPIED_BYTES // size)) for size in FOOTPRINTS if size < free // 2}


def fingerprint(host: Fingerprint) -> Fingerprint:
    """What a number of the GPU's must carry beside the host's fingerprint; `machine` and `cpu` name the GPU."""
    from numba import cuda

    device, name = cuda.get_current_device(), _name()
    major, minor = device.compute_capability
    found = Gpu(
        name=name,
        compute_capability=f"{major}.{minor}",
        multiprocessors=gpu.multiprocessors(),
        memory_bytes=int(cuda.current_context().get_memory_info().total),
        l2_bytes=_l2_bytes(),
        driver=_driver(),
    )
    return replace(host, machine=machine_name(), cpu=name, gpu=found)


def machine_name() -> str:
    """A folder name for reports of this machine's GPU."""
    return "-".join(re.findall(r"[a-z0-9]+", _name().lower()))


def _name() -> str:
    from numba import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def _driver() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return asked.stdout.strip().splitlines()[0] if asked.returncode == 0 and asked.stdout.strip() else "unknown"
    return "unknown"


def _nvml_handle() -> Any:
    """None where NVML is not installed or does not answer."""
    try:
        import pynvml
    except ImportError:
        return None
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(0)
    return None


def _l2_bytes() -> int:
    from numba import cuda

    return int(cuda.get_current_device().L2_CACHE_SIZE)


def _copy_bind(footprint: int, rng: np.random.Generator) -> Launch:
    from numba import cuda
    from numba.cuda.cudadrv import driver

    source, target = (cuda.device_array(footprint // 8, np.float32) for _ in range(2))
    passes, stream = max(1, _COPIED_BYTES // footprint), gpu.stream()

    def launch() -> None:
        for number in range(passes):
            one, other = (source, target) if number % 2 == 0 else (target, source)
            driver.device_to_device(one, other, one.nbytes, stream=stream)

    return launch


@cache
def kernels() -> Any:
    from numba import cuda, float32, uint32

    chains, unrolled = tuple(range(_CHAINS)), tuple(range(_UNROLLED))

    @cuda.jit
    def nap(naps):
        for _ in range(naps):
            cuda.nanosleep(uint32(_NAP_NS))

    @cuda.jit
    def fma(sums, x):
        values = cuda.local.array(_CHAINS, float32)
        for c in chains:
            values[c] = x + float32(c)
        for _ in range(_STEPS):
            for _ in unrolled:
                for c in chains:
                    values[c] = values[c] * x + x
        total = float32(0)
        for c in chains:
            total += values[c]
        sums[cuda.grid(1)] = total

    @cuda.jit
    def fma_constant(sums, x):
        values = cuda.local.array(_CHAINS, float32)
        for c in chains:
            values[c] = x + float32(c)
        for _ in range(_STEPS):
            for _ in unrolled:
                for c in chains:
                    values[c] = cuda.fma(values[c], float32(1e-9), values[c])
        total = float32(0)
        for c in chains:
            total += values[c]
        sums[cuda.grid(1)] = total

    @cuda.jit
    def fill(target):
        step = cuda.gridsize(1)
        for index in range(cuda.grid(1), len(target), step):
            target[index] = float32(0)

    return SimpleNamespace(nap=nap, fma=fma, fma_constant=fma_constant, fill=fill)
