"""From compiled passes and their arrays to a launch. Every kernel of ours takes flat arrays of float32 and nothing else:
all sizes are constants in its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numba import cuda

from sepconv_bench import gpu
from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.cuda.arrays import DeviceMap
from sepconv_bench.kernels.cuda.vectors import SIMULATED

_MOST_FLOATS = 2**32 - 1  # indices have 32 bits


@dataclass(frozen=True)
class Pass:
    """One kernel for its sizes. `run` takes `arrays` flat arrays as `dtype` is stored; `blocks` of `threads` should fit on a
    multiprocessor."""

    run: Any
    arrays: int
    grid: tuple[int, int, int]
    threads: int
    blocks: int
    dtype: str = "f32"


def bounds(threads: int, blocks: int) -> dict:
    """Arguments of cuda.jit that hold the registers of a thread down; the simulator does not know them."""
    return {} if SIMULATED else {"launch_bounds": (threads, blocks)}


def inlined(function: Callable) -> Callable:
    """A device function that becomes part of the kernel that calls it. The simulator calls the plain function, which therefore
    must not use `cuda`."""
    return function if SIMULATED else cuda.jit(device=True, inline="always")(function)


class DeviceLaunch:
    """Passes in turn, on our stream; gives the map that they write and does not wait for it."""

    def __init__(self, passes: Sequence[tuple[Pass, tuple[Any, ...]]], G: DeviceMap) -> None:
        for one, arrays in passes:
            assert len(arrays) == one.arrays
            for array in arrays:
                if array.size > _MOST_FLOATS:
                    raise ShapeError(f"an array of {array.size:,} floats came; CUDA kernels index up to {_MOST_FLOATS:,}")
        self._passes = [(gpu.configured(one.run, one.grid, one.threads), arrays) for one, arrays in passes]
        self._G = G

    def __call__(self) -> DeviceMap:
        for run, arrays in self._passes:
            run(*arrays)
        return self._G
