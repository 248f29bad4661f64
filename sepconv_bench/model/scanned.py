"""A user's own model as its convolutions: what each is called there, its sizes, and which of this suite's shapes it is.

Counts are those of the papers: a multiply-add is one multiplication with its addition, biases and everything that is no
convolution and no matrix product count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, STANDARD, Operator
from sepconv_bench.model.shapes import ConvShape

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ModelConvolution:
    """A two-dimensional convolution as it stands in a model; sizes are (height, width).

    `padding` is what was added above, to the left, below and to the right of the input; None where the model does not say.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: Size
    input: Size
    output: Size
    stride: Size = (1, 1)
    padding: tuple[int, int, int, int] | None = None
    dilation: Size = (1, 1)
    groups: int = 1
    batch: int = 1

    @property
    def kind(self) -> str:
        """standard, depthwise, pointwise, or grouped."""
        if self.groups == 1:
            return "pointwise" if self.kernel == (1, 1) else "standard"
        return "depthwise" if self.groups == self.in_channels else "grouped"

    @property
    def multiply_adds(self) -> int:
        return self.batch * self.out_channels * prod(self.output) * prod(self.kernel) * (self.in_channels // self.groups)

    @property
    def parameters(self) -> int:
        """Weights, without a bias."""
        return self.out_channels * prod(self.kernel) * (self.in_channels // self.groups)

    def __str__(self) -> str:
        """The sizes in words that name what they are."""
        words = [f"{self.in_channels} -> {self.out_channels} channels", _by(self.kernel)]
        words.append(f"map {_by(self.output)}")
        if self.stride != (1, 1):
            words.append(f"stride {_once(self.stride)}")
        if self.dilation != (1, 1):
            words.append(f"dilation {_once(self.dilation)}")
        if self.kind == "grouped":
            words.append(f"{self.groups} groups")
        if self.batch > 1:
            words.append(f"batch {self.batch}")
        return ", ".join(words)


@dataclass(frozen=True)
class NotCovered:
    """A layer that multiplies, and of which nothing is said but why; `multiply_adds` is None where its sizes are not known."""

    name: str
    operator: str
    reason: str
    multiply_adds: int | None = None


@dataclass(frozen=True)
class Scanned:
    """A model's layers in the order in which they run, and what was read: `source` as it was named, `input` its sizes."""

    source: str
    input: tuple[int, ...]
    layers: tuple[ModelConvolution | NotCovered, ...]

    @property
    def convolutions(self) -> tuple[ModelConvolution, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, ModelConvolution))

    @property
    def multiply_adds(self) -> int:
        """Of convolutions and matrix products, of fully connected layers among them."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)


class Asked(NamedTuple):
    """What this suite can be asked in place of a model's convolution."""

    operator: Operator
    shape: ConvShape


def asked(layer: ModelConvolution) -> Asked:
    """The operator and shape of a convolution; ShapeError says why it has none.

    How a map is padded does not matter: D_F is what the windows touch. A pointwise one with a stride is one on the pixels that
    it reads. Of a depthwise one N is not known here, and M stands in its place. A grouped one is standard, with groups.
    """
    kind, M, N = layer.kind, layer.in_channels, layer.out_channels
    (D_K, D_K_w), (D_G, D_G_w) = layer.kernel, layer.output
    if kind == "pointwise":
        return Asked(POINTWISE, ConvShape(1, M, N, D_G, batch=layer.batch, D_G_w=D_G_w))
    (stride, stride_w), (dilation, dilation_w) = layer.stride, layer.dilation
    sizes = (D_K, M, M if kind == "depthwise" else N, D_G, stride, layer.batch, D_K_w, D_G_w, stride_w, dilation, dilation_w)
    if kind == "depthwise":
        if N % M:
            raise ShapeError(f"{N} outputs of {M} channels, each by itself: not as many of each")
        return Asked(DEPTHWISE, ConvShape(*sizes, multiplier=N // M))
    return Asked(STANDARD, ConvShape(*sizes, groups=layer.groups))


def from_layer(layer: Any, input_size: int | Sequence[int]) -> ModelConvolution:
    """A torch.nn.Conv2d on an input of (batch, channels, height, width), (height, width) or a square's width; ShapeError where
    it is none, or does not fit."""
    sizes = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    facts = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    if not all(hasattr(layer, name) for name in facts) or len(layer.kernel_size) != 2 or getattr(layer, "transposed", False):
        raise ShapeError(f"{type(layer).__name__} is no two-dimensional convolution, as torch.nn.Conv2d")
    batch, channels = sizes[:2] if len(sizes) == 4 else (1, layer.in_channels)
    if len(sizes) not in (2, 4) or channels != layer.in_channels:
        fits = f"a width, (height, width) or (batch, {layer.in_channels}, height, width) fits"
        raise ShapeError(f"the input is {input_size}; {fits}")
    reach = tuple(step * (width - 1) for step, width in zip(layer.dilation, layer.kernel_size, strict=True))
    if isinstance(layer.padding, str):
        sums = reach if layer.padding == "same" else (0, 0)
        pads = (sums[0] // 2, sums[1] // 2, sums[0] - sums[0] // 2, sums[1] - sums[1] // 2)
    else:
        pads = (*layer.padding, *layer.padding)
    height, width = (
        (size + pads[axis] + pads[axis + 2] - reach[axis] - 1) // layer.stride[axis] + 1 for axis, size in enumerate(sizes[-2:])
    )
    if min(height, width) < 1:
        raise ShapeError(f"an input of {_by((sizes[-2], sizes[-1]))} is smaller than the window of {_by(layer.kernel_size)}")
    return ModelConvolution(
        type(layer).__name__,
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        (sizes[-2], sizes[-1]),
        (height, width),
        layer.stride,
        pads,
        layer.dilation,
        layer.groups,
        batch,
    )


def separable_pairs(layers: Sequence[ModelConvolution]) -> dict[int, int]:
    """By the place of each depthwise convolution the place of the pointwise one that takes its map: the next one that fits.

    Between the two may be convolutions on a map of one pixel, as squeeze-and-excitation has them.
    """
    found = {}
    for place, layer in enumerate(layers):
        if layer.kind == "depthwise":
            after = next(_on_maps(layers, place + 1), None)
            if after is not None and _takes(layers[after], layer):
                found[place] = after
    return found


def _on_maps(layers: Sequence[ModelConvolution], start: int) -> Iterator[int]:
    return (place for place in range(start, len(layers)) if layers[place].input != (1, 1))


def _takes(pointwise: ModelConvolution, depthwise: ModelConvolution) -> bool:
    there = (pointwise.in_channels, pointwise.input, pointwise.batch)
    return pointwise.kind == "pointwise" and there == (depthwise.out_channels, depthwise.output, depthwise.batch)


def _by(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _once(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else _by(size)
