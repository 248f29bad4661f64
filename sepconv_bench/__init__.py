"""What does depthwise separable convolution really buy on a machine, and why is it not what 1/N + 1/D_K^2 says?

From Python, with `import sepconv_bench as sb`: `sb.load(folder)` gives tables, figures and predictions of results,
`sb.run(grid)` measures some, `sb.scan(model)` says which layers of a model are worth replacing, and `sb.explain(shape)` where a
layer's time goes. `sb.get_kernel(name)(F, *weights)` computes a convolution, `sb.kernel_names()` lists what there is, and
`@sb.kernel(name)` registers a kernel of your own. The command line is `sepconv-bench`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sepconv_bench.errors import InputError, KernelError, ResultsError, ShapeError
from sepconv_bench.model.shapes import ConvShape

if TYPE_CHECKING:
    from sepconv_bench.api.explain import explain
    from sepconv_bench.api.load import Loaded, load
    from sepconv_bench.api.run import run
    from sepconv_bench.api.scan import Scan, scan
    from sepconv_bench.kernels.problem import Problem
    from sepconv_bench.kernels.registry import get_kernel, kernel, kernel_names

__all__ = [
    "ConvShape",
    "InputError",
    "KernelError",
    "Loaded",
    "Problem",
    "ResultsError",
    "Scan",
    "ShapeError",
    "explain",
    "get_kernel",
    "kernel",
    "kernel_names",
    "load",
    "run",
    "scan",
]

_LATE = {
    **dict.fromkeys(("get_kernel", "kernel", "kernel_names"), "sepconv_bench.kernels.registry"),
    "Problem": "sepconv_bench.kernels.problem",
    **dict.fromkeys(("Loaded", "load"), "sepconv_bench.api.load"),
    **dict.fromkeys(("Scan", "scan"), "sepconv_bench.api.scan"),
    "explain": "sepconv_bench.api.explain",
    "run": "sepconv_bench.run",  # the room itself, which can be called
}


def __getattr__(name: str) -> Any:
    # Late, so that the door opens before Numba and pandas are there.
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(_LATE[name]) if name == "run" else getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
