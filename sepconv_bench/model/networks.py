"""Whole networks as tables of layers: what each costs, by the counts of `operators`. Of VGG-16 and Inception-V1, how often each
convolution of a grid occurs.

MobileNet-V1 is table 1 of arXiv 1704.04861, with the last depthwise at stride 1 as in the reference code; its all-standard
counterpart has one standard convolution for each depthwise and pointwise pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.grids import MOBILENET_V1, network_shapes
from sepconv_bench.model.operators import POINTWISE, SEPARABLE, STANDARD, Operator
from sepconv_bench.model.shapes import ConvShape

ALPHAS = (0.25, 0.5, 0.75, 1.0)
RESOLUTIONS = (128, 160, 192, 224)
CLASSES = 1000
TWINS = ("separable", "standard")  # the network itself and its all-standard counterpart, called by what their blocks are
WHOLE = "whole"  # the part of a network that is all of it
# What is timed of a network: the first convolution, each pair of depthwise and pointwise, the last layer; and all of it.
PARTS = ("conv", *(f"block{number}" for number in range(1, len(MOBILENET_V1) + 1)), "classifier", WHOLE)
_FIRST = 32  # channels of the first convolution, times alpha


# Of the grids that hold each convolution of 3 x 3 and up of a network once, how often the network has it. The tables in
# `shapes` say from which table of which paper they are: arXiv 1409.1556 (VGG-16), arXiv 1409.4842 (Inception-V1).
OCCURRENCES = {grid: Counter(network_shapes(grid)) for grid in ("vgg16", "inception")}
TITLES = {"vgg16": "VGG-16", "inception": "Inception-V1"}


@dataclass(frozen=True)
class Layer:
    """One operator of a network. `block` numbers the depthwise and pointwise pair, or the standard convolution in its place,
    from 1; 0 is the first convolution, and the fully connected layer comes last, as pointwise on a map of one pixel."""

    block: int
    operator: Operator
    shape: ConvShape

    @property
    def multiply_adds(self) -> int:
        return self.operator.multiplications(self.shape)

    @property
    def parameters(self) -> int:
        """Weights, without the biases or batch norms that a network may add."""
        return sum(map(prod, self.operator.weight_shapes(self.shape)))


def mobilenet_v1(alpha: float = 1.0, resolution: int = 224, batch: int = 1, separable: bool = True) -> tuple[Layer, ...]:
    """MobileNet-V1, or its all-standard counterpart; ShapeError for an alpha or a resolution that is none of the paper's."""
    if alpha not in ALPHAS:
        raise ShapeError(f"alpha is {alpha}; the paper's are {', '.join(map(str, ALPHAS))}")
    if resolution not in RESOLUTIONS:
        raise ShapeError(f"the resolution is {resolution}; the paper's are {', '.join(map(str, RESOLUTIONS))}")
    D = resolution // 2
    layers = [Layer(0, STANDARD, ConvShape(3, 3, int(_FIRST * alpha), D, 2, batch))]
    for block, (stride, M, N, _) in enumerate(MOBILENET_V1, start=1):
        M, N, D = int(M * alpha), int(N * alpha), D // stride
        operators = SEPARABLE.parts if separable else (STANDARD,)
        layers += [Layer(block, operator, ConvShape(3, M, N, D, stride, batch)) for operator in operators]
    return (*layers, Layer(len(MOBILENET_V1) + 1, POINTWISE, ConvShape(1, N, CLASSES, 1, 1, batch)))


def multiply_adds(layers: Iterable[Layer]) -> int:
    return sum(layer.multiply_adds for layer in layers)


def parameters(layers: Iterable[Layer]) -> int:
    return sum(layer.parameters for layer in layers)
