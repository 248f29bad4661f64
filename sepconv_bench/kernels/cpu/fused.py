"""Rung 4, fused: separable convolution whose intermediate map never leaves L1.

A thread takes a strip of tiles, filters all their channels into a buffer of its own, and multiplies the buffer with every
panel of the pointwise weights. Saves over `tiled` the 2 x 4 M D_G^2 bytes of the intermediate map and one launch.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import NamedTuple

import numba
import numpy as np
from numba import njit, prange
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.depthwise import filter_tiles
from sepconv_bench.kernels.cpu.launch import compiled
from sepconv_bench.kernels.cpu.layout import (
    FLOAT,
    LINE_FLOATS,
    Taps,
    View,
    aligned,
    as_map,
    packed,
    padded,
    sizes_of,
    view,
)
from sepconv_bench.kernels.cpu.product import Output, Prefetch, Terms, product_tiles
from sepconv_bench.kernels.cpu.registers import Tile, Vectors, host_vectors
from sepconv_bench.kernels.cpu.shares import first_pixel, next_tile, rows_below, share_of, shares_of, tile_at
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS


class Buffers(NamedTuple):
    """One buffer a thread, of the filtered channels of a strip of tiles: bytes of a buffer, and to its next pixel."""

    address: int
    size: int
    pixel: int


class Weights(NamedTuple):
    """Addresses of the depthwise weights and their bias, and of the pointwise weights, packed, and theirs."""

    K_hat: int
    bias_hat: int
    K_tilde: int
    bias: int


class Panel(NamedTuple):
    """A panel of the pointwise weights, of output channels from n on, and the tiles of the strip that it is for."""

    number: int
    n: int
    start: int
    end: int


@cache
def _strip_products(wide: Tile, narrow: Tile, prefetches: bool, epilogue: bool) -> Dispatcher:
    """A strip of filtered tiles times one panel of weights."""
    product = product_tiles(wide, narrow, prefetches, epilogue, inlined=True)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def strip_products(F, strip, w, bias, G, sizes, shares, panel):
        terms, output = Terms(1, 1, sizes.M, strip.pixel), Output(sizes.N - panel.n, True, True, bias)
        ahead = Prefetch(0, 0)
        at = tile_at(panel.start, sizes, shares)
        for u in range(panel.start, panel.end):
            l, is_wide = first_pixel(at, shares, MR), at.c < shares.wide_tiles
            if prefetches:
                if shares.streams:
                    # The next panel of weights, of which each tile fetches its part.
                    tiles = panel.end - panel.start
                    step = (NR * FLOAT + tiles - 1) // tiles
                    ahead = Prefetch(w + sizes.M * NR * FLOAT + (u - panel.start) * sizes.M * step, step)
                else:
                    # A row of the window of the tile to the right, with each panel the one above.
                    row = at.k * sizes.stride + sizes.D_K - 1 - panel.number % sizes.D_K
                    step = (MR * sizes.stride * F.pixel + sizes.M - 1) // sizes.M
                    ahead = Prefetch(view(F, at.b, row, (l + MR) * sizes.stride, 0).address, step)
            f = View(strip.address + (u - panel.start) * strip.row, strip.row, strip.pixel)
            product(is_wide, f, terms, w, view(G, at.b, at.k, l, panel.n), output, ahead)
            at = next_tile(at, 1, sizes, shares)

    return strip_products


@compile_once
def _separable(
    cut: tuple[tuple[int, int], tuple[int, int]],
    D_K: int,
    stride: int,
    vectors: Vectors,
    prefetches: bool,
    epilogue: bool,
    parallel: bool,
) -> Dispatcher:
    """Separable convolution by tiles and panels of the larger and the smaller sizes of each `cut`, of pixels and of vectors."""
    (MR, less), (NV, fewer) = cut
    lanes, NR = vectors.lanes, NV * vectors.lanes
    filter_one = filter_tiles((MR, less), D_K, stride, vectors, epilogue=epilogue)
    full_panel, last_panel = (
        _strip_products(Tile(MR, each, lanes), Tile(less, each, lanes), prefetches, epilogue) for each in (NV, fewer)
    )

    @njit(error_model="numpy")
    def filter_strip(F, taps, strip, sizes, shares, start, end):
        u = start
        at = tile_at(u, sizes, shares)
        while u < end:
            l, is_wide = first_pixel(at, shares, MR), at.c < shares.wide_tiles
            rows = min(rows_below(at, shares), end - u)
            f = view(F, at.b, at.k * sizes.stride, l * sizes.stride, 0)
            g = View(strip.address + (u - start) * strip.row, strip.row, strip.pixel)
            filter_one(is_wide, f, taps, g, rows, 0, sizes.M)
            u += rows
            at = next_tile(at, rows, sizes, shares)

    @njit(error_model="numpy")
    def share(F, weights, strip, G, sizes, shares, tiles, panels):
        taps = Taps(weights.K_hat, sizes.M * FLOAT, weights.bias_hat)
        for start in range(tiles[0], tiles[1], shares.tiles_block):
            end = min(start + shares.tiles_block, tiles[1])
            filter_strip(F, taps, strip, sizes, shares, start, end)
            for p in range(panels[0], panels[1]):
                n = p * NR - max(0, p - shares.wide_panels) * lanes
                w, bias, panel = weights.K_tilde + n * sizes.M * FLOAT, weights.bias + n * FLOAT, Panel(p, n, start, end)
                if p < shares.wide_panels:
                    full_panel(F, strip, w, bias, G, sizes, shares, panel)
                else:
                    last_panel(F, strip, w, bias, G, sizes, shares, panel)

    @njit(error_model="numpy", parallel=parallel)
    def separable(F, weights, buffers, G, sizes, shares):
        for thread in prange(shares.tile_threads * shares.panel_threads):
            strip = View(buffers.address + thread * buffers.size, MR * buffers.pixel, buffers.pixel)
            share(F, weights, strip, G, sizes, shares, *share_of(thread, sizes, shares))

    return separable


@kernel("cpu.separable.fused", library=OURS, passes=("separable",), like="tiled")
def separable(problem: Problem) -> Launch:
    return bind_separable(problem.F, problem.K_hat, problem.K_tilde, problem.G, problem.stride)


def bind_separable(
    F: np.ndarray,
    K_hat: np.ndarray,
    K_tilde: np.ndarray,
    G: np.ndarray,
    stride: int,
    biases: tuple[np.ndarray, np.ndarray] | None = None,
) -> Launch:
    """With `biases` (M,) and (N,), both maps are min(max(sum + bias, 0), 6)."""
    D_K, _, M = K_hat.shape
    N = K_tilde.shape[1]
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, N, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocking.product_blocks(rows, sizes.width, M, N, 1, vectors, threads, filter_taps=D_K**2)
    MR = blocks.pixels.most
    # A line more than the channels: pixels a power of two apart would all fall into one set of the cache.
    pixel = (ceil(M / LINE_FLOATS) + 1) * LINE_FLOATS
    tiles = blocking.tiles_block(MR * pixel, M * N)
    strips = aligned(blocks.threads * tiles * MR * pixel)
    weights = packed(K_tilde[np.newaxis, np.newaxis], blocks, vectors.lanes, M)
    bias_hat, bias = (padded(one, vectors.lanes) for one in biases or (None, None))
    cut = (blocks.pixels.lengths, blocks.vectors.lengths)
    prefetches = blocking.prefetches(F.size, M * N)
    return compiled(
        _separable(cut, D_K, stride, vectors, prefetches, biases is not None, blocks.threads > 1),
        as_map(F),
        Weights(K_hat.ctypes.data, bias_hat.ctypes.data, weights.ctypes.data, bias.ctypes.data),
        Buffers(strips.ctypes.data, tiles * MR * pixel * FLOAT, pixel * FLOAT),
        as_map(G),
        sizes,
        shares_of(blocks, sizes.rows, tiles_block=tiles, streams=blocking.streams(M * N)),
        keep=(F, K_hat, bias_hat, weights, bias, strips, G),
    )
