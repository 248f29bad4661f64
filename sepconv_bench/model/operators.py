"""The four operators, each described once: its equation, the convolutions that it is made of, and their weights.

Equations are numbered as in the documentation; sums are cross-correlations over 0-based indices, as in the MobileNet-V1 paper
(arXiv 1704.04861, section 3.1). They are those of its shapes: with stride s and dilation d a window reads F[s k+d i,s l+d j].
Shapes, counts, bytes, the reference, problems and peers are all derived from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.shapes import ConvShape, Property


@dataclass(frozen=True)
class Weight:
    """An array of weights: its name in the equations, and its axes as sizes of the shape."""

    name: str
    axes: tuple[str, ...]

    @property
    def layout(self) -> str:
        return f"({', '.join(self.axes)})"


@dataclass(frozen=True)
class Convolution:
    """One convolution: a window over each channel by itself (depthwise: M groups) or over all of them (one group, or the
    shape's).

    `windowed`: the window is the shape's, and with it stride, dilation and padding; else it is one pixel and moves by 1.
    `contraction` is the sum as einsum takes it, from windows of F (b k l m i j, or b k l m) and the weights of one group.
    """

    weight: Weight
    windowed: bool
    depthwise: bool
    contraction: str

    def window(self, shape: ConvShape) -> tuple[int, int]:
        """Rows and columns of the window."""
        return shape.window if self.windowed else (1, 1)

    def strides(self, shape: ConvShape) -> tuple[int, int]:
        return shape.strides if self.windowed else (1, 1)

    def dilations(self, shape: ConvShape) -> tuple[int, int]:
        return shape.dilations if self.windowed else (1, 1)

    def padding(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """Rows above and below, and columns left and right of its input."""
        return shape.padding if self.windowed else (0, 0, 0, 0)

    def groups(self, shape: ConvShape) -> int:
        if self.depthwise:
            return shape.M
        return shape.groups if self.windowed else 1

    def in_channels(self, shape: ConvShape) -> int:
        """Pointwise mixes what depthwise gives: `multiplier` maps of each channel."""
        return shape.M if self.windowed else shape.M * shape.multiplier

    def out_channels(self, shape: ConvShape) -> int:
        return shape.M * shape.multiplier if self.depthwise else shape.N

    def in_map(self, shape: ConvShape) -> tuple[int, int]:
        """Rows and columns of its input, without padding."""
        return shape.F_map if self.windowed else shape.G_map

    def seen(self, shape: ConvShape) -> tuple[int, int]:
        """Rows and columns that windows see: of the input and of its padding."""
        return shape.seen if self.windowed else shape.G_map

    def weight_shape(self, shape: ConvShape) -> tuple[int, ...]:
        """Of depthwise the outputs of one channel follow each other: (D_K, D_K_w, M x multiplier)."""
        N = self.out_channels(shape)
        if not self.windowed:
            return self.in_channels(shape), N
        return (*self.window(shape), N) if self.depthwise else (*self.window(shape), shape.M // shape.groups, N)

    def terms(self, shape: ConvShape) -> int:
        """Products that are added up in one output."""
        return prod(self.window(shape)) * (self.in_channels(shape) // self.groups(shape))

    def multiplications(self, shape: ConvShape) -> int:
        """Those with the zeros of a padding among them."""
        return self.terms(shape) * self.out_channels(shape) * shape.batch * prod(shape.G_map)


@dataclass(frozen=True)
class Operator:
    """An operator by name: convolutions one after the other, each on the map that the one before it has given."""

    name: str
    equation: str
    convolutions: tuple[Convolution, ...]
    parts: tuple[Operator, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def passes(self) -> tuple[str, ...]:
        """Names of the operators that compute it when each convolution reads its input from memory and writes its output."""
        return tuple(part.name for part in self.parts) or (self.name,)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """In the order in which a kernel is called with them."""
        return tuple(one.weight for one in self.convolutions)

    def weight_shapes(self, shape: ConvShape) -> tuple[tuple[int, ...], ...]:
        return tuple(one.weight_shape(shape) for one in self.convolutions)

    def F_shape(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """(batch, D_F, D_F_w, M); of pointwise alone, whose input is the intermediate map, (batch, D_G, D_G_w, M)."""
        first = self.convolutions[0]
        return (shape.batch, *first.in_map(shape), first.in_channels(shape))

    def seen_shape(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """The same with its padding, as windows see it."""
        first = self.convolutions[0]
        return (shape.batch, *first.seen(shape), first.in_channels(shape))

    def G_shape(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """(batch, D_G, D_G_w, N), or M x multiplier channels for depthwise."""
        return (shape.batch, *shape.G_map, self.convolutions[-1].out_channels(shape))

    def stride(self, shape: ConvShape) -> int:
        """Step of the first window over F, down."""
        return self.convolutions[0].strides(shape)[0]

    def properties(self, shape: ConvShape) -> tuple[Property, ...]:
        """What a kernel must take beyond the paper's shapes to compute this one."""
        first = self.convolutions[0]  # the others see single pixels
        window, groups = first.window(shape), 1 if first.depthwise else first.groups(shape)
        there: dict[Property, bool] = {
            "rectangular maps": bool(shape.D_G_w),
            "padding": any(first.padding(shape)),
            "dilation": any(D_K > 1 < apart for D_K, apart in zip(window, first.dilations(shape), strict=True)),
            "groups": groups > 1,
            "channel multipliers": first.depthwise and shape.multiplier > 1,
            "rectangular windows": window[0] != window[1],
            "strides per axis": len(set(first.strides(shape))) > 1,
        }
        return tuple(name for name, needed in there.items() if needed)

    def terms(self, shape: ConvShape) -> int:
        """Products behind one output, those of an intermediate value counted once."""
        return sum(one.terms(shape) for one in self.convolutions)

    def multiplications(self, shape: ConvShape) -> int:
        """Of one launch, exactly; a batch multiplies them."""
        return sum(one.multiplications(shape) for one in self.convolutions)

    def elements(self, shape: ConvShape) -> int:
        """Of F, the weights and G, each once; an intermediate map is none of them."""
        return sum(map(prod, (self.F_shape(shape), *self.weight_shapes(shape), self.G_shape(shape))))


_STANDARD = Convolution(Weight("K", ("D_K", "D_K", "M", "N")), windowed=True, depthwise=False, contraction="bklmij,ijmn->bkln")
_DEPTHWISE = Convolution(Weight("K_hat", ("D_K", "D_K", "M")), windowed=True, depthwise=True, contraction="bklmij,ijm->bklm")
_POINTWISE = Convolution(Weight("K_tilde", ("M", "N")), windowed=False, depthwise=False, contraction="bklm,mn->bkln")

STANDARD = Operator("standard", "G[k,l,n] = sum_ijm K[i,j,m,n] F[k+i,l+j,m]", (_STANDARD,))
DEPTHWISE = Operator("depthwise", "G_hat[k,l,m] = sum_ij K_hat[i,j,m] F[k+i,l+j,m]", (_DEPTHWISE,))
POINTWISE = Operator("pointwise", "G[k,l,n] = sum_m K_tilde[m,n] G_hat[k,l,m]", (_POINTWISE,))
SEPARABLE = Operator("separable", "pointwise after depthwise", (_DEPTHWISE, _POINTWISE), (DEPTHWISE, POINTWISE))

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {operator.name: operator for operator in (STANDARD, DEPTHWISE, POINTWISE, SEPARABLE)}
)


def get_operator(operator: object) -> Operator:
    """The operator of that name, or itself; ShapeError lists the names there are."""
    if isinstance(operator, Operator):
        return operator
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ShapeError(f"no operator is named {operator!r}; there are {', '.join(OPERATORS)}")
    return OPERATORS[operator]
