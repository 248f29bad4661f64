"""The torch peer (oneDNN, MKL), in those ways of using it that are the fastest on some shape (experiments/README.md).

`torch` is eager and channels_last, which is how F lies in memory. `torch-prepacked` calls what torch's compiler calls for the
convolutions of a frozen model, `torch-linear` what it calls for linear layers, `torch-matmul` multiplies without packing.
torch is imported when a kernel is bound, never before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import PROPERTIES, ConvShape

if TYPE_CHECKING:
    from torch import Tensor

Step = Callable[["Tensor"], "Tensor"]


def _unpack(given: Tensor, G: np.ndarray) -> None:
    """From (batch, N, D_G, D_G) in any order."""
    np.copyto(G, given.permute(0, 2, 3, 1).numpy())


def _unpack_rows(given: Tensor, G: np.ndarray) -> None:
    """From one row a pixel; they may be G itself."""
    np.copyto(G, given.numpy().reshape(G.shape))


def _without_onednn(shape: ConvShape) -> str | None:
    import torch

    return None if torch.backends.mkldnn.is_available() else "this torch is built without oneDNN"


def _without_mkl(shape: ConvShape) -> str | None:
    import torch

    return _without_onednn(shape) if torch.backends.mkl.is_available() else "this torch is built without MKL"


def _tensor(array: np.ndarray) -> Tensor:
    """The same memory, or a copy where torch would not take the array: not dense, or read-only."""
    import torch

    if not (array.flags.c_contiguous and array.flags.writeable):
        require_memory(4 * array.size, "dense copies of the arrays")
    # Flat in between: an axis of size 1 may have any stride, and torch refuses negative ones even there.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]).reshape(-1)).view(array.shape)


def _map(problem: Problem) -> Tensor:
    """F (batch, M, D_F, D_F_w), channels_last."""
    import torch

    torch.set_num_threads(numba.get_num_threads())
    return _tensor(problem.interior).permute(0, 3, 1, 2)


def _padded(one: GroupedConvolution) -> tuple[tuple[int, int], tuple[int, int, int, int] | None]:
    """Padding as a convolution of torch takes it, the same on both sides, and what is left for torch to pad before: the last
    column, the first, and the rows so."""
    top, bottom, left, right = one.padding
    if (top, left) == (bottom, right):
        return (top, left), None
    return (0, 0), (left, right, top, bottom)


def _padding_first(before: tuple[int, int, int, int] | None, step: Step) -> Step:
    """What has more padding on one side pads in each launch, as a layer of torch does."""
    if before is None:
        return step
    from torch.nn.functional import pad

    return lambda x: step(pad(x, before))


def _eager(problem: Problem) -> Launch:
    """Eager mode, channels_last."""
    import torch

    conv2d = torch.conv2d

    def step(one: GroupedConvolution) -> Step:
        weight = _tensor(one.weight).contiguous(memory_format=torch.channels_last)
        padding, before = _padded(one)
        steps = one.strides, padding, one.dilations, one.groups
        return _padding_first(before, lambda x: conv2d(x, weight, None, *steps))

    # Nothing that is computed from tensors made in inference mode is recorded for gradients, in whatever mode.
    with torch.inference_mode():
        return _in_turn(_map(problem), *map(step, problem.convolutions))


def _prepacked(problem: Problem) -> Launch:
    """Weights packed for oneDNN beforehand, channels_last."""
    import torch

    with torch.inference_mode():
        F = _map(problem)
        first, *second = problem.convolutions
        steps = [_prepacked_step(first, tuple(F.shape))]
        for one in second:
            steps.append(_prepacked_step(one, (len(F), one.weight.shape[1], *problem.shape.G_map)))
        return _in_turn(F, *steps)


def _prepacked_step(one: GroupedConvolution, size: tuple[int, ...]) -> Step:
    """Of an input of `size`, (batch, M, rows, columns)."""
    import torch

    sides, before = _padded(one)
    if before is not None:
        left, right, top, bottom = before
        size = (*size[:2], size[2] + top + bottom, size[3] + left + right)
    padding, strides, dilation = list(sides), list(one.strides), list(one.dilations)
    weight = _tensor(one.weight).contiguous()
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, strides, dilation, one.groups, size)
    convolution = torch.ops.mkldnn._convolution_pointwise.default
    steps = padding, strides, dilation, one.groups
    return _padding_first(before, lambda x: convolution(x, packed, None, *steps, "none", [], ""))


def _in_turn(F: Tensor, first: Step, second: Step | None = None) -> Launch:
    if second is None:
        return lambda: first(F)
    return lambda: second(first(F))


def _linear(problem: Problem) -> Launch:
    """Pointwise as a linear layer whose weights are packed for MKL."""
    import torch

    with torch.inference_mode():
        rows = _map(problem).permute(0, 2, 3, 1).reshape(-1, len(problem.K_tilde))
        weight = _tensor(problem.K_tilde).T.contiguous()
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, len(rows))
    linear = torch.ops.mkl._mkl_linear.default
    return lambda: linear(rows, packed, weight, None, len(rows))


def _matmul(problem: Problem) -> Launch:
    """Pointwise as a product of matrices, written into G; weights of depthwise packed for oneDNN."""
    import torch

    mm, M, separable = torch.mm, len(problem.K_tilde), len(problem.convolutions) > 1
    with torch.inference_mode():
        F, weight = _map(problem), _tensor(problem.K_tilde)
        if separable:
            depthwise = _prepacked_step(problem.convolutions[0], tuple(F.shape))
        else:
            rows = F.permute(0, 2, 3, 1).reshape(-1, M)
    out = _tensor(problem.G).view(-1, problem.shape.N)  # one made in inference mode could not be written into outside of it
    if not separable:
        return lambda: mm(rows, weight, out=out)
    return lambda: mm(depthwise(F).permute(0, 2, 3, 1).reshape(-1, M), weight, out=out)


_torch = partial(kernel, needs=("torch",), library="torch", algorithm="chosen", takes=PROPERTIES)
for _operator in OPERATORS.values():
    _torch(f"cpu.{_operator}.torch", unpack=_unpack)(_eager)
for _operator in OPERATORS.values():
    if _operator.convolutions[0].windowed:
        _torch(f"cpu.{_operator}.torch-prepacked", supports=_without_onednn, unpack=_unpack)(_prepacked)
_torch("cpu.pointwise.torch-linear", supports=_without_mkl, unpack=_unpack_rows)(_linear)
_torch("cpu.pointwise.torch-matmul", unpack=_unpack_rows)(_matmul)
_torch("cpu.separable.torch-matmul", supports=_without_onednn, unpack=_unpack_rows)(_matmul)
