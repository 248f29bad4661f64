"""The four operators, each described once: its equation, the convolutions that it is made of, and their weights.

Equations are numbered as in the documentation; sums are cross-correlations over 0-based indices, as in the MobileNet-V1 paper
(arXiv 1704.04861, section 3.1). Shapes, counts, bytes, the reference, problems and peers are all derived from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.shapes import ConvShape


@dataclass(frozen=True)
class Weight:
    """An array of weights: its name in the equations, and its axes as sizes of the shape."""

    name: str
    axes: tuple[str, ...]

    @property
    def layout(self) -> str:
        return f"({', '.join(self.axes)})"

    def shape(self, shape: ConvShape) -> tuple[int, ...]:
        return tuple(getattr(shape, axis) for axis in self.axes)


@dataclass(frozen=True)
class Convolution:
    """One convolution: a window over each channel by itself (depthwise: M groups) or over all of them (one group).

    `windowed`: the window is D_K x D_K and moves by the shape's stride; else it is one pixel and moves by 1.
    `contraction` is the sum as einsum takes it, from windows of F (b k l m i j, or b k l m) and the weights.
    """

    weight: Weight
    windowed: bool
    depthwise: bool
    contraction: str

    def window(self, shape: ConvShape) -> int:
        """Width of the window."""
        return shape.D_K if self.windowed else 1

    def stride(self, shape: ConvShape) -> int:
        return shape.stride if self.windowed else 1

    def groups(self, shape: ConvShape) -> int:
        return shape.M if self.depthwise else 1

    def out_channels(self, shape: ConvShape) -> int:
        return shape.M if self.depthwise else shape.N

    def in_width(self, shape: ConvShape) -> int:
        return shape.D_F if self.windowed else shape.D_G

    def terms(self, shape: ConvShape) -> int:
        """Products that are added up in one output."""
        return self.window(shape) ** 2 * (1 if self.depthwise else shape.M)

    def multiplications(self, shape: ConvShape) -> int:
        return self.terms(shape) * self.out_channels(shape) * shape.batch * shape.D_G**2


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
        return tuple(weight.shape(shape) for weight in self.weights)

    def F_shape(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """(batch, D_F, D_F, M); of pointwise alone, whose input is the intermediate map, (batch, D_G, D_G, M)."""
        width = self.convolutions[0].in_width(shape)
        return (shape.batch, width, width, shape.M)

    def G_shape(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """(batch, D_G, D_G, N), or M channels for depthwise."""
        return (shape.batch, shape.D_G, shape.D_G, self.convolutions[-1].out_channels(shape))

    def stride(self, shape: ConvShape) -> int:
        """Step of the first window over F."""
        return self.convolutions[0].stride(shape)

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
