"""The GPU, if there is one: whether CUDA kernels can run here, what it is, and the stream that everything of ours runs on."""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from typing import Any

from sepconv_bench.errors import InputError

_INSTALL = "pip install 'sepconv-bench[cuda13]' (or cuda12, after the driver's version)"
# Of an H200, to plan by where no GPU tells its own.
_MULTIPROCESSORS = 132


@cache
def missing() -> str | None:
    """Why CUDA kernels cannot run here, in a few words, or None. In Numba's simulator they can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"not installed: {_INSTALL}"
    try:
        from numba import cuda

        if simulated() or cuda.is_available():
            return None
    except (ImportError, RuntimeError, OSError) as error:  # numba-cuda without the CUDA runtime beside it
        return f"not installed in full ({str(error).strip().splitlines()[0]}): {_INSTALL}"
    return "for an NVIDIA GPU, and CUDA finds none here"


def simulated() -> bool:
    """Whether this process runs CUDA kernels in Numba's simulator, thread by thread in Python (NUMBA_ENABLE_CUDASIM=1)."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def require_for_timing() -> None:
    """InputError where CUDA kernels cannot run, or only in the simulator, whose times mean nothing."""
    reason = missing()
    if reason is not None:
        raise InputError(f"CUDA kernels are {reason}")
    if simulated():
        raise InputError("NUMBA_ENABLE_CUDASIM is set; what runs in the simulator is checked, never timed")


@cache
def stream() -> Any:
    """The stream of every launch, copy and event of ours."""
    from numba import cuda

    return cuda.stream()


def configured(kernel: Any, blocks: int | tuple[int, int, int], threads: int) -> Any:
    """A kernel with its grid, to be launched on our stream; small grids are meant, and Numba need not warn of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Grid size")
        return kernel[blocks, threads, stream()]


def multiprocessors() -> int:
    """Of this GPU; of an H200 where there is none."""
    from numba import cuda

    if simulated() or not cuda.is_available():
        return _MULTIPROCESSORS
    return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def free_bytes() -> int | None:
    """Free memory of the GPU, None where that cannot be told."""
    from numba import cuda

    if simulated():
        return None
    return int(cuda.current_context().get_memory_info().free)
