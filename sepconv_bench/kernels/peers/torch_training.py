"""torch alone, in other number types and backwards, which no kernel of ours does: not registered, and compared with itself.

Eager mode, channels_last, as a network that is trained runs. The backward pass is what autograd computes of a graph that is
there already: the gradients of the input and of all weights, separable as of two convolutions in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem
from sepconv_bench.model.shapes import ConvShape

if TYPE_CHECKING:
    from torch import Tensor, dtype

Number = Literal["f32", "bf16", "fp16"]
Pass = Literal["forward", "backward"]
_NAMES = {"f32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def bind(operator: str, shape: ConvShape, number: Number, which: Pass, rng: np.random.Generator) -> Callable[[], object]:
    """A launch on data drawn anew: a forward pass gives G (batch, N, D_G, D_G_w); a backward one the gradients of F and of the
    weights of each convolution, for a gradient of G of ones. RuntimeError, torch's own, where this CPU or torch cannot."""
    return of_problem(Problem.draw(operator, shape, rng), number, which)


def of_problem(problem: Problem, number: Number, which: Pass) -> Callable[[], object]:
    """As `bind`, on a problem's data."""
    import torch

    kind = getattr(torch, _NAMES[number])
    F = _tensor(problem.interior.transpose(0, 3, 1, 2), kind)
    weights = [_tensor(one.weight, kind) for one in problem.convolutions]

    def forward() -> Tensor:
        G = F
        for one, weight in zip(problem.convolutions, weights, strict=True):
            G = _convolution(G, one, weight)
        return G

    if which == "forward":

        def launch() -> Tensor:
            with torch.inference_mode():
                return forward()

        return launch
    given = [F, *weights]
    for tensor in given:
        tensor.requires_grad_()
    G = forward()
    ones = torch.ones_like(G)
    return lambda: torch.autograd.grad(G, given, ones, retain_graph=True)


def _tensor(array: np.ndarray, kind: dtype) -> Tensor:
    """A copy in that type, channels_last."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(kind).contiguous(memory_format=torch.channels_last)


def _convolution(F: Tensor, one: GroupedConvolution, weight: Tensor) -> Tensor:
    import torch
    from torch.nn.functional import pad

    top, bottom, left, right = one.padding
    sides = (top, left)
    if (top, left) != (bottom, right):
        F, sides = pad(F, (left, right, top, bottom)), (0, 0)
    return torch.conv2d(F, weight, None, one.strides, sides, one.dilations, one.groups)
