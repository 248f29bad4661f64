"""The arithmetic, exactly."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepconv_bench import ConvShape, ShapeError
from sepconv_bench.model.grids import MOBILENET_V1
from sepconv_bench.model.operators import OPERATORS, SEPARABLE, get_operator
from sepconv_bench.model.theory import (
    bytes_moved,
    cost_ratio,
    held_by_memory,
    intensity,
    multiplications,
    roofline_time,
    winograd_multiplications,
)

sizes = st.integers(1, 5000)
shapes = st.builds(ConvShape, sizes, sizes, sizes, sizes, st.integers(1, 5), st.integers(1, 64))


@given(shapes)
def test_the_cost_ratio_is_one_over_N_plus_one_over_D_K_squared(shape):
    assert cost_ratio(shape) == Fraction(1, shape.N) + Fraction(1, shape.D_K**2)


def test_multiplications_by_hand():
    shape = ConvShape(3, 4, 5, 6, stride=2, batch=7)
    pixels = 7 * 6 * 6
    assert multiplications("standard", shape) == 9 * 4 * 5 * pixels
    assert multiplications("depthwise", shape) == 9 * 4 * pixels
    assert multiplications("pointwise", shape) == 4 * 5 * pixels
    assert multiplications("separable", shape) == (9 * 4 + 4 * 5) * pixels


def test_the_multiply_adds_of_mobilenet():
    """The 13 blocks, the first convolution (3x3x3x32 at 112) and the classifier (1024 x 1000) make up the paper's counts."""
    blocks = [ConvShape(3, M, N, D_G, stride) for stride, M, N, D_G in MOBILENET_V1]
    rest = multiplications("standard", ConvShape(3, 3, 32, 112, stride=2)) + 1024 * 1000
    assert sum(multiplications("separable", block) for block in blocks) + rest == 568_740_352
    assert sum(multiplications("standard", block) for block in blocks) + rest == 4_867_293_184


def mobilenet(alpha=Fraction(1), resolution=224):
    """(operator, shape) of every convolution of MobileNet-V1: widths scaled by alpha, maps by the resolution."""
    scale = Fraction(resolution, 224)
    yield "standard", ConvShape(3, 3, int(32 * alpha), int(112 * scale), stride=2)
    for stride, M, N, D_G in MOBILENET_V1:
        shape = ConvShape(3, int(M * alpha), int(N * alpha), int(D_G * scale), stride)
        yield from (("depthwise", shape), ("pointwise", shape))


# Multiply-adds and parameters of the paper's Tables 4, 6 and 7, to the last digit, without batch norm and biases.
@pytest.mark.parametrize(
    ("alpha", "resolution", "multiply_adds", "parameters"),
    [
        (Fraction(1), 224, 568_740_352, 4_209_088),
        (Fraction(3, 4), 224, 325_400_448, 2_568_144),
        (Fraction(1, 2), 224, 149_497_088, 1_319_648),
        (Fraction(1, 4), 224, 41_030_272, 463_600),
        (Fraction(1), 192, 418_121_728, 4_209_088),
        (Fraction(1), 160, 290_675_200, 4_209_088),
        (Fraction(1), 128, 186_400_768, 4_209_088),
    ],
)
def test_mobilenet_of_every_width_and_resolution(alpha, resolution, multiply_adds, parameters):
    layers, features = list(mobilenet(alpha, resolution)), int(1024 * alpha)
    assert sum(multiplications(*layer) for layer in layers) + 1000 * features == multiply_adds
    weights = sum(prod(weight) for operator, shape in layers for weight in get_operator(operator).weight_shapes(shape))
    assert weights + 1000 * features == parameters


def test_nearly_all_of_mobilenet_is_pointwise():
    counts = Counter()
    for operator, shape in mobilenet():
        counts[operator] += multiplications(operator, shape)
    share = {operator: 100 * count / 568_740_352 for operator, count in counts.items()}
    assert share == pytest.approx({"pointwise": 94.86, "depthwise": 3.06, "standard": 1.91}, abs=0.005)


