"""What it must cost: multiplications, bytes, the promised cost ratio and the roofline. Pure arithmetic.

Equations and counts are those of the MobileNet-V1 paper (arXiv 1704.04861, section 3.1); the roofline is
Williams, Waterman and Patterson's (CACM 52(4), 2009). Counts are exact integers, ratios exact fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil

from sepconv_bench.model.operators import SEPARABLE, STANDARD, Operator, get_operator
from sepconv_bench.model.shapes import ConvShape


def multiplications(operator: Operator | str, shape: ConvShape) -> int:
    """Multiplications of one launch: D_K^2 M N D_G^2 for standard, and so on; a batch multiplies them. Those with the zeros of
    a padding count, as they do in every published count."""
    return get_operator(operator).multiplications(shape)


def cost_ratio(shape: ConvShape) -> Fraction:
    """Multiplications of separable over those of standard: exactly 1/N + 1/D_K^2.

    In general c g (1/N + 1/(D_K D_K_w)), with c the channel multiplier and g the groups of the standard convolution: of the
    counts for a pixel, D_K D_K_w c M of depthwise, c M N of pointwise and D_K D_K_w (M/g) N of standard, their quotient.
    Stride, dilation, padding and the sizes of the maps are the same for both and cancel.
    """
    return Fraction(SEPARABLE.multiplications(shape), STANDARD.multiplications(shape))


def winograd_multiplications(shape: ConvShape, m: int) -> int:
    """Multiplications of F(m x m, 3 x 3) for a standard convolution with stride 1: (m + 2)^2 M N for each tile of m x m
    pixels of G (Lavin and Gray, arXiv 1509.09308). A tile that reaches over the edge counts whole; those of the transforms do
    not count."""
    tiles = shape.batch * ceil(shape.D_G / m) * ceil(shape.G_map[1] / m)
    return (m + 2) ** 2 * shape.M * shape.N * tiles


def bytes_moved(passes: Iterable[Operator | str], shape: ConvShape) -> int:
    """Bytes of every tensor once in each pass, each element in the shape's dtype; a padding is none of them.

    Separable in two passes, depthwise and pointwise, writes and reads the intermediate map; in one pass, itself, it does
    without those 2 M D_G^2 elements, times the channel multiplier.
    """
    return shape.itemsize * sum(get_operator(one).elements(shape) for one in passes)


def intensity(operator: Operator | str, shape: ConvShape) -> Fraction:
    """Arithmetic intensity, FLOP per byte (1 multiplication = 2 FLOP), with every tensor moved once in each of its passes."""
    operator = get_operator(operator)
    return Fraction(2 * operator.multiplications(shape), bytes_moved(operator.passes, shape))


def roofline_time(passes: Iterable[Operator | str], shape: ConvShape, peak: float, bandwidth: Callable[[int], float]) -> float:
    """Seconds below which no kernel of these passes can be: of each max(FLOP / peak, bytes / bandwidth), with a warm cache.

    `peak` in FLOP/s; `bandwidth` gives bytes/s for a footprint in bytes, that is of the memory level that holds it.
    """
    return sum(max(_limits(one, shape, peak, bandwidth)) for one in passes)


def held_by_memory(
    passes: Iterable[Operator | str], shape: ConvShape, peak: float, bandwidth: Callable[[int], float]
) -> tuple[str, ...]:
    """Names of the passes of a perfect kernel whose bytes take longer than their FLOP; arguments as `roofline_time`."""
    found = []
    for one in map(get_operator, passes):
        multiplying, moving = _limits(one, shape, peak, bandwidth)
        if moving > multiplying:
            found.append(one.name)
    return tuple(found)


def _limits(operator: Operator | str, shape: ConvShape, peak: float, bandwidth: Callable[[int], float]) -> tuple[float, float]:
    """Seconds for the FLOP of a pass, and for its bytes."""
    moved = bytes_moved([operator], shape)
    return 2 * multiplications(operator, shape) / peak, moved / bandwidth(moved)
