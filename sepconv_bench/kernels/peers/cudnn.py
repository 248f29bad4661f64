"""The peer on the GPU: cuDNN through torch, its own benchmark choosing the algorithm, in float32 but for `torch-tf32`.

`torch` is channels_last, which is how F lies in memory; `torch-nchw` is torch's default layout, with F laid out so beforehand.
`torch-tf32` is `torch` with cuDNN allowed to multiply on tensor cores, which round both factors to TF32.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import GroupedConvolution, Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.reference import tf32_rounding
from sepconv_bench.model.shapes import ConvShape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def unreachable() -> str | None:
    """Why torch cannot use the GPU, or None."""
    import torch

    if gpu.simulated():
        return "torch has no simulator"
    return None if torch.cuda.is_available() else f"torch {torch.__version__} does not reach the GPU"


def _without_cuda(shape: ConvShape) -> str | None:
    return unreachable()


def configure() -> None:
    """float32 unless a launch asks for TF32, algorithms by cuDNN's benchmark, and our stream as torch's current one from here
    on: entering a context for each launch would cost more than a small one takes."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    context: AbstractContextManager = torch.cuda.stream(torch.cuda.ExternalStream(int(gpu.stream())))
    context.__enter__()


def _bind(problem: Problem, layout: torch.memory_format) -> Callable[[], Tensor]:
    import torch

    configure()
    conv2d = torch.conv2d

    def step(one: GroupedConvolution) -> Callable[[Tensor], Tensor]:
        weight = _tensor(one.weight).contiguous(memory_format=layout)
        return lambda x: conv2d(x, weight, None, one.strides[0], 0, 1, one.groups)

    with torch.inference_mode():
        F = _tensor(problem.F).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        steps = [step(one) for one in problem.convolutions]

    def launch() -> Tensor:
        x = F
        for each in steps:
            x = each(x)
        return x

    return launch


def allowing_tf32(launch: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A launch during which cuDNN may use TF32; what was allowed before is so again after it, since other launches follow."""
    import torch

    def allowed() -> Tensor:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = True
        try:
            return launch()
        finally:
            torch.backends.cudnn.allow_tf32 = before

    return allowed


def _tensor(array: np.ndarray | DeviceArray) -> Tensor:
    import torch

    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).cuda()
    return torch.as_tensor(array, device="cuda")


def _unpack(given: Tensor, G: Any) -> None:
    import torch

    rows = given.permute(0, 2, 3, 1)
    if isinstance(G, np.ndarray):
        np.copyto(G, rows.cpu().numpy())
    else:
        torch.as_tensor(G, device="cuda").copy_(rows)
    gpu.stream().synchronize()


def _channels_last(problem: Problem) -> Callable[[], Tensor]:
    """cuDNN, channels_last."""
    import torch

    return _bind(problem, torch.channels_last)


def _channels_first(problem: Problem) -> Launch:
    """cuDNN, channels first."""
    import torch

    return _bind(problem, torch.contiguous_format)


def _with_tf32(problem: Problem) -> Launch:
    """cuDNN, channels_last, TF32 on tensor cores."""
    return allowing_tf32(_channels_last(problem))


_DECLARED: Any = {"supports": _without_cuda, "unpack": _unpack, "needs": ("torch",), "algorithm": "chosen"}
for _operator in OPERATORS:
    kernel(f"cuda.{_operator}.torch", library="torch", **_DECLARED)(_channels_last)
    kernel(f"cuda.{_operator}.torch-nchw", library="torch", **_DECLARED)(_channels_first)
for _operator in ("standard", "pointwise"):
    _rounding = partial(tf32_rounding, _operator)
    # As a library of its own, so that no table counts it as torch's fastest way in float32.
    kernel(f"cuda.{_operator}.torch-tf32", library="torch-tf32", precision="tf32", rounding=_rounding, **_DECLARED)(_with_tf32)
