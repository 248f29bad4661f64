"""Winograd's algorithm: its matrices, every edge of its tiles and blocks, and how far off it may be."""

from __future__ import annotations

import made
import numba
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench import ConvShape, KernelError, Problem, get_kernel
from sepconv_bench.kernels.cpu.registers import host_vectors
from sepconv_bench.kernels.cpu.transform import matrices
from sepconv_bench.kernels.cpu.winograd import cover_of
from sepconv_bench.model.reference import Reference
from sepconv_bench.results.cell import Cell

NAMES = {2: "cpu.standard.winograd-2x2", 4: "cpu.standard.winograd-4x4"}
LANES = host_vectors().lanes


def error(name: str, shape: ConvShape, seed: int = 0) -> float:
    """In units of what float32 explains of a sum."""
    problem = Problem.draw("standard", shape, np.random.default_rng(seed))
    get_kernel(name).bind(problem)()
    return Reference("standard", shape, problem.interior, problem.weights).error(problem.G)


@pytest.mark.parametrize("m", NAMES)
def test_the_matrices_compute_a_correlation_in_m_plus_2_multiplications(m):
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal(m + 2), rng.standard_normal(3)
    A_T, G, B_T = matrices(m)
    assert (A_T.shape, G.shape, B_T.shape) == ((m, m + 2), (m + 2, 3), (m + 2, m + 2))
    np.testing.assert_allclose(A_T @ ((G @ g) * (B_T @ d)), np.correlate(d, g, "valid"), atol=1e-13)
    assert all(np.array_equal(L.astype(np.float32), L) for L in (A_T, B_T)), "exact in float32"


@pytest.mark.parametrize("m", NAMES)
def test_every_edge_of_tiles_and_vectors_is_right(m):
    """Maps of one pixel, and of whole tiles and one pixel more either way, with padding; channels around a vector. The larger
    maps are all of six tiles, for which the same product is compiled."""
    less, more = m + 1, 2 * m + 1
    shapes = [ConvShape(3, LANES + 1, LANES + 3, D_G) for D_G in sorted({1, m - 1, m})]
    shapes += [ConvShape(3, LANES + 1, LANES + 3, less, D_G_w=more), ConvShape(3, LANES + 1, LANES + 3, more, D_G_w=less)]
    shapes += [ConvShape(3, 1, 1, less, D_G_w=more), ConvShape(3, 2 * LANES, 2 * LANES, m, batch=3, D_G_w=2 * m)]
    shapes += [ConvShape(3, 17, 20, less, D_G_w=more, pad_top=1, pad_right=1)]
    shapes += [ConvShape(3, 18, 5, more, D_G_w=less, pad_left=1, pad_bottom=1)]
    for shape in shapes:
        assert error(NAMES[m], shape) <= get_kernel(NAMES[m]).rounding(shape), shape


def test_blocks_that_are_not_full_and_threads_that_share_panels_are_right():
    several, few = ConvShape(3, 300, 40, 13, batch=3), ConvShape(3, 260, 270, 3)
    cover = cover_of(2, several.M, several.N, (3, 13, 13), numba.get_num_threads())
    assert cover.tiles > cover.block
    assert cover.tiles % cover.block
    assert cover_of(2, few.M, few.N, (1, 3, 3), 2).tiles == cover_of(2, few.M, few.N, (1, 3, 3), 2).block
    for shape in (several, few):
        assert error(NAMES[2], shape) <= 1, shape


def test_from_16_channels_on_it_is_as_accurate_as_a_sum_and_with_few_as_it_declares():
    tight = ConvShape(3, 1, 16, 60)
    found = {m: error(name, tight) for m, name in NAMES.items()}
    assert found[2] <= 4
    assert 1 < found[4] <= 16, "more than a sum explains, which is why it declares its rounding"
    for m, name in NAMES.items():
        assert get_kernel(name).rounding(tight) == {2: 4, 4: 16}[m]
        many = ConvShape(3, 16, 16, 60)
        assert get_kernel(name).rounding(many) == 1
        assert error(name, many) <= 1


@pytest.mark.parametrize("shape", [ConvShape(3, 4, 4, 5, stride=2), ConvShape(5, 4, 4, 5), ConvShape(3, 4, 4, 5, dilation=2)])
def test_other_windows_and_strides_are_refused(shape):
    problem = Problem.draw("standard", shape, np.random.default_rng(0))
    for name in NAMES.values():
        assert get_kernel(name).refuses(shape) in ("it takes windows of 3 x 3 and stride 1", "it takes no dilation")
    with pytest.raises(KernelError, match=r"it takes windows of 3 x 3 and stride 1|it takes no dilation"):
        get_kernel(NAMES[2])(problem.F, *problem.weights, stride=shape.stride, dilation=shape.dilation)


def test_the_peak_is_no_roof_for_what_beyond_peak():
    """It may be faster than the peak, which then was not disturbed; of the others eta and the roofline stay."""
    shape = ConvShape(3, 64, 64, 28)
    least = 2 * 9 * 64 * 64 * 28 * 28 / made.PEAK_FLOPS  # seconds, of a kernel at the peak
    tiled, winograd = made.declared("cpu.standard.tiled"), made.declared("cpu.standard.winograd-4x4")
    winograd = replace(winograd, algorithm="winograd")
    cell = Cell(made.measured(shape, {tiled: 1.25 * least, winograd: 0.5 * least}), made.run())
    assert cell.eta(tiled.name) == pytest.approx(0.8)
    assert np.isfinite(cell.roofline_s(tiled.name))
    assert np.isnan([cell.eta(winograd.name), cell.roofline_s(winograd.name)]).all()
