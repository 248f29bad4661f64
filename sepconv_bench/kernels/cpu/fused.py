"""Rung 4, fused: separable convolution whose intermediate map never leaves L1.

A thread takes a strip of tiles, filters all their channels into a buffer of its own, and multiplies the buffer with every
panel of the pointwise weights. Saves over `tiled` the 2 x 4 M D_G^2 bytes of the intermediate map and one launch.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numba
import numpy as np
from numba import njit, prange
from numba.core.dispatcher import Dispatcher

from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.launch import compiled
from sepconv_bench.kernels.cpu.tile import Tile, Vectors, host_vectors
from sepconv_bench.kernels.cpu.tiled import (
    FLOAT,
    LINE_FLOATS,
    aligned,
    as_map,
    filter_tile,
    first_pixel,
    first_row,
    next_tile,
    packed,
    padded,
    product_tile,
    share_of,
    shares_of,
    sizes_of,
    tile_at,
)
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS


@cache
def _strip_products(wide: Tile, narrow: Tile, asks: bool, ends: bool) -> Dispatcher:
    """A strip of filtered tiles times one panel of weights: NR output channels from n on."""
    of_wide, of_narrow = product_tile(wide, asks, ends), product_tile(narrow, asks, ends)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def strip_products(F, strip, pixel, w, G, sizes, shares, n, p, start, end, bias):
        tiles = end - start
        ahead, pace = 0, 0
        b, band, k, c = tile_at(start, sizes, shares)
        for u in range(start, end):
            l, is_wide = first_pixel(c, shares, MR), c < shares.wide_tiles
            if asks:
                if shares.streams:
                    # The next panel of weights, of which each tile asks for its part.
                    pace = (NR * FLOAT + tiles - 1) // tiles
                    ahead = w + sizes.M * NR * FLOAT + (u - start) * sizes.M * pace
                else:
                    # A row of the window of the tile to the right, with each panel the one above.
                    row = k * sizes.stride + sizes.D_K - 1 - p % sizes.D_K
                    ahead = F.address + b * F.image + row * F.row + (l + MR) * sizes.stride * F.pixel
                    pace = (MR * sizes.stride * F.pixel + sizes.M - 1) // sizes.M
            f = strip + (u - start) * MR * pixel
            g = G.address + b * G.image + k * G.row + l * G.pixel + n * FLOAT
            if is_wide:
                of_wide(f, pixel, 0, 0, w, 1, 1, sizes.M, g, G.pixel, sizes.N - n, True, ahead, pace, True, bias)
            else:
                of_narrow(f, pixel, 0, 0, w, 1, 1, sizes.M, g, G.pixel, sizes.N - n, True, ahead, pace, True, bias)
            b, band, k, c = next_tile(b, band, k, c, 1, sizes, shares)

    return strip_products


@cache
def _separable(
    cut: tuple[tuple[int, int], tuple[int, int]],
    D_K: int,
    stride: int,
    vectors: Vectors,
    asks: bool,
    ends: bool,
    parallel: bool,
) -> Dispatcher:
    (MR, less), (NV, fewer) = cut
    lanes, NR = vectors.lanes, NV * vectors.lanes
    filter_wide, filter_narrow = (filter_tile(length, D_K, stride, vectors, False, ends) for length in (MR, less))
    full_panel = _strip_products(Tile(MR, NV, lanes), Tile(less, NV, lanes), asks, ends)
    last_panel = _strip_products(Tile(MR, fewer, lanes), Tile(less, fewer, lanes), asks, ends)

    @njit(error_model="numpy")
    def share(F, K_hat, bias_hat, K_tilde, bias, strip, pixel, G, sizes, shares, tiles, panels):
        for start in range(tiles[0], tiles[1], shares.tiles_block):
            end = min(start + shares.tiles_block, tiles[1])
            u = start
            b, band, k, c = tile_at(u, sizes, shares)
            while u < end:
                l, is_wide = first_pixel(c, shares, MR), c < shares.wide_tiles
                rows = min(first_row(band + 1, shares) - k, end - u)
                f = F.address + b * F.image + k * sizes.stride * F.row + l * sizes.stride * F.pixel
                g = strip + (u - start) * MR * pixel
                if is_wide:
                    filter_wide(f, F.row, F.pixel, K_hat, sizes.M * FLOAT, rows, g, MR * pixel, pixel, 0, sizes.M, bias_hat)
                else:
                    filter_narrow(f, F.row, F.pixel, K_hat, sizes.M * FLOAT, rows, g, MR * pixel, pixel, 0, sizes.M, bias_hat)
                u += rows
                b, band, k, c = next_tile(b, band, k, c, rows, sizes, shares)
            for p in range(panels[0], panels[1]):
                n = p * NR - max(0, p - shares.wide_panels) * lanes
                w = K_tilde + n * sizes.M * FLOAT
                if p < shares.wide_panels:
                    full_panel(F, strip, pixel, w, G, sizes, shares, n, p, start, end, bias + n * FLOAT)
                else:
                    last_panel(F, strip, pixel, w, G, sizes, shares, n, p, start, end, bias + n * FLOAT)

    @njit(error_model="numpy", parallel=parallel)
    def separable(F, K_hat, bias_hat, K_tilde, bias, strips, strip_bytes, pixel, G, sizes, shares):
        for thread in prange(shares.tile_threads * shares.panel_threads):
            strip = strips + thread * strip_bytes
            share(F, K_hat, bias_hat, K_tilde, bias, strip, pixel, G, sizes, shares, *share_of(thread, sizes, shares))

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
    asks = blocking.asks(F.size, M * N)
    return compiled(
        _separable(cut, D_K, stride, vectors, asks, biases is not None, blocks.threads > 1),
        as_map(F),
        K_hat.ctypes.data,
        bias_hat.ctypes.data,
        weights.ctypes.data,
        bias.ctypes.data,
        strips.ctypes.data,
        tiles * MR * pixel * FLOAT,
        pixel * FLOAT,
        as_map(G),
        sizes,
        shares_of(blocks, sizes.rows, tiles_block=tiles, streams=blocking.streams(M * N)),
        keep=(F, K_hat, bias_hat, weights, bias, strips, G),
    )
