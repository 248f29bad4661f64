"""The arithmetic, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepconv_bench import ConvShape, ShapeError
from sepconv_bench.shapes import MOBILENET_V1
from sepconv_bench.theory import bytes_moved, cost_ratio, intensity, multiplications, roofline_time

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


@given(shapes)
def test_bytes_are_every_tensor_once(shape):
    D_F, pixels = shape.D_F, shape.batch * shape.D_G**2
    F, M, N = shape.batch * D_F**2 * shape.M, shape.M, shape.N
    assert bytes_moved("standard", shape) == 4 * (F + shape.D_K**2 * M * N + N * pixels)
    assert bytes_moved("depthwise", shape) == 4 * (F + shape.D_K**2 * M + M * pixels)
    assert bytes_moved("pointwise", shape) == 4 * (M * pixels + M * N + N * pixels)
    two_passes = bytes_moved("depthwise", shape) + bytes_moved("pointwise", shape)
    assert bytes_moved("separable", shape) == two_passes
    assert two_passes - bytes_moved("separable", shape, fused=True) == 2 * 4 * M * pixels


def test_depthwise_is_memory_bound_whatever_the_channels():
    assert float(intensity("depthwise", ConvShape(3, 512, 1, 112))) == pytest.approx(9 / 4, rel=0.03)


def test_the_roofline_is_the_later_of_arithmetic_and_memory():
    shape = ConvShape(3, 64, 64, 28)
    flop, moved = 2 * multiplications("standard", shape), bytes_moved("standard", shape)
    assert roofline_time("standard", shape, peak=flop / 5, bandwidth=lambda size: moved / 2) == 5
    assert roofline_time("standard", shape, peak=flop / 2, bandwidth=lambda size: moved / 5) == 5


def test_two_passes_stand_under_two_roofs_and_one_pass_under_one():
    shape = ConvShape(3, 64, 64, 28)
    peak, bandwidth = 1e9, lambda size: 1e9
    parts = sum(roofline_time(part, shape, peak, bandwidth) for part in ("depthwise", "pointwise"))
    assert roofline_time("separable", shape, peak, bandwidth) == parts
    assert roofline_time("separable", shape, peak, bandwidth, fused=True) < parts


def test_the_bandwidth_is_that_of_the_level_that_holds_the_data():
    asked = []
    roofline_time("depthwise", ConvShape(3, 8, 8, 7), 1.0, lambda size: asked.append(size) or 1.0)
    assert asked == [bytes_moved("depthwise", ConvShape(3, 8, 8, 7))]


def test_an_unknown_operator_lists_the_four():
    with pytest.raises(ShapeError, match="no operator is named 'conv'; there are standard, depthwise, pointwise, separable"):
        multiplications("conv", ConvShape(3, 1, 1, 1))
