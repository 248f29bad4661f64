"""What it must cost: multiplications, bytes, the promised cost ratio and the roofline. Pure arithmetic.

Equations and counts are those of the MobileNet-V1 paper (arXiv 1704.04861, section 3.1); the roofline is
Williams, Waterman and Patterson's (CACM 52(4), 2009). Counts are exact integers, ratios exact fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

from sepconv_bench.errors import ShapeError
from sepconv_bench.model.shapes import OPERATORS, ConvShape

ITEMSIZE = 4  # float32


def multiplications(operator: str, shape: ConvShape) -> int:
    """Multiplications of one launch: D_K^2 M N D_G^2 for standard, and so on; a batch multiplies them."""
    pixels = shape.batch * shape.D_G**2
    depthwise = shape.D_K**2 * shape.M * pixels
    pointwise = shape.M * shape.N * pixels
    counts = {
        "standard": depthwise * shape.N,
        "depthwise": depthwise,
        "pointwise": pointwise,
        "separable": depthwise + pointwise,
    }
    return counts[known(operator)]


def cost_ratio(shape: ConvShape) -> Fraction:
    """Multiplications of separable over those of standard: exactly 1/N + 1/D_K^2."""
    return Fraction(multiplications("separable", shape), multiplications("standard", shape))


def bytes_moved(operator: str, shape: ConvShape, fused: bool = False) -> int:
    """Bytes of every tensor once, float32. Separable in two passes writes and reads the intermediate map;
    `fused` leaves out those 2 x 4 M D_G^2 bytes."""
    if known(operator) == "separable":
        both = bytes_moved("depthwise", shape) + bytes_moved("pointwise", shape)
        return both - fused * 2 * ITEMSIZE * prod(shape.G_shape("depthwise"))
    tensors = (shape.F_shape(operator), *shape.weight_shapes(operator), shape.G_shape(operator))
    return ITEMSIZE * sum(prod(tensor) for tensor in tensors)


def intensity(operator: str, shape: ConvShape) -> Fraction:
    """Arithmetic intensity, FLOP per byte, with every tensor moved once (1 multiplication = 2 FLOP)."""
    return Fraction(2 * multiplications(operator, shape), bytes_moved(operator, shape))


def roofline_time(
    operator: str, shape: ConvShape, peak: float, bandwidth: Callable[[int], float], fused: bool = False
) -> float:
    """Seconds below which no kernel can be: max(FLOP / peak, bytes / bandwidth), a launch with a warm cache.

    `peak` in FLOP/s; `bandwidth` gives bytes/s for a footprint in bytes, that is of the memory level that holds it.
    Separable is two passes, each under its own roof; `fused` makes it one that leaves the intermediate map out.
    """
    if operator == "separable" and not fused:
        return sum(roofline_time(part, shape, peak, bandwidth) for part in ("depthwise", "pointwise"))
    moved = bytes_moved(operator, shape, fused)
    return max(2 * multiplications(operator, shape) / peak, moved / bandwidth(moved))


def held_by_memory(
    operator: str, shape: ConvShape, peak: float, bandwidth: Callable[[int], float], fused: bool = False
) -> tuple[str, ...]:
    """The passes of a perfect kernel, as operators, whose bytes take longer than their FLOP; arguments as `roofline_time`."""
    if operator == "separable" and not fused:
        return tuple(part for each in ("depthwise", "pointwise") for part in held_by_memory(each, shape, peak, bandwidth))
    moved = bytes_moved(operator, shape, fused)
    return (operator,) if moved / bandwidth(moved) > 2 * multiplications(operator, shape) / peak else ()


def known(operator: str) -> str:
    """`operator` itself if it is one of the four, else ShapeError."""
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ShapeError(f"no operator is named {operator!r}; there are {', '.join(OPERATORS)}")
    return operator
