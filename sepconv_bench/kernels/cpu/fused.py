"""Rung 4, fused: separable convolution whose intermediate map never leaves the caches of a core.

A thread takes a strip of rows, filters all their channels into a buffer of its own, and multiplies the buffer with every
panel of the pointwise weights. The filter and the product cut the strip each into its own tiles. Saves over `tiled` the
2 x 4 M D_G^2 bytes of the intermediate map and one launch.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import NamedTuple

import numba
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Blocks, Cut
from sepconv_bench.kernels.cpu.depthwise import filter_tiles
from sepconv_bench.kernels.cpu.layout import (
    FLOAT,
    Map,
    Sizes,
    Taps,
    View,
    aligned,
    as_map,
    packed,
    padded,
    sizes_of,
    view,
    view_after,
)
from sepconv_bench.kernels.cpu.product import Output, Prefetch, Terms, product_tiles
from sepconv_bench.kernels.cpu.region import Region, arguments_of, region, step
from sepconv_bench.kernels.cpu.registers import LINE_FLOATS, Tile, Vectors, host_vectors
from sepconv_bench.kernels.cpu.shares import Shares, share_of, shares_of
from sepconv_bench.kernels.cpu.tiled import TAKES
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS

# Floats between the buffers of two threads. A tile is written down its rows, and the processor fetches the rows that would come
# next for writing: without a gap those are the next thread's, which loses them each time (experiments/README.md).
_APART = 16384


class Buffers(NamedTuple):
    """One buffer a thread, of the filtered channels of a strip: bytes of a buffer, and to its next pixel."""

    address: int
    size: int
    pixel: int


class Weights(NamedTuple):
    """Addresses of the depthwise weights and their bias, and of the pointwise weights, packed, and theirs."""

    K_hat: int
    bias_hat: int
    K_tilde: int
    bias: int


class Strip(NamedTuple):
    """Rows of an image of G, from row k on, and the buffer of their filtered pixels."""

    b: int
    k: int
    rows: int
    buffer: View


class Panel(NamedTuple):
    """A panel of the pointwise weights: its number among those of the thread, and of the output channels from n on."""

    number: int
    n: int
    weights: int
    bias: int


class Cuts(NamedTuple):
    """Pixels of a row of G, in tiles of the filter and in tiles of the product; those of them that are the wide ones."""

    filtered: int
    wide_filtered: int
    multiplied: int
    wide_multiplied: int


@cache
def _strip_products(wide: Tile, narrow: Tile, prefetches: bool, epilogue: bool) -> Dispatcher:
    """A filtered strip times one panel of weights."""
    product = product_tiles(wide, narrow, prefetches, epilogue, inlined=True)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def strip_products(F, strip, G, sizes, shares, cuts, panel, panels):
        terms, output = Terms(1, 1, sizes.M, strip.buffer.pixel), Output(sizes.N - panel.n, True, True, panel.bias)
        tiles, step, fetched = strip.rows * cuts.multiplied, 0, 0
        if prefetches:
            if shares.streams:
                # The next panel of weights, of which each tile fetches its part.
                fetched, step = panel.weights + sizes.M * NR * FLOAT, (NR * FLOAT + tiles - 1) // tiles
            else:
                # The rows of F that the next strip alone sees, of which each tile of each panel fetches its part.
                row, updates = (strip.k + strip.rows - 1) * sizes.stride + sizes.D_K, tiles * panels * sizes.M
                step = (strip.rows * sizes.stride * F.row + updates - 1) // updates
                fetched = view(F, strip.b, row, 0, 0).address + panel.number * tiles * sizes.M * step
        for k in range(strip.rows):
            f, g = view_after(strip.buffer, k * strip.buffer.row), view(G, strip.b, strip.k + k, 0, panel.n)
            for c in range(cuts.multiplied):
                is_wide = c < cuts.wide_multiplied
                product(is_wide, f, terms, panel.weights, g, output, Prefetch(fetched, step))
                width = MR if is_wide else MR - 1
                f, g, fetched = view_after(f, width * f.pixel), view_after(g, width * g.pixel), fetched + sizes.M * step

    return strip_products


@cache
def _filter_strip(pixels: tuple[int, int], D_K: int, stride: int, vectors: Vectors, epilogue: bool) -> Dispatcher:
    """All channels of a strip, filtered into its buffer: in bands, and down each column of a band."""
    filter_one = filter_tiles(pixels, D_K, stride, vectors, epilogue=epilogue)
    MR, band = pixels[0], blocking.filtered_band(D_K, vectors)

    @njit(error_model="numpy")
    def filter_strip(F, taps, strip, sizes, cuts):
        for k in range(0, strip.rows, band):
            rows = min(band, strip.rows - k)
            f, g = view(F, strip.b, (strip.k + k) * stride, 0, 0), view_after(strip.buffer, k * strip.buffer.row)
            for c in range(cuts.filtered):
                is_wide = c < cuts.wide_filtered
                filter_one(is_wide, f, taps, g, rows, 0, sizes.M)
                width = MR if is_wide else MR - 1
                f, g = view_after(f, width * stride * f.pixel), view_after(g, width * g.pixel)

    return filter_strip


@compile_once
def _separable(
    filtered: tuple[int, int],
    multiplied: tuple[tuple[int, int], tuple[int, int]],
    D_K: int,
    stride: int,
    vectors: Vectors,
    prefetches: bool,
    epilogue: bool,
) -> Dispatcher:
    """Separable convolution by tiles and panels of the larger and the smaller sizes of each cut: of pixels that are `filtered`,
    and of pixels and vectors that are `multiplied`."""
    (MR, less), (NV, fewer) = multiplied
    lanes, NR = vectors.lanes, NV * vectors.lanes
    filter_strip = _filter_strip(filtered, D_K, stride, vectors, epilogue)
    arguments = arguments_of(Map, Weights, Buffers, Map, Sizes, Shares, Cuts)
    full_panel, last_panel = (
        _strip_products(Tile(MR, each, lanes), Tile(less, each, lanes), prefetches, epilogue) for each in (NV, fewer)
    )

    @njit(error_model="numpy")
    def share(F, weights, buffer, G, sizes, shares, cuts, rows, panels):
        taps, u = Taps(weights.K_hat, sizes.M * FLOAT, weights.bias_hat), rows[0]
        while u < rows[1]:
            b, k = u // sizes.rows, u % sizes.rows
            strip = Strip(b, k, min(shares.tiles_block, rows[1] - u, sizes.rows - k), buffer)
            filter_strip(F, taps, strip, sizes, cuts)
            for p in range(panels[0], panels[1]):
                n = p * NR - max(0, p - shares.wide_panels) * lanes
                w, bias = weights.K_tilde + n * sizes.M * FLOAT, weights.bias + n * FLOAT
                panel, count = Panel(p - panels[0], n, w, bias), panels[1] - panels[0]
                if p < shares.wide_panels:
                    full_panel(F, strip, G, sizes, shares, cuts, panel, count)
                else:
                    last_panel(F, strip, G, sizes, shares, cuts, panel, count)
            u += strip.rows

    @njit(error_model="numpy")
    def separable(address, thread):
        F, weights, buffers, G, sizes, shares, cuts = arguments(address)
        buffer = View(buffers.address + thread * buffers.size, sizes.width * buffers.pixel, buffers.pixel)
        share(F, weights, buffer, G, sizes, shares, cuts, *share_of(thread, sizes, shares))

    return separable


@kernel("cpu.separable.fused", library=OURS, passes=("separable",), like="tiled", takes=TAKES)
def separable(problem: Problem) -> Launch:
    return bind_separable(problem.F, problem.K_hat, problem.K_tilde, problem.G, problem.stride)


def bind_separable(
    F: np.ndarray,
    K_hat: np.ndarray,
    K_tilde: np.ndarray,
    G: np.ndarray,
    stride: int,
    biases: tuple[np.ndarray, np.ndarray] | None = None,
    blocks: Blocks | None = None,
) -> Region:
    """With `biases` (M,) and (N,), both maps are min(max(sum + bias, 0), 6). `blocks`: others than those of blocking.py."""
    D_K, _, M = K_hat.shape
    N = K_tilde.shape[1]
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, N, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocks or blocking.product_blocks(rows, sizes.width, M, N, 1, vectors, threads, filter_taps=D_K**2)
    filtered = Cut.balanced(sizes.width, vectors.filtered_tile(D_K)[0])
    # A line more than the channels: pixels a power of two apart would all fall into one set of the cache.
    pixel = (ceil(M / LINE_FLOATS) + 1) * LINE_FLOATS
    strip_rows = min(sizes.rows, blocking.strip_rows(sizes.width * pixel, M * N))
    floats = strip_rows * sizes.width * pixel + _APART
    strips = aligned(blocks.threads * floats)
    weights = packed(K_tilde[np.newaxis, np.newaxis], blocks, vectors.lanes, M)
    bias_hat, bias = (padded(one) for one in biases or (None, None))
    multiplied = (blocks.pixels.lengths, blocks.vectors.lengths)
    prefetches = blocking.prefetches(F.size, M * N)
    shares = shares_of(blocks, sizes.rows, tiles_block=strip_rows, streams=blocking.streams(M * N))
    arguments = (
        as_map(F),
        Weights(K_hat.ctypes.data, bias_hat.ctypes.data, weights.ctypes.data, bias.ctypes.data),
        Buffers(strips.ctypes.data, floats * FLOAT, pixel * FLOAT),
        as_map(G),
        sizes,
        shares._replace(tiles=1),  # what the threads share are rows
        Cuts(filtered.parts, filtered.longer, blocks.pixels.parts, blocks.pixels.longer),
    )
    function = _separable(filtered.lengths, multiplied, D_K, stride, vectors, prefetches, biases is not None)
    return region([step(function, arguments, blocks.threads, (F, K_hat, bias_hat, weights, bias, strips, G))])
