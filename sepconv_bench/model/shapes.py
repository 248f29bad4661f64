"""What is asked: one convolution shape.

The symbols are those of the MobileNet-V1 paper (arXiv 1704.04861): D_K kernel width, M input channels,
N output channels, D_F input width, D_G output width. The paper's shapes are square, and its windows see every pixel; what else
the layers of real models say has a field of its own, which such a shape leaves as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.dtypes import DTYPES, ITEMSIZE, Dtype

AXES = ("D_K", "M", "N", "D_G", "stride", "batch")
OPTIONAL_AXES = AXES[4:]  # 1 unless said
SECOND_AXES: Mapping[str, str] = MappingProxyType(
    {"D_K_w": "D_K", "D_G_w": "D_G", "stride_w": "stride", "dilation_w": "dilation"}
)
PADDING = ("pad_top", "pad_bottom", "pad_left", "pad_right")
# What a shape may say beyond the axes, in the order of its fields.
GENERAL = ("D_K_w", "D_G_w", "stride_w", "dilation", "dilation_w", *PADDING, "multiplier", "groups")
FIELDS = (*AXES, *GENERAL)
IDENTITY = (*FIELDS, "dtype")  # columns by which rows are of one shape
_FROM_0 = (*SECOND_AXES, *PADDING)
_MAX_SIZE = 2**31 - 1

# What a kernel may take beyond square maps and windows, one stride, and windows that see every pixel of an unpadded map.
Property = Literal[
    "rectangular maps", "padding", "dilation", "groups", "channel multipliers", "rectangular windows", "strides per axis"
]
PROPERTIES: tuple[Property, ...] = get_args(Property)
PADDINGS = ("valid", "same", "same-torch")
Pair = int | tuple[int, int]


@dataclass(frozen=True, order=True, repr=False)
class ConvShape:
    """The sizes of one convolution. A second axis, named ..._w, runs along a row: 0 says that it is as the first.

    `pad_top` to `pad_right` are rows and columns of zeros around the input map, as many as windows see of them. `multiplier`:
    maps that depthwise gives of each channel. `groups`: those of the standard convolution, which depthwise and pointwise in its
    place do not have.

    `dtype` is what factors are rounded to, and how maps and weights are stored: 4 bytes each for f32 and tf32, 2 for bf16 and
    fp16. Sums are float32 for all of them.

    Raises ShapeError where a size is not a whole number from 1 to 2**31 - 1 (from 0 where that has a meaning), groups do not
    divide the channels, nothing of the input is left within its padding, or the dtype is none.
    """

    D_K: int
    M: int
    N: int
    D_G: int
    stride: int = 1
    batch: int = 1
    D_K_w: int = 0
    D_G_w: int = 0
    stride_w: int = 0
    dilation: int = 1
    dilation_w: int = 0
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    multiplier: int = 1
    groups: int = 1
    dtype: Dtype = field(default="f32", kw_only=True)

    def __post_init__(self) -> None:
        for name in FIELDS:
            object.__setattr__(self, name, whole(name, getattr(self, name), name not in _FROM_0))
        if not isinstance(self.dtype, str) or self.dtype not in DTYPES:
            raise ShapeError(f"dtype is {_described(self.dtype)}; it must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
        for second, first in SECOND_AXES.items():
            if getattr(self, second) == getattr(self, first):
                object.__setattr__(self, second, 0)
        if self.M % self.groups or self.N % self.groups:
            raise ShapeError(f"groups is {self.groups}; it must divide M={self.M} and N={self.N}")
        for size, (before, after), where in zip(self.F_map, self._padded, ("above and below", "left and right"), strict=True):
            if size < 1:
                raise ShapeError(f"padding of {before} and {after} {where} leaves nothing of F; it must leave a pixel or more")

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the window: D_K and D_K_w."""
        return self.D_K, self.D_K_w or self.D_K

    @property
    def G_map(self) -> tuple[int, int]:
        """Rows and columns of the output map: D_G and D_G_w."""
        return self.D_G, self.D_G_w or self.D_G

    @property
    def strides(self) -> tuple[int, int]:
        """Pixels from one window to the next, down and along a row."""
        return self.stride, self.stride_w or self.stride

    @property
    def dilations(self) -> tuple[int, int]:
        """Pixels from one tap of a window to the next, down and along a row."""
        return self.dilation, self.dilation_w or self.dilation

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Rows of zeros above and below F, and columns left and right of it."""
        return self.pad_top, self.pad_bottom, self.pad_left, self.pad_right

    @property
    def seen(self) -> tuple[int, int]:
        """Rows and columns that windows see, of F and of the zeros around it: (D_G - 1) stride + (D_K - 1) dilation + 1."""
        axes = zip(self.G_map, self.strides, self.window, self.dilations, strict=True)
        return tuple((D_G - 1) * stride + (D_K - 1) * dilation + 1 for D_G, stride, D_K, dilation in axes)  # type: ignore[return-value]

    @property
    def F_map(self) -> tuple[int, int]:
        """Rows and columns of the input map: D_F and D_F_w."""
        return tuple(seen - sum(padded) for seen, padded in zip(self.seen, self._padded, strict=True))  # type: ignore[return-value]

    @property
    def D_F(self) -> int:
        """Rows of the input map: (D_G - 1) stride + (D_K - 1) dilation + 1, without padding."""
        return self.F_map[0]

    @property
    def D_F_w(self) -> int:
        """Columns of the input map."""
        return self.F_map[1]

    @property
    def _padded(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.pad_top, self.pad_bottom), (self.pad_left, self.pad_right)

    @property
    def itemsize(self) -> int:
        """Bytes of an element of a map or of weights."""
        return ITEMSIZE[self.dtype]

    @property
    def general(self) -> dict[str, int]:
        """What this shape says beyond AXES: by name each field that is not as usual."""
        return {name: value for name, usual in USUAL.items() if (value := getattr(self, name)) != usual}

    @property
    def resolved(self) -> dict[str, int]:
        """Every size by name, second axes as they are. ``ConvShape(**resolved, dtype=dtype)`` is the same."""
        sizes = {name: getattr(self, name) for name in FIELDS}
        return sizes | {second: sizes[second] or sizes[first] for second, first in SECOND_AXES.items()}

    @property
    def key(self) -> tuple[int, ...]:
        """All sizes as numbers, for a seed: those of AXES alone where it says no more. The same for all dtypes."""
        return tuple(getattr(self, name) for name in (FIELDS if self.general else AXES))

    def with_padding(self, padding: object) -> ConvShape:
        """The same shape with padding as text says it.

        "valid": none. "same": as TensorFlow's SAME, of an input of D_G x stride pixels, the odd one below and right.
        "same-torch": half of the window on each side, as torch's padding="same" (with a stride, as layers of torch have it).
        "1", "1,2" or "0,1,0,1": rows and columns, or above, below, left, right, of those that windows see.
        """
        sides: dict[str, Any] = dict(zip(PADDING, self._padding_of(padding), strict=True))
        return replace(self, **sides)

    def _padding_of(self, padding: object) -> tuple[int, ...]:
        if isinstance(padding, str) and padding.strip().lower() in PADDINGS:
            sizes = tuple(D_G * stride for D_G, stride in zip(self.G_map, self.strides, strict=True))
            axes = zip(sizes, self.window, self.strides, self.dilations, strict=True)
            return tuple(pad for axis in axes for pad in _as_seen(_sides(padding.strip().lower(), *axis), *axis))
        return tuple(pad for sides in explicit_padding(padding) for pad in sides)

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> ConvShape:
        """The shape that a row of a table says, by the columns of IDENTITY."""
        return cls(*(int(row[name]) for name in FIELDS), dtype=row["dtype"])

    @classmethod
    def of_input(
        cls,
        window: Pair,
        M: int,
        N: int,
        size: Pair,
        stride: Pair = 1,
        padding: object = "valid",
        dilation: Pair = 1,
        *,
        multiplier: int = 1,
        groups: int = 1,
        batch: int = 1,
    ) -> ConvShape:
        """The shape of a layer as models say it: by the size of its input, rows and columns or one number for both.

        `padding` as in `with_padding`, or as numbers. Rows and columns of the input, or of its padding, that no window sees are
        left out. ShapeError where the window is larger than the padded input.
        """
        windows, sizes, strides, dilations = map(
            _pair, ("the window", "the input size", "stride", "dilation"), (window, size, stride, dilation)
        )
        word = padding.strip().lower() if isinstance(padding, str) else ""
        explicit = ((0, 0), (0, 0)) if word in PADDINGS else explicit_padding(padding)
        found: list[tuple[int, int, int]] = []
        for axis, sides in zip(zip(sizes, windows, strides, dilations, strict=True), explicit, strict=True):
            (D_F, D_K, step, apart), extent = axis, (axis[1] - 1) * axis[3] + 1
            before, after = _sides(word, *axis) if word in PADDINGS else sides
            if D_F + before + after < extent:
                more = f" with {before + after} of padding" if before + after else ""
                dilated = f" dilated to {extent}" if apart > 1 else ""
                needs = "padding that makes up for it" if more else "D_F >= D_K"
                raise ShapeError(f"F is {D_F} wide{more} and the kernel D_K={D_K}{dilated}; valid padding needs {needs}")
            D_G = (D_F + before + after - extent) // step + 1
            found.append((D_G, before, max(0, (D_G - 1) * step + extent - before - D_F)))
        (D_G, top, bottom), (D_G_w, left, right) = found
        return cls(
            *(windows[0], M, N, D_G, strides[0], batch, windows[1], D_G_w, strides[1], *dilations),
            *(top, bottom, left, right, multiplier, groups),
        )

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
        said = [f"{axis}={size}" for axis, size in sizes.items() if size > 1 or axis not in OPTIONAL_AXES]
        said += [f"{name}={size}" for name, size in self.general.items() if name not in PADDING]
        if any(self.padding):
            alike = len(set(self.padding)) == 1
            said.append(f"padding={self.pad_top if alike else ','.join(map(str, self.padding))}")
        if self.dtype != "f32":
            said.append(f"dtype={self.dtype}")
        return " ".join(said)

    def __repr__(self) -> str:
        said: dict[str, object] = {axis: getattr(self, axis) for axis in AXES} | self.general
        said |= {} if self.dtype == "f32" else {"dtype": self.dtype}
        return f"ConvShape({', '.join(f'{name}={value!r}' for name, value in said.items())})"


# What each of GENERAL is in a shape of the paper.
USUAL: Mapping[str, int] = MappingProxyType({name: getattr(ConvShape, name) for name in GENERAL})


def whole(name: str, value: object, from_1: bool = True) -> int:
    """`value` as an int from 1, or from 0, to 2**31 - 1; ShapeError names the size and repeats what came."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(value, bool) or not from_1 <= number <= _MAX_SIZE:
        raise ShapeError(f"{name} is {_described(value)}; it must be a whole number from {int(from_1)} to {_MAX_SIZE}")
    return number


