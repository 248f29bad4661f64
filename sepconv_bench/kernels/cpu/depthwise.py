"""The tiled depthwise convolution: a tile of MR pixels of a line of channels stays in registers, row by row of its taps.

With 3 x 3 taps and stride 1 a tile rolls down its column instead: all taps and the sums of three rows stay in registers.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Cut
from sepconv_bench.kernels.cpu.layout import FLOAT, Map, Sizes, Taps, as_map, padded, sizes_of, taps_after, view, view_after
from sepconv_bench.kernels.cpu.region import Region, arguments_of, region, step
from sepconv_bench.kernels.cpu.registers import Tile, Vectors, host_vectors
from sepconv_bench.kernels.cpu.shares import Shares, first_pixel, next_tile, rows_below, share_of, shares_of, tile_at
from sepconv_bench.kernels.cpu.tile import channelwise, load_taps, relu6, rolled, store, store_fence, store_nontemporal, zeros


@cache
def filter_row(tile: Tile, D_K: int, stride: int, nontemporal: bool, epilogue: bool = False) -> Dispatcher:
    """One row of a tile in the channels from `first` to `last`, its own at a time. `window` is D_K once more: a loop that is
    not unrolled leaves the registers to the tile."""
    NR, write = tile.NR, store_nontemporal if nontemporal else store

    @njit(error_model="numpy", inline="always")
    def filter_channels(f, taps, g, window, m, channels, count):
        sums = zeros(tile)
        for i in range(window):
            row = load_taps(tile, taps.address + i * D_K * taps.step + m, taps.step, D_K, channels)
            sums = channelwise(tile, sums, row, f.address + i * f.row + m, f.pixel, stride, channels)
            rolled()
        if epilogue:
            sums = relu6(tile, sums, taps.bias + m)
        write(tile, sums, g.address + m, g.pixel, count)

    @njit(error_model="numpy")
    def filter_row(f, taps, g, window, first, last):
        whole = last - (last - first) % NR
        for m in range(first * FLOAT, whole * FLOAT, NR * FLOAT):
            filter_channels(f, taps, g, window, m, None, NR)
        if whole < last:
            left = last - whole
            filter_channels(f, taps, g, window, whole * FLOAT, left, left)

    return filter_row


@cache
def roll_down(tile: Tile, nontemporal: bool, epilogue: bool = False) -> Dispatcher:
    """A vector of channels of a tile down two rows or more, 3 x 3 taps in registers: each row of F is loaded once, for the
    three rows of G that it is part of. `channels` of the vector are there; None says all."""
    lanes, write = tile.lanes, store_nontemporal if nontemporal else store

    @njit(error_model="numpy")
    def roll_down(f, taps, g, rows, channels):
        left = lanes if channels is None else channels
        top = load_taps(tile, taps.address, taps.step, 3, channels)
        middle = load_taps(tile, taps.address + 3 * taps.step, taps.step, 3, channels)
        bottom = load_taps(tile, taps.address + 6 * taps.step, taps.step, 3, channels)
        row, target = f.address, g.address
        below = channelwise(tile, zeros(tile), top, row, f.pixel, 1, channels)
        row += f.row
        here = channelwise(tile, below, middle, row, f.pixel, 1, channels)
        below = channelwise(tile, zeros(tile), top, row, f.pixel, 1, channels)
        for _ in range(rows - 2):
            row += f.row
            done = channelwise(tile, here, bottom, row, f.pixel, 1, channels)
            here = channelwise(tile, below, middle, row, f.pixel, 1, channels)
            below = channelwise(tile, zeros(tile), top, row, f.pixel, 1, channels)
            if epilogue:
                done = relu6(tile, done, taps.bias)
            write(tile, done, target, g.pixel, left)
            target += g.row
        row += f.row
        done = channelwise(tile, here, bottom, row, f.pixel, 1, channels)
        here = channelwise(tile, below, middle, row, f.pixel, 1, channels)
        below = channelwise(tile, here, bottom, row + f.row, f.pixel, 1, channels)
        if epilogue:
            done, below = relu6(tile, done, taps.bias), relu6(tile, below, taps.bias)
        write(tile, done, target, g.pixel, left)
        write(tile, below, target + g.row, g.pixel, left)

    return roll_down


@cache
def filter_tile(
    MR: int, D_K: int, stride: int, vectors: Vectors, nontemporal: bool = False, epilogue: bool = False
) -> Dispatcher:
    """`rows` rows of MR pixels, one below the other, in the channels from `first` to `last`. Non-temporal stores want whole
    vectors that are aligned."""
    pieces = Cut.balanced(MR, max(vectors.max_rolled_pixels(D_K), 1))
    NV = vectors.filtered_tile(D_K)[1]
    by_row = filter_row(Tile(MR, NV, vectors.lanes), D_K, stride, nontemporal, epilogue)
    if D_K == 3 and stride == 1 and pieces.most >= min(MR, 4) and pieces.parts <= 2:
        return _rolling(by_row, pieces.most, MR - pieces.most, vectors.lanes, nontemporal, epilogue)

    @njit(error_model="numpy")
    def filter_tile(f, taps, g, rows, first, last):
        for k in range(rows):
            by_row(view_after(f, k * stride * f.row), taps, view_after(g, k * g.row), D_K, first, last)

    return filter_tile


def _rolling(by_row: Dispatcher, left: int, right: int, lanes: int, nontemporal: bool, epilogue: bool) -> Dispatcher:
    """A tile that rolls down in one piece or in two, `left` and `right` pixels wide; one of a single row does not roll."""
    roll_left, roll_right = (roll_down(Tile(MR, 1, lanes), nontemporal, epilogue) for MR in (left, max(right, 1)))

    @njit(error_model="numpy", inline="always")
    def roll(f, taps, g, rows, channels):
        roll_left(f, taps, g, rows, channels)
        if right:
            roll_right(view_after(f, left * f.pixel), taps, view_after(g, left * g.pixel), rows, channels)

    @njit(error_model="numpy")
    def filter_tile_rolling(f, taps, g, rows, first, last):
        if rows == 1:
            by_row(f, taps, g, 3, first, last)
            return
        whole = last - (last - first) % lanes
        for m in range(first * FLOAT, whole * FLOAT, lanes * FLOAT):
            roll(view_after(f, m), taps_after(taps, m), view_after(g, m), rows, None)
        if whole < last:
            m = whole * FLOAT
            roll(view_after(f, m), taps_after(taps, m), view_after(g, m), rows, last - whole)

    return filter_tile_rolling


@cache
def filter_tiles(
    pixels: tuple[int, int], D_K: int, stride: int, vectors: Vectors, nontemporal: bool = False, epilogue: bool = False
) -> Dispatcher:
    """A tile of either width."""
    of_wide, of_narrow = (filter_tile(MR, D_K, stride, vectors, nontemporal, epilogue) for MR in pixels)

    @njit(error_model="numpy", inline="always")
    def filter_one(is_wide, f, taps, g, rows, first, last):
        if is_wide:
            of_wide(f, taps, g, rows, first, last)
        else:
            of_narrow(f, taps, g, rows, first, last)

    return filter_one


@compile_once
def _depthwise(
    pixels: tuple[int, int], D_K: int, stride: int, vectors: Vectors, nontemporal: bool, epilogue: bool
) -> Dispatcher:
    """Depthwise convolution by tiles of the larger `pixels` and, where a row does not divide, the smaller."""
    filter_one = filter_tiles(pixels, D_K, stride, vectors, nontemporal, epilogue)
    MR, NR = pixels[0], vectors.filtered_tile(D_K)[1] * vectors.lanes
    arguments = arguments_of(Map, int, int, Map, Sizes, Shares)

    @njit(error_model="numpy")
    def share(F, w, bias, G, sizes, shares, tiles, panels):
        taps = Taps(w, sizes.M * FLOAT, bias)
        first, last = panels[0] * NR, min(panels[1] * NR, sizes.M)
        u = tiles[0]
        at = tile_at(u, sizes, shares)
        while u < tiles[1]:
            l, is_wide = first_pixel(at, shares, MR), at.c < shares.wide_tiles
            rows = min(rows_below(at, shares), tiles[1] - u)
            f = view(F, at.b, at.k * sizes.stride, l * sizes.stride, 0)
            filter_one(is_wide, f, taps, view(G, at.b, at.k, l, 0), rows, first, last)
            u += rows
            at = next_tile(at, rows, sizes, shares)
        if nontemporal:
            store_fence()

    @njit(error_model="numpy")
    def depthwise(address, thread):
        F, w, bias, G, sizes, shares = arguments(address)
        share(F, w, bias, G, sizes, shares, *share_of(thread, sizes, shares))

    return depthwise


def bind_depthwise(
    F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, stride: int, bias: np.ndarray | None = None, least_threads: int = 1
) -> Region:
    """With a `bias` (M,), G is min(max(sum + bias, 0), 6)."""
    D_K, _, M = K_hat.shape
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, M, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocking.channel_blocks(rows, sizes.width, M, D_K, vectors, threads, least_threads)
    target, biases = as_map(G), padded(bias)
    nontemporal = blocking.stores_nontemporal(G.size) and not any(each % (vectors.lanes * FLOAT) for each in target)
    function = _depthwise(blocks.pixels.lengths, D_K, stride, vectors, nontemporal, bias is not None)
    shares = shares_of(blocks, sizes.rows, band=blocking.filtered_band(D_K, vectors))
    arguments = (as_map(F), K_hat.ctypes.data, biases.ctypes.data, target, sizes, shares)
    return region([step(function, arguments, blocks.threads, (F, K_hat, biases, G))])
