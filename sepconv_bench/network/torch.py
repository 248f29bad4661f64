"""The network in torch: eager, with what its compiler would call for a frozen model, and compiled; all channels_last.

Batch norm is folded in for all of them. torch is imported when a network is bound, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np

from sepconv_bench.kernels.peers.cudnn import configure
from sepconv_bench.kernels.problem import GroupedConvolution
from sepconv_bench.kernels.registry import Launch

if TYPE_CHECKING:
    from torch import Tensor, nn


def eager(network: Sequence[GroupedConvolution], image: np.ndarray, device: str = "cpu") -> Launch:
    """Operator by operator."""
    import torch

    with torch.inference_mode():
        x = _input(image).to(device)
        module = _module(network).to(device)

    def launch() -> Tensor:
        with torch.inference_mode():
            return module(x)

    return launch


def on_gpu(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    """Operator by operator on the GPU, as the peers of single convolutions are set up there."""
    configure()
    return eager(network, image, "cuda")


def prepacked(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    """Weights packed for oneDNN, bias and ReLU6 at the end of each convolution: the calls a frozen model is compiled to."""
    import torch

    *body, dense = network
    convolve = torch.ops.mkldnn._convolution_pointwise.default
    dilation, limits = [1, 1], [0.0, 6.0]
    with torch.inference_mode():
        x, steps = _input(image), []
        size = list(x.shape)
        for one in body:
            padding, strides = [one.padding[0], one.padding[2]], list(one.strides)
            weight = torch.from_numpy(one.weight)
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, strides, dilation, one.groups, size)
            steps.append((packed, torch.from_numpy(one.bias), padding, strides, one.groups))
            size = [size[0], len(one.weight), size[2] // one.stride, size[3] // one.stride]
        W, bias = torch.from_numpy(dense.weight[:, :, 0, 0]).T.contiguous(), torch.from_numpy(dense.bias)

    def launch() -> Tensor:
        with torch.inference_mode():
            y = x
            for packed, b, padding, strides, groups in steps:
                y = convolve(y, packed, b, padding, strides, dilation, groups, "hardtanh", limits, "")
            return torch.softmax(torch.addmm(bias, y.mean((2, 3)), W), 1)

    return launch


def compiled(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    """By torch.compile, with its weights frozen; needs a C++ compiler."""
    import torch
    import torch._inductor.config

    with torch.no_grad():
        x = _input(image)
        function = torch.compile(_module(network).eval())
        with torch._inductor.config.patch(freezing=True):
            function(x)

    def launch() -> Tensor:
        with torch.no_grad():
            return function(x)

    return launch


def without_onednn() -> str | None:
    import torch

    return None if torch.backends.mkldnn.is_available() else "this torch is built without oneDNN"


def _input(image: np.ndarray) -> Tensor:
    """(batch, 3, D_F, D_F) in the order in which the image lies in memory."""
    import torch

    torch.set_num_threads(numba.get_num_threads())
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def _module(network: Sequence[GroupedConvolution]) -> nn.Module:
    from torch import nn

    layers: list[nn.Module] = []
    *body, dense = network
    for one in body:
        N, inputs, D_K, _ = one.weight.shape
        convolution = nn.Conv2d(inputs * one.groups, N, D_K, one.strides, (one.padding[0], one.padding[2]), groups=one.groups)
        layers += [_filled(convolution, one.weight, one.bias), nn.ReLU6(inplace=True)]
    linear = nn.Linear(dense.weight.shape[1], len(dense.weight))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _filled(linear, dense.weight[:, :, 0, 0], dense.bias), nn.Softmax(1)]
    return nn.Sequential(*layers)


def _filled(layer: nn.Module, weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    import torch

    assert bias is not None, "every layer of a network has one"
    order = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    layer.weight = torch.nn.Parameter(torch.from_numpy(weight).contiguous(memory_format=order), requires_grad=False)
    layer.bias = torch.nn.Parameter(torch.from_numpy(bias), requires_grad=False)
    return layer
