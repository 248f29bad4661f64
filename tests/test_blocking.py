"""Cuts and shares: nothing is left over, nothing is done twice, and no thread idles where there is work for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from math import ceil

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import (
    Blocks,
    Cut,
    channel_blocks,
    depth_block,
    fuses,
    product_blocks,
    strip_rows,
    tiles_block,
    update_cycles,
)
from sepconv_bench.kernels.cpu.choice import choose
from sepconv_bench.kernels.cpu.layout import Sizes
from sepconv_bench.kernels.cpu.registers import Vectors, host_vectors
from sepconv_bench.kernels.cpu.shares import first_pixel, next_tile, share_of, shares_of, tile_at
from sepconv_bench.model.grids import GRIDS

WIDTHS = (Vectors(4, 16), Vectors(8, 16), Vectors(16, 32), Vectors(4, 32))


@given(st.integers(1, 5000), st.integers(1, 40))
def test_a_balanced_cut_is_whole_and_its_runs_differ_by_one_at_most(size, most):
    cut = Cut.balanced(size, most)
    assert cut.parts == ceil(size / most)
    assert cut.most <= most
    assert 1 <= cut.longer <= cut.parts
    assert cut.longer * cut.most + (cut.parts - cut.longer) * (cut.most - 1) == size


@given(
    st.integers(1, 200),
    st.integers(1, 300),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.sampled_from([1, 9, 49]),
    st.sampled_from(WIDTHS),
    st.integers(1, 64),
)
def test_blocks_use_the_threads_or_one(rows, width, M, N, taps, vectors, threads):
    blocks = product_blocks(rows, width, M, N, taps, vectors, threads)
    assert blocks.threads in (1, threads)
    assert blocks.pixels.size == width
    assert blocks.vectors.size == ceil(N / vectors.lanes)
    assert blocks.pixels.most <= vectors.max_pixels(blocks.vectors.most)


@pytest.mark.parametrize("threads", [2, 4, 8])
@pytest.mark.parametrize("shape", [s for name in ("default", "mobilenet") for s in GRIDS[name].shapes], ids=str)
def test_both_small_and_large_maps_keep_all_threads_busy(shape, threads):
    """On every shape that is large enough to share, the busiest thread has at most a quarter more than its part.

    The exception are so few tiles and panels that no share is even: 28 rows of one panel for 8 threads.
    """
    blocks = product_blocks(shape.D_G, shape.D_G, shape.M, shape.N, shape.D_K**2, Vectors(16, 32), threads)
    if blocks.threads == 1:
        assert shape.D_K**2 * shape.M * shape.N * shape.D_G**2 < 2_000_000
        return
    tiles, panels = shape.D_G * blocks.pixels.parts, blocks.vectors.parts
    busiest = ceil(tiles / blocks.tile_threads) * ceil(panels / blocks.panel_threads)
    assert busiest <= 1.25 * tiles * panels / threads


AVX2 = Vectors(8, 16)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [s for name in ("default", "mobilenet") for s in GRIDS[name].shapes], ids=str)
def test_a_tile_loads_less_than_it_multiplies(shape, threads):
    """With 16 registers: two loads go with two multiply-adds a cycle, and 14 x 1 has 15 loads for 14. One vector of channels
    leaves no choice."""
    for rows, width, taps in ((shape.D_G, shape.D_G, shape.D_K**2), (1, shape.D_G**2, 1)):
        blocks = product_blocks(rows, width, shape.M, shape.N, taps, AVX2, threads)
        for (MR, _), (NV, _) in product(blocks.pixels.counted(), blocks.vectors.counted()):
            assert NV == 1 or (MR + NV) / (MR * NV) <= 5 / 6
        assert blocks.vectors.most > 1 or AVX2.lanes >= shape.N


def _grids() -> list[ConvShape]:
    return list(dict.fromkeys(shape for name in ("default", "mobilenet", "inception") for shape in GRIDS[name].shapes))


@pytest.mark.parametrize(("vectors", "most"), [*zip(WIDTHS, (0.595, 0.61, 0.54, 0.44), strict=True)], ids=str)
def test_the_chosen_tiles_need_no_more_loads_than_they_did(vectors, most):
    """Loads a multiply-add of the tiles that the kernels choose, the mean over the grids: a gate that needs no clock.
    test_tile.py holds the machine code to the same count."""
    chosen = [product.best.blocks for shape in _grids() for product in choose(shape, vectors, threads=2).products]
    tiles = [(blocks.pixels.most, blocks.vectors.most) for blocks in chosen]
    assert sum((MR + NV) / (MR * NV) for MR, NV in tiles) / len(tiles) <= most


class _AskedError(Exception):
    """What a kernel asks for, in place of what it would be given."""


@pytest.mark.parametrize("shape", [ConvShape(3, 40, 72, 30, batch=2), ConvShape(5, 24, 64, 14, D_G_w=20, stride=2)], ids=str)
@pytest.mark.parametrize("name", ["cpu.standard.tiled", "cpu.pointwise.tiled", "cpu.separable.fused"])
def test_what_is_explained_is_what_the_kernel_chooses(name, shape, monkeypatch):
    if name == "cpu.pointwise.tiled":
        shape = replace(shape, D_K=1, stride=1)

    def stop(*arguments: object, **named: object) -> Blocks:
        raise _AskedError(product_blocks(*arguments, **named))

    kernel = get_kernel(name)
    problem = Problem.draw(kernel.operator, shape, np.random.default_rng(0))
    monkeypatch.setattr(blocking, "product_blocks", stop)
    with pytest.raises(_AskedError) as asked:
        kernel.bind(problem)
    chosen = choose(shape, host_vectors(), numba.get_num_threads())
    assert [product.best.blocks for product in chosen.products if product.kernel == name] == [*asked.value.args]


def test_the_lines_of_a_choice_say_which_tile_and_why():
    """3 x 3, 64 to 128 channels, 14 wide, with AVX2: 4 pixels x 3 vectors are 22 instructions, 3.25 of them a cycle."""
    chosen = choose(ConvShape(3, 64, 128, 14), AVX2, threads=1)
    standard = chosen.products[0]
    assert standard.lines[0] == (
        "cpu.standard.tiled: 4 pixels x 3 vectors, predicted 1.1 M cycles; next 5 x 2 with 1.13 M (+2.7%)"
    )
    assert standard.lines[1] == "  one update takes 6.8 cycles, bound by instructions; 0.58 loads a multiply-add"
    assert standard.best.cycles <= standard.runner_up.cycles
    assert chosen.lines[-1].startswith("separable in a network: fused, in one pass: L2 holds the 32 KB")
    assert "in two passes: L2 has no room for the 1024 KB" in choose(ConvShape(3, 512, 512, 14), AVX2, 1).lines[-1]
    assert choose(ConvShape(1, 8, 8, 1), AVX2, 1).products[0].lines[0].endswith("no other tile fits")


def test_an_uneven_cut_is_charged_for_what_it_is():
    """14 pixels in tiles of 4, 4, 3 and 3 are cheaper than four tiles of 4."""
    assert Cut(14, 4).counted() == [(4, 2), (3, 2)]
    assert Cut(16, 4).counted() == [(4, 4)]
    assert Cut(14, 4).counted(1, 3) == [(4, 1), (3, 1)]
    assert update_cycles(3, 3) < update_cycles(4, 3) < 4 / 3 * update_cycles(3, 3)


@given(st.integers(1, 500), st.integers(1, 14), st.data())
def test_the_runs_of_a_cut_are_counted(size, most, data):
    cut = Cut.balanced(size, most)
    first = data.draw(st.integers(0, cut.parts))
    last = data.draw(st.integers(first, cut.parts))
    lengths = [cut.most] * cut.longer + [cut.most - 1] * (cut.parts - cut.longer)
    assert [length for length, count in cut.counted(first, last) for _ in range(count)] == lengths[first:last]


@settings(deadline=None)  # the first compiles first_row
@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 40), st.integers(1, 14), st.integers(1, 5))
def test_the_tiles_of_all_threads_have_each_pixel_once(batch, rows, width, most, threads):
    pixels = Cut.balanced(width, most)
    shares = shares_of(Blocks(pixels, Cut(1, 1), threads, 1), rows)
    sizes = Sizes(D_K=3, M=1, N=1, stride=1, batch=batch, rows=rows, width=width)
    seen = Counter()
    for thread in range(threads):
        (first, last), _ = share_of.py_func(thread, sizes, shares)
        at = tile_at.py_func(first, sizes, shares)
        for number in range(first, last):
            assert at == tile_at.py_func(number, sizes, shares)
            l, length = first_pixel.py_func(at, shares, pixels.most), pixels.lengths[at.c >= shares.wide_tiles]
            seen.update((at.b, at.k, pixel) for pixel in range(l, l + length))
            at = next_tile.py_func(at, 1, sizes, shares)
    assert seen == dict.fromkeys(product(range(batch), range(rows), range(width)), 1)


def test_small_work_is_not_shared():
    assert product_blocks(7, 7, 16, 16, 1, Vectors(16, 32), 8).threads == 1
    assert channel_blocks(7, 7, 64, 3, Vectors(16, 32), 8).threads == 1
    assert channel_blocks(112, 112, 64, 3, Vectors(16, 32), 8).threads == 8


def test_weights_that_no_cache_holds_are_shared_by_panels_and_not_read_by_all():
    blocks = product_blocks(14, 14, 512, 512, 9, Vectors(16, 32), 2)
    assert (blocks.tile_threads, blocks.panel_threads) == (1, 2)


@pytest.mark.parametrize(("rows", "width", "N", "taps"), [(112, 112, 64, 9), (1, 28 * 28, 128, 1)])
def test_a_map_that_is_more_than_its_weights_is_shared_by_tiles(rows, width, N, taps):
    blocks = product_blocks(rows, width, 64, N, taps, Vectors(16, 32), 2)
    assert (blocks.tile_threads, blocks.panel_threads) == (2, 1)


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(1, 64))
def test_blocks_of_depth_and_of_tiles_are_never_empty(M, taps, NR):
    assert 1 <= depth_block(M, taps, NR) <= M
    assert tiles_block(M * taps, M * NR) >= 1


@pytest.mark.parametrize("shape", GRIDS["mobilenet"].shapes, ids=str)
def test_a_block_is_fused_while_l2_holds_its_weights(shape):
    """Half a megabyte of them: 256 to 512 channels."""
    assert fuses(shape.M * shape.N) == (4 * shape.M * shape.N < 512 * 1024)


@given(st.integers(1, 10**6), st.integers(1, 10**7))
def test_a_strip_is_never_empty(row, weights):
    assert strip_rows(row, weights) >= 1
