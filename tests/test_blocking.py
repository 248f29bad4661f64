"""Cuts and shares: nothing is left over, nothing is done twice, and no thread idles where there is work for it."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepconv_bench.kernels.cpu.blocking import Blocks, Cut, channel_blocks, depth_block, product_blocks, tiles_block
from sepconv_bench.kernels.cpu.layout import Sizes
from sepconv_bench.kernels.cpu.registers import Vectors
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


def test_a_large_map_is_shared_by_tiles():
    blocks = product_blocks(112, 112, 64, 64, 9, Vectors(16, 32), 2)
    assert (blocks.tile_threads, blocks.panel_threads) == (2, 1)


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(1, 64))
def test_blocks_of_depth_and_of_tiles_are_never_empty(M, taps, NR):
    assert 1 <= depth_block(M, taps, NR) <= M
    assert tiles_block(M * taps, M * NR) >= 1
