"""What does depthwise separable convolution really buy on a machine, and why is it not what 1/N + 1/D_K^2 says?

From Python: `get_kernel(name)(F, *weights)` computes a convolution, `kernel_names()` lists what there is, and
`@kernel(name)` registers a kernel of your own. The command line is `sepconv-bench`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sepconv_bench.errors import InputError, KernelError, ResultsError, ShapeError
from sepconv_bench.model.shapes import ConvShape

if TYPE_CHECKING:
    from sepconv_bench.kernels.problem import Problem
    from sepconv_bench.kernels.registry import get_kernel, kernel, kernel_names

__all__ = [
    "ConvShape",
    "InputError",
    "KernelError",
    "Problem",
    "ResultsError",
    "ShapeError",
    "get_kernel",
    "kernel",
    "kernel_names",
]


def __getattr__(name: str) -> Any:
    # Late, so that the door opens before Numba is there.
    if name in ("get_kernel", "kernel", "kernel_names"):
        from sepconv_bench.kernels import registry

        return getattr(registry, name)
    if name == "Problem":
        from sepconv_bench.kernels.problem import Problem

        return Problem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
