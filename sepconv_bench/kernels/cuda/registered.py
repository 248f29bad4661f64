"""The names of the kernels on the GPU. numba.cuda is imported when one is bound, never before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.dtypes import DTYPES, Dtype
from sepconv_bench.model.operators import OPERATORS

if TYPE_CHECKING:
    from sepconv_bench.kernels.cuda.arrays import DeviceMap


def _loops(problem: Problem) -> Launch:
    """One thread an output, neighbours along the channels."""
    from sepconv_bench.kernels.cuda import rungs

    return rungs.loops(problem)


def _tiled(problem: Problem) -> Launch:
    """Tiles in shared memory and registers, 128 bits a load."""
    from sepconv_bench.kernels.cuda import rungs

    return rungs.tiled(problem)


def _fused(problem: Problem) -> Launch:
    """Depthwise and pointwise in one pass; the intermediate map stays in shared memory."""
    from sepconv_bench.kernels.cuda import rungs

    return rungs.fused(problem)


def _tensor(problem: Problem) -> Launch:
    """Tiles in shared memory, multiplied by tensor cores."""
    from sepconv_bench.kernels.cuda import rungs

    return rungs.tensor(problem)


def _fetch(given: DeviceMap, G: Any) -> None:
    from sepconv_bench.kernels.cuda.arrays import fetch

    fetch(given, G)


for _operator in OPERATORS:
    kernel(f"cuda.{_operator}.loops", unpack=_fetch, library=OURS)(_loops)
_WITHOUT_PRODUCTS = {"depthwise": DTYPES}  # which tiled multiplies in float32 alone
for _operator in OPERATORS:
    kernel(f"cuda.{_operator}.tiled", unpack=_fetch, library=OURS, dtypes=_WITHOUT_PRODUCTS.get(_operator, ("f32",)))(_tiled)
kernel("cuda.separable.fused", unpack=_fetch, library=OURS, passes=("separable",), like="tiled")(_fused)
_ON_TENSOR_CORES: tuple[Dtype, ...] = ("tf32", "bf16", "fp16")
for _operator in ("standard", "pointwise"):
    kernel(f"cuda.{_operator}.tensor", unpack=_fetch, library=OURS, dtypes=_ON_TENSOR_CORES)(_tensor)
kernel("cuda.separable.tensor", unpack=_fetch, library=OURS, passes=("separable",), dtypes=_ON_TENSOR_CORES)(_tensor)