def explicit_padding(padding: object) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows above and below, and columns left and right, from a number, two, or all four, or from a text of them."""
    parts: Sequence[object] = padding if isinstance(padding, tuple | list) else (padding,)
    if isinstance(padding, str):
        parts = [int(part) if part.isdecimal() and len(part) < 11 else part for part in padding.replace(" ", "").split(",")]
    if isinstance(padding, str | int | tuple | list) and len(parts) in (1, 2, 4):
        try:
            numbers = [whole("padding", part, from_1=False) for part in parts]
        except ShapeError:
            numbers = []
        if len(numbers) == 4:
            return (numbers[0], numbers[1]), (numbers[2], numbers[3])
        if numbers:
            return (numbers[0], numbers[0]), (numbers[-1], numbers[-1])
    raise ShapeError(
        f"padding is {_described(padding)}; it must be {', '.join(PADDINGS)}, or whole numbers from 0:"
        " 1, or 1,2 (rows, columns), or 0,1,0,1 (top, bottom, left, right)"
    )


def _sides(word: str, size: int, D_K: int, stride: int, dilation: int) -> tuple[int, int]:
    """Before and after `size` pixels, as a word of PADDINGS says it."""
    around = 0
    if word == "same":
        around = max(0, (-(-size // stride) - 1) * stride + (D_K - 1) * dilation + 1 - size)
    elif word == "same-torch":
        around = (D_K - 1) * dilation
    return around // 2, around - around // 2


def _as_seen(sides: tuple[int, int], size: int, D_K: int, stride: int, dilation: int) -> tuple[int, int]:
    """Of padding around `size` pixels, a multiple of the stride, what the windows of size / stride outputs see."""
    before, after = sides
    return before, min(after, max(0, size - stride + (D_K - 1) * dilation + 1 - before - size))


def _pair(name: str, value: object) -> tuple[int, int]:
    parts = value if isinstance(value, tuple | list) else (value, value)
    if len(parts) != 2:
        raise ShapeError(f"{name} is {_described(value)}; it must be a whole number, or two: rows and columns")
    return whole(name, parts[0]), whole(name, parts[1])


def _described(value: object) -> str:
    """The value in a few words of one line; an int of thousands of digits has no repr at all."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