@given(shapes)
def test_bytes_are_every_tensor_once(shape):
    D_F, pixels = shape.D_F, shape.batch * shape.D_G**2
    F, M, N = shape.batch * D_F**2 * shape.M, shape.M, shape.N
    assert bytes_moved(["standard"], shape) == 4 * (F + shape.D_K**2 * M * N + N * pixels)
    assert bytes_moved(["depthwise"], shape) == 4 * (F + shape.D_K**2 * M + M * pixels)
    assert bytes_moved(["pointwise"], shape) == 4 * (M * pixels + M * N + N * pixels)
    two_passes = bytes_moved(SEPARABLE.passes, shape)
    assert two_passes == bytes_moved(["depthwise"], shape) + bytes_moved(["pointwise"], shape)
    assert two_passes - bytes_moved([SEPARABLE], shape) == 2 * 4 * M * pixels


def test_depthwise_is_memory_bound_whatever_the_channels():
    assert float(intensity("depthwise", ConvShape(3, 512, 1, 112))) == pytest.approx(9 / 4, rel=0.03)


def test_the_roofline_is_the_later_of_arithmetic_and_memory():
    shape = ConvShape(3, 64, 64, 28)
    flop, moved = 2 * multiplications("standard", shape), bytes_moved(["standard"], shape)
    assert roofline_time(["standard"], shape, peak=flop / 5, bandwidth=lambda size: moved / 2) == 5
    assert roofline_time(["standard"], shape, peak=flop / 2, bandwidth=lambda size: moved / 5) == 5


@given(shapes, st.sampled_from([*OPERATORS.values()]), st.booleans())
def test_no_roof_is_below_arithmetic_or_memory(shape, operator, one_pass):
    """A peak or a bandwidth without end leaves the other one alone to decide, exactly where one pass is all there is."""
    passes = [operator] if one_pass else operator.passes
    moved = bytes_moved(passes, shape)
    by_memory = roofline_time(passes, shape, float("inf"), lambda size: 1.0)
    by_arithmetic = roofline_time(passes, shape, 1.0, lambda size: float("inf"))
    assert by_memory == pytest.approx(moved, rel=1e-12)
    assert by_arithmetic == pytest.approx(2 * multiplications(operator, shape), rel=1e-12)


def test_two_passes_stand_under_two_roofs_and_one_pass_under_one():
    shape = ConvShape(3, 64, 64, 28)
    peak, bandwidth = 1e9, lambda size: 1e9
    parts = sum(roofline_time([part], shape, peak, bandwidth) for part in ("depthwise", "pointwise"))
    assert roofline_time(SEPARABLE.passes, shape, peak, bandwidth) == parts
    assert roofline_time([SEPARABLE], shape, peak, bandwidth) < parts


def test_memory_holds_the_pass_whose_bytes_take_longer():
    shape = ConvShape(3, 64, 64, 28)
    machine = {"peak": 100.0, "bandwidth": lambda size: 10.0}  # 10 FLOP for each byte
    assert intensity("depthwise", shape) < 10 < intensity("pointwise", shape)
    assert held_by_memory(SEPARABLE.passes, shape, **machine) == ("depthwise",)
    assert held_by_memory([SEPARABLE], shape, **machine) == ()


def test_the_bandwidth_is_that_of_the_level_that_holds_the_data():
    asked = []
    roofline_time(["depthwise"], ConvShape(3, 8, 8, 7), 1.0, lambda size: asked.append(size) or 1.0)
    assert asked == [bytes_moved(["depthwise"], ConvShape(3, 8, 8, 7))]


def test_winograd_multiplies_two_and_a_quarter_and_four_times_less():
    whole, seven = ConvShape(3, 64, 64, 56, batch=2), ConvShape(3, 64, 64, 7)
    direct = multiplications("standard", whole)
    assert direct / winograd_multiplications(whole, 2) == 2.25
    assert direct / winograd_multiplications(whole, 4) == 4
    assert winograd_multiplications(seven, 4) == 36 * 64 * 64 * 4, "four tiles cover 7 x 7 pixels"
    assert winograd_multiplications(ConvShape(3, 2, 3, 7, D_G_w=9), 4) == 36 * 2 * 3 * 2 * 3


def test_an_unknown_operator_lists_the_four():
    with pytest.raises(ShapeError, match="no operator is named 'conv'; there are standard, depthwise, pointwise, separable"):
        multiplications("conv", ConvShape(3, 1, 1, 1))
