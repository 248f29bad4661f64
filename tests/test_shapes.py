"""Shapes, grids, and the grids that a command line spells."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepconv_bench import ConvShape, ShapeError
from sepconv_bench.model.grids import (
    CENTRE,
    GRIDS,
    INCEPTION_V1,
    MAX_CELLS,
    MOBILENET_V1,
    VGG_16,
    cross,
    get_grid,
    grid_from_axes,
    parse_axis,
)
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, SEPARABLE, STANDARD
from sepconv_bench.model.shapes import AXES


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "3", None, True, np.True_, np.float32(3), 1 << 31, float("nan"), [3]])
@pytest.mark.parametrize("axis", AXES)
def test_a_size_is_a_whole_number_from_1(axis, value):
    with pytest.raises(ShapeError, match=f"{axis} is .*; it must be a whole number from 1 to 2147483647"):
        ConvShape(**{**dict.fromkeys(AXES, 3), axis: value})


@pytest.mark.parametrize("value", [np.zeros((3, 3)), 10**5000, -(10**5000), "3\n4"], ids=["array", "huge", "-huge", "text"])
def test_a_size_of_any_kind_is_refused_in_one_line(value):
    """Python itself refuses to print an integer of over 4300 digits; an array prints over several lines."""
    with pytest.raises(ShapeError, match="it must be a whole number") as refused:
        ConvShape(value, 3, 3, 3)
    assert "\n" not in str(refused.value)


def test_numpy_integers_are_whole_numbers_and_become_ints():
    shape = ConvShape(*np.array([3, 8, 16, 14], np.int16))
    assert shape == ConvShape(3, 8, 16, 14)
    assert type(shape.M) is int


def test_the_arrays_of_a_shape():
    shape = ConvShape(3, 8, 16, 14, stride=2, batch=5)
    assert shape.D_F == 29
    assert STANDARD.F_shape(shape) == (5, 29, 29, 8)
    assert POINTWISE.F_shape(shape) == (5, 14, 14, 8)
    assert SEPARABLE.G_shape(shape) == (5, 14, 14, 16)
    assert DEPTHWISE.G_shape(shape) == (5, 14, 14, 8)
    assert STANDARD.weight_shapes(shape) == ((3, 3, 8, 16),)
    assert SEPARABLE.weight_shapes(shape) == ((3, 3, 8), (8, 16))
    assert str(shape) == "D_K=3 M=8 N=16 D_G=14 stride=2 batch=5"
    assert str(CENTRE) == "D_K=3 M=64 N=64 D_G=28"


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grid_visits_each_shape_once_and_says_what_it_shows(grid):
    assert len(set(grid.shapes)) == len(grid.shapes)
    assert len(grid.shows) > 20


def test_the_default_grid_varies_each_axis_through_the_centre_and_has_a_cross():
    shapes = GRIDS["default"].shapes
    for axis in ("D_K", "M", "N", "D_G"):
        line = {
            getattr(shape, axis)
            for shape in shapes
            if all(getattr(shape, other) == getattr(CENTRE, other) for other in AXES if other != axis)
        }
        assert len(line) >= 4
        assert getattr(CENTRE, axis) in line
    assert {(shape.D_K, shape.N) for shape in shapes} >= {(D_K, N) for D_K in (3, 5, 7) for N in (16, 64, 128)}


def test_vgg_16_has_its_multiplications_and_weights():
    assert sum(D_K**2 * M * N * D_G**2 for D_K, _, M, N, D_G in VGG_16) == 15_346_630_656
    assert sum(D_K**2 * M * N for D_K, _, M, N, _ in VGG_16) == 14_710_464
    assert all(M == N for (*_, N, _), (_, _, M, _, _) in itertools.pairwise(VGG_16)), (
        "each layer takes what the one before gives"
    )
    assert (len(VGG_16), len(GRIDS["vgg16"].shapes)) == (13, 9)


# Modules of Inception-V1 as table 1 lists them: input channels, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
MODULES = (
    *((192, 64, 96, 128, 16, 32, 32), (256, 128, 128, 192, 32, 96, 64)),
    *((480, 192, 96, 208, 16, 48, 64), (512, 160, 112, 224, 24, 64, 64), (512, 128, 128, 256, 24, 64, 64)),
    *((512, 112, 144, 288, 32, 64, 64), (528, 256, 160, 320, 32, 128, 128)),
    *((832, 256, 160, 320, 32, 128, 128), (832, 384, 192, 384, 48, 128, 128)),
)


def test_inception_v1_has_the_convolutions_of_its_modules():
    first, second, *inner = INCEPTION_V1
    assert first[3] == second[2]
    assert second[3] == MODULES[0][0]
    for (_, ones, _, N_3, _, N_5, pooled), (M, *_) in itertools.pairwise(MODULES):
        assert ones + N_3 + N_5 + pooled == M, "each module takes what the one before gives"
    assert len(inner) == 2 * len(MODULES)
    for number, (_, _, reduce_3, N_3, reduce_5, N_5, _) in enumerate(MODULES):
        three, five = inner[2 * number : 2 * number + 2]
        assert three[:4] == (3, 1, reduce_3, N_3)
        assert five[:4] == (5, 1, reduce_5, N_5)
        assert three[4] == five[4] == (28 if number < 2 else 14 if number < 7 else 7)
    assert len(GRIDS["inception"].shapes) == 19


def test_the_mobilenet_grid_is_the_13_blocks():
    assert len(MOBILENET_V1) == 13
    for (_, _, N, _), (_, M, _, _) in itertools.pairwise(MOBILENET_V1):
        assert N == M, "each block takes what the last one gives"
    assert {(s.stride, s.M, s.N, s.D_G) for s in GRIDS["mobilenet"].shapes} == set(MOBILENET_V1)
    assert len(GRIDS["mobilenet"].shapes) == 9


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("3", (3,)),
        ("3,5,7", (3, 5, 7)),
        (" 3 , 5", (3, 5)),
        ("\x1c3\x1f", (3,)),
        ("16:512:x2", (16, 32, 64, 128, 256, 512)),
        ("16:500:x2", (16, 32, 64, 128, 256)),
        ("14:56:+14", (14, 28, 42, 56)),
        ("1,4:16:x2,16,5:6:+1", (1, 4, 8, 16, 5, 6)),
        ("7:7:x2", (7,)),
    ],
)
def test_an_axis_is_spelled(text, sizes):
    assert parse_axis("N", text) == sizes


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "3,", "x", "3.5", "-3", "+3", "1e3", "3;5", "3 5", "99999999999"),
        *("3:5", "3:5:2", "3:5:x", "3:5:x2.5", "3:5:*2", "3:5:-1", "3::x2", ":5:x2", "3:5:x2:2", "1,3:5"),
        *("8:4:x2", "4:8:x1", "4:8:x0", "4:8:+0"),
    ],
)
def test_a_misspelt_axis_is_told_back(text):
    with pytest.raises(ShapeError) as refused:
        parse_axis("N", text)
    assert repr(text) in str(refused.value)
    assert "a list as 3,5,7, or first:last:xFACTOR" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("0", "0"), ("3,0", "0"), ("0:8:x2", "0"), ("4:3000000000:x2", "3000000000"), ("9999999999", "9999999999")],
)
def test_a_size_on_an_axis_that_is_none_is_told_back(text, told):
    with pytest.raises(ShapeError, match=f"^N is {told}; it must be a whole number from 1"):
        parse_axis("N", text)


@given(st.text(max_size=30))
def test_any_text_is_an_axis_or_a_shape_error(text):
    sizes = ()
    with contextlib.suppress(ShapeError):
        sizes = parse_axis("N", text)
    assert all(1 <= size < 1 << 31 for size in sizes)


def test_a_grid_from_axes_is_the_cross_with_the_rest_at_the_centre():
    grid = grid_from_axes({"D_K": "3,5", "batch": "1,2"})
    assert grid.shapes == tuple(
        ConvShape(D_K, CENTRE.M, CENTRE.N, CENTRE.D_G, batch=batch) for D_K in (3, 5) for batch in (1, 2)
    )
    assert grid.shapes == cross(D_K=(3, 5), batch=(1, 2))


@pytest.mark.parametrize(
    "axes",
    [
        {"M": "1:1000:+1", "N": "1:101:+1"},
        {"M": "1:90000:+1", "N": "1:90000:+1"},
        {"M": "1:2147483647:+1"},
        dict.fromkeys(AXES, "1:99999:+1"),
    ],
)
def test_a_grid_beyond_all_reason_is_refused_before_it_is_made(axes):
    tracemalloc.start()
    with pytest.raises(ShapeError, match="100,000"):
        grid_from_axes(axes)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * MAX_CELLS * len(axes), "room for the sizes, not for the shapes"


def test_the_largest_grid_is_made():
    assert len(cross(M=range(1, 1001), N=range(1, 101))) == MAX_CELLS


def test_an_unknown_grid_lists_those_there_are():
    with pytest.raises(
        ShapeError,
        match="no grid is named 'nosuch'; there are smoke, default, full, mobilenet, vgg16, inception, layers, scan, gpu",
    ):
        get_grid("nosuch")
