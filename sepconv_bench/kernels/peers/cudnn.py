"""The peer on the GPU: cuDNN through torch, its own benchmark choosing the algorithm, in the shape's dtype.

`torch` is channels_last, which is how F lies in memory; `torch-nchw` is torch's default layout, with F laid out so beforehand.
For tf32 cuDNN may multiply on tensor cores, which round both factors; for bf16 and fp16 F and the weights are cast when bound.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import GroupedConvolution, Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.dtypes import DTYPES, Dtype
from sepconv_bench.model.operators import OPERATORS
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


def steps(problem: Problem, layout: torch.memory_format, device: str = "cuda") -> Callable[[], Tensor]:
    """The launch on tensors of the problem's dtype there."""
    import torch

    conv2d, dtype = torch.conv2d, problem.shape.dtype

    def step(one: GroupedConvolution) -> Callable[[Tensor], Tensor]:
        weight = tensor(one.weight, dtype, device).contiguous(memory_format=layout)
        return lambda x: conv2d(x, weight, None, one.strides[0], 0, 1, one.groups)

    with torch.inference_mode():
        F = tensor(problem.F, dtype, device).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        each_step = [step(one) for one in problem.convolutions]

    def launch() -> Tensor:
        x = F
        for each in each_step:
            x = each(x)
        return x

    return allowing_tf32(launch) if dtype == "tf32" else launch


def tensor(array: np.ndarray | DeviceArray, dtype: Dtype, device: str = "cuda") -> Tensor:
    """An array there, cast to `dtype`; one on the GPU lies there in it, bfloat16 as its bits."""
    import torch

    if isinstance(array, np.ndarray):
        given = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
    else:
        given = torch.as_tensor(array, device=device)
    if given.dtype == torch.uint16:
        return given.view(torch.bfloat16)
    return given.to({"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32))


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


def written(given: Tensor, G: np.ndarray | DeviceArray) -> None:
    """What a launch gave, as float32 into G of the host's, or as it is into one on the GPU."""
    rows = given.permute(0, 2, 3, 1)
    if isinstance(G, np.ndarray):
        np.copyto(G, rows.float().cpu().numpy())
    else:
        tensor(G, "f32").copy_(rows)


def _unpack(given: Tensor, G: Any) -> None:
    written(given, G)
    gpu.stream().synchronize()


def _channels_last(problem: Problem) -> Launch:
    """cuDNN, channels_last."""
    import torch

    configure()
    return steps(problem, torch.channels_last)


def _channels_first(problem: Problem) -> Launch:
    """cuDNN, channels first."""
    import torch

    configure()
    return steps(problem, torch.contiguous_format)


_DECLARED: Any = {"supports": _without_cuda, "unpack": _unpack, "needs": ("torch",), "algorithm": "chosen", "dtypes": DTYPES}
for _operator in OPERATORS:
    kernel(f"cuda.{_operator}.torch", library="torch", **_DECLARED)(_channels_last)
    kernel(f"cuda.{_operator}.torch-nchw", library="torch", **_DECLARED)(_channels_first)
