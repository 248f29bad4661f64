"""What is asked: one convolution shape.

The symbols are those of the MobileNet-V1 paper (arXiv 1704.04861): D_K kernel width, M input channels,
N output channels, D_F input width, D_G output width.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sepconv_bench.errors import ShapeError

AXES = ("D_K", "M", "N", "D_G", "stride", "batch")
OPTIONAL_AXES = AXES[4:]  # 1 unless said
_MAX_SIZE = 2**31 - 1


@dataclass(frozen=True, order=True)
class ConvShape:
    """The sizes of one convolution, valid padding, square maps, float32.

    Raises ShapeError where a size is not a whole number from 1 to 2**31 - 1.
    """

    D_K: int
    M: int
    N: int
    D_G: int
    stride: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, whole(field.name, getattr(self, field.name)))

    @property
    def D_F(self) -> int:
        """Width of the input map: (D_G - 1) stride + D_K."""
        return (self.D_G - 1) * self.stride + self.D_K

    @classmethod
    def from_torch(cls, layer: Any, input_size: int | Sequence[int]) -> ConvShape:
        """The shape of a torch.nn.Conv2d on an input of that size: (batch, channels, height, width), (height, width), or the
        width of a square. Of a depthwise layer N is M. ShapeError where the suite has no such shape, and says why.

        >>> from torch import nn
        >>> ConvShape.from_torch(nn.Conv2d(64, 128, 3, stride=2, padding=1), 56)
        ConvShape(D_K=3, M=64, N=128, D_G=28, stride=2, batch=1)
        """
        from sepconv_bench.model.scanned import asked, from_layer

        return asked(from_layer(layer, input_size)).shape

    def __str__(self) -> str:
        sizes = {axis: getattr(self, axis) for axis in AXES}
        return " ".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1 or axis not in OPTIONAL_AXES)


def whole(name: str, value: object) -> int:
    """`value` as an int from 1 to 2**31 - 1; ShapeError names the size and repeats what came."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= _MAX_SIZE:
        raise ShapeError(f"{name} is {_described(value)}; it must be a whole number from 1 to {_MAX_SIZE}")
    return number


def _described(value: object) -> str:
    """The value in a few words of one line; an int of thousands of digits has no repr at all."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
