"""Rung 3, tiled: a tile of G, MR pixels by NR channels, stays in registers while the whole sum runs.

Every float of F that is loaded meets NR weights, every vector of weights MR pixels: L1 has to deliver MR + NV loads for
MR x NV multiply-adds, where `parallel` loads and stores G for each. Weights are packed panel by panel when bound, in
the order in which they are used. Expected over parallel: from what L1 delivers to the peak of the multiply-adds.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import NamedTuple

import numba
import numpy as np
from numba import njit, prange
from numba.core.dispatcher import Dispatcher

from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Blocks, Cut
from sepconv_bench.kernels.cpu.launch import compiled
from sepconv_bench.kernels.cpu.tile import (
    Tile,
    Vectors,
    added,
    channelwise,
    host_vectors,
    load_taps,
    prefetch,
    rank_1,
    relu6,
    rolled,
    settle,
    store,
    store_around,
    zeros,
)
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.operators import DEPTHWISE

FLOAT = 4  # bytes
LINE_FLOATS = 16  # in a cache line of 64 bytes
_BAND_ROWS = 7  # that a tile goes down before the next beside it: their rows of F, two more, are in L1 still


class Map(NamedTuple):
    """A map as compiled code sees it: the address of its first float, and the bytes to the next image, row and pixel."""

    address: int
    image: int
    row: int
    pixel: int


class Sizes(NamedTuple):
    """The sizes of a convolution whose output has `rows` rows of `width` pixels in each of `batch` images."""

    D_K: int
    M: int
    N: int
    stride: int
    batch: int
    rows: int
    width: int


class Shares(NamedTuple):
    """How the work is cut, as compiled code sees it: see Blocks."""

    tiles: int  # in a row
    wide_tiles: int
    band_rows: int
    bands: int  # of rows, in an image
    high_bands: int
    panels: int
    wide_panels: int
    tile_threads: int
    panel_threads: int
    depth: int  # input channels in one block of weights
    tiles_block: int  # tiles that go through a block of weights together
    streams: bool  # no cache holds the weights: the next block is asked for while this one is in use


@njit(error_model="numpy", inline="always")
def tile_at(u, sizes, shares):
    """Image, band, row and column of tile u. Tiles are counted band by band, and down each column of a band: their rows of
    F continue those of the tiles before, which is what the memory's own look-ahead waits for."""
    in_image = sizes.rows * shares.tiles
    b, u = u // in_image, u % in_image
    band = u // (shares.band_rows * shares.tiles)
    height = shares.band_rows
    if band >= shares.high_bands:
        u -= shares.high_bands * height * shares.tiles
        height -= 1
        band = shares.high_bands + u // (height * shares.tiles)
    u %= height * shares.tiles
    return b, band, first_row(band, shares) + u % height, u // height


@njit(error_model="numpy", inline="always")
def first_row(band, shares):
    """Where a band starts: those after the high ones are one row lower each."""
    return band * shares.band_rows - max(0, band - shares.high_bands)


@njit(error_model="numpy", inline="always")
def next_tile(b, band, k, c, rows, sizes, shares):
    """The tile `rows` further, in its column or at the top of the next: additions, where tile_at divides."""
    k += rows
    if k == first_row(band + 1, shares):
        c += 1
        if c == shares.tiles:
            c = 0
            band += 1
            if band == shares.bands:
                band = 0
                b += 1
        k = first_row(band, shares)
    return b, band, k, c


@njit(error_model="numpy", inline="always")
def first_pixel(c, shares, MR):
    """Where in its row a tile of column c starts: those after the wide ones are MR - 1 pixels each."""
    return c * MR - max(0, c - shares.wide_tiles)


@cache
def product_tile(tile: Tile, asks: bool, ends: bool = False) -> Dispatcher:
    """The sum over `rows` x `columns` taps of `run` channels each, for one tile. One that `asks` meanwhile has the memory from
    `ahead` on fetched, `pace` bytes with each rank-1 update; one that `ends` adds `bias` and clamps with the `last` of them."""
    NR_bytes = tile.NR * FLOAT

    @njit(error_model="numpy")
    def product_tile(f, f_step, f_row, f_pixel, w, rows, columns, run, g, g_step, channels, first, ahead, pace, last, bias):
        sums = zeros(tile)
        for i in range(rows):
            for j in range(columns):
                pixel = f + i * f_row + j * f_pixel
                for m in range(run):
                    sums = rank_1(tile, sums, pixel + m * FLOAT, f_step, w)
                    w += NR_bytes
                    rolled()
                    if asks:
                        prefetch(ahead)
                        ahead += pace
        if not first:
            sums = added(tile, sums, g, g_step, channels)
        if ends and last:
            sums = relu6(tile, sums, bias)
        store(tile, sums, g, g_step, channels)

    return product_tile


@cache
def product_panel(wide: Tile, narrow: Tile, asks: bool, ends: bool) -> Dispatcher:
    """Some tiles through one block of weights: the NR output channels from n on, and the input channels from m on."""
    of_wide, of_narrow = product_tile(wide, asks, ends), product_tile(narrow, asks, ends)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def product_panel(F, w, G, sizes, shares, n, m, start, end, bias):
        f_step = sizes.stride * F.pixel
        depth = min(shares.depth, sizes.M - m)
        # Where the channels of neighbouring pixels follow each other, a row of taps is one run.
        if F.pixel == sizes.M * FLOAT and shares.depth == sizes.M:
            columns, run = 1, sizes.D_K * sizes.M
        else:
            columns, run = sizes.D_K, depth
        updates = sizes.D_K * sizes.D_K * depth
        last = m + depth == sizes.M
        tiles = end - start
        ahead, pace = 0, 0
        b, band, k, c = tile_at(start, sizes, shares)
        for u in range(start, end):
            l, is_wide = first_pixel(c, shares, MR), c < shares.wide_tiles
            f = F.address + b * F.image + k * sizes.stride * F.row + l * f_step + m * FLOAT
            g = G.address + b * G.image + k * G.row + l * G.pixel + n * FLOAT
            b, band, k, c = next_tile(b, band, k, c, 1, sizes, shares)
            if asks:
                if shares.streams:
                    # The next block of weights, of which each tile asks for its part.
                    pace = (NR * FLOAT + tiles - 1) // tiles
                    ahead = w + updates * NR * FLOAT + (u - start) * updates * pace
                else:
                    # The last row of the next tile's window: those above it have been read.
                    row = k * sizes.stride + sizes.D_K - 1
                    ahead = F.address + b * F.image + row * F.row + first_pixel(c, shares, MR) * f_step
                    pace = (MR * f_step + updates - 1) // updates
            if is_wide:
                of_wide(
                    f,
                    f_step,
                    F.row,
                    F.pixel,
                    w,
                    sizes.D_K,
                    columns,
                    run,
                    g,
                    G.pixel,
                    sizes.N - n,
                    m == 0,
                    ahead,
                    pace,
                    last,
                    bias,
                )
            else:
                of_narrow(
                    f,
                    f_step,
                    F.row,
                    F.pixel,
                    w,
                    sizes.D_K,
                    columns,
                    run,
                    g,
                    G.pixel,
                    sizes.N - n,
                    m == 0,
                    ahead,
                    pace,
                    last,
                    bias,
                )

    return product_panel


@cache
def _standard(
    pixels: tuple[int, int], vectors: tuple[int, int], lanes: int, asks: bool, ends: bool, parallel: bool
) -> Dispatcher:
    """Standard convolution by tiles of the larger `pixels` and `vectors` and, where a row or N does not divide, the smaller."""
    (MR, less), (NV, fewer) = pixels, vectors
    NR, NR_last = NV * lanes, fewer * lanes
    full_panel = product_panel(Tile(MR, NV, lanes), Tile(less, NV, lanes), asks, ends)
    last_panel = product_panel(Tile(MR, fewer, lanes), Tile(less, fewer, lanes), asks, ends)

    @njit(error_model="numpy")
    def share(F, weights, bias, G, sizes, shares, tiles, panels):
        for start in range(tiles[0], tiles[1], shares.tiles_block):
            end = min(start + shares.tiles_block, tiles[1])
            for p in range(panels[0], panels[1]):
                n = p * NR - max(0, p - shares.wide_panels) * lanes
                for m in range(0, sizes.M, shares.depth):
                    if p < shares.wide_panels:
                        w = weights + sizes.D_K * sizes.D_K * (n * sizes.M + m * NR) * FLOAT
                        full_panel(F, w, G, sizes, shares, n, m, start, end, bias + n * FLOAT)
                    else:
                        w = weights + sizes.D_K * sizes.D_K * (n * sizes.M + m * NR_last) * FLOAT
                        last_panel(F, w, G, sizes, shares, n, m, start, end, bias + n * FLOAT)

    @njit(error_model="numpy", parallel=parallel)
    def standard(F, weights, bias, G, sizes, shares):
        for thread in prange(shares.tile_threads * shares.panel_threads):
            share(F, weights, bias, G, sizes, shares, *share_of(thread, sizes, shares))

    return standard


@njit(error_model="numpy", inline="always")
def share_of(thread, sizes, shares):
    """First tile and the one after the last, first panel and the one after the last, of a thread."""
    t, p = thread // shares.panel_threads, thread % shares.panel_threads
    tiles = sizes.batch * sizes.rows * shares.tiles
    return (
        (tiles * t // shares.tile_threads, tiles * (t + 1) // shares.tile_threads),
        (shares.panels * p // shares.panel_threads, shares.panels * (p + 1) // shares.panel_threads),
    )


@cache
def filter_tile(MR: int, D_K: int, stride: int, vectors: Vectors, around: bool = False, ends: bool = False) -> Dispatcher:
    """Depthwise of `rows` rows of MR pixels, one below the other, in the channels from `first` to `last`; one that
    goes `around` the caches writes to aligned vectors."""
    lanes, pieces = vectors.lanes, Cut.balanced(MR, max(vectors.max_rolled_pixels(D_K), 1))
    by_row = filter_row(Tile(MR, 1, lanes), D_K, stride, around, ends)
    if D_K != 3 or stride != 1 or pieces.most < min(MR, 4) or pieces.parts > 2:

        @njit(error_model="numpy")
        def filter_tile(f, f_row, f_pixel, w, w_tap, rows, g, g_row, g_pixel, first, last, bias):
            for k in range(rows):
                by_row(f + k * stride * f_row, f_row, f_pixel, w, w_tap, D_K, g + k * g_row, g_pixel, first, last, bias)

        return filter_tile

    left, right = pieces.most, MR - pieces.most
    roll_left, roll_right = (roll_down(Tile(pixels, 1, lanes), around, ends) for pixels in (left, max(right, 1)))

    @njit(error_model="numpy")
    def filter_tile_rolling(f, f_row, f_pixel, w, w_tap, rows, g, g_row, g_pixel, first, last, bias):
        if rows == 1:
            by_row(f, f_row, f_pixel, w, w_tap, D_K, g, g_pixel, first, last, bias)
            return
        whole = last - (last - first) % lanes
        for m in range(first, last, lanes):
            c, channels = m * FLOAT, last - m
            if m < whole:
                roll_left(f + c, f_row, f_pixel, w + c, w_tap, rows, g + c, g_row, g_pixel, None, bias + c)
                if right:
                    roll_right(
                        f + c + left * f_pixel,
                        f_row,
                        f_pixel,
                        w + c,
                        w_tap,
                        rows,
                        g + c + left * g_pixel,
                        g_row,
                        g_pixel,
                        None,
                        bias + c,
                    )
            else:
                roll_left(f + c, f_row, f_pixel, w + c, w_tap, rows, g + c, g_row, g_pixel, channels, bias + c)
                if right:
                    roll_right(
                        f + c + left * f_pixel,
                        f_row,
                        f_pixel,
                        w + c,
                        w_tap,
                        rows,
                        g + c + left * g_pixel,
                        g_row,
                        g_pixel,
                        channels,
                        bias + c,
                    )

    return filter_tile_rolling


@cache
def filter_row(tile: Tile, D_K: int, stride: int, around: bool, ends: bool = False) -> Dispatcher:
    """Depthwise of one row of a tile, a vector of channels at a time. `taps` is D_K once more: a loop that is not unrolled
    leaves the registers to the tile."""
    lanes, write = tile.lanes, store_around if around else store

    @njit(error_model="numpy")
    def filter_row(f, f_row, f_pixel, w, w_tap, taps, g, g_pixel, first, last, bias):
        whole = last - (last - first) % lanes
        for m in range(first * FLOAT, whole * FLOAT, lanes * FLOAT):
            sums = zeros(tile)
            for i in range(taps):
                row = load_taps(tile, w + i * D_K * w_tap + m, w_tap, D_K, None)
                sums = channelwise(tile, sums, row, f + i * f_row + m, f_pixel, stride, None)
            if ends:
                sums = relu6(tile, sums, bias + m)
            write(tile, sums, g + m, g_pixel, lanes)
        if whole < last:
            m, left = whole * FLOAT, last - whole
            sums = zeros(tile)
            for i in range(taps):
                row = load_taps(tile, w + i * D_K * w_tap + m, w_tap, D_K, left)
                sums = channelwise(tile, sums, row, f + i * f_row + m, f_pixel, stride, left)
            if ends:
                sums = relu6(tile, sums, bias + m)
            write(tile, sums, g + m, g_pixel, left)

    return filter_row


@cache
def roll_down(tile: Tile, around: bool, ends: bool = False) -> Dispatcher:
    """A vector of channels of a tile down two rows or more, 3 x 3 taps in registers: each row of F is loaded once, for the
    three rows of G that it is part of."""
    lanes, write = tile.lanes, store_around if around else store

    @njit(error_model="numpy")
    def roll_down(f, f_row, f_pixel, w, w_tap, rows, g, g_row, g_pixel, channels, bias):
        left = lanes if channels is None else channels
        top = load_taps(tile, w, w_tap, 3, channels)
        middle = load_taps(tile, w + 3 * w_tap, w_tap, 3, channels)
        bottom = load_taps(tile, w + 6 * w_tap, w_tap, 3, channels)
        below = channelwise(tile, zeros(tile), top, f, f_pixel, 1, channels)
        f += f_row
        here = channelwise(tile, below, middle, f, f_pixel, 1, channels)
        below = channelwise(tile, zeros(tile), top, f, f_pixel, 1, channels)
        for _ in range(rows - 2):
            f += f_row
            done = channelwise(tile, here, bottom, f, f_pixel, 1, channels)
            here = channelwise(tile, below, middle, f, f_pixel, 1, channels)
            below = channelwise(tile, zeros(tile), top, f, f_pixel, 1, channels)
            if ends:
                done = relu6(tile, done, bias)
            write(tile, done, g, g_pixel, left)
            g += g_row
        f += f_row
        done = channelwise(tile, here, bottom, f, f_pixel, 1, channels)
        here = channelwise(tile, below, middle, f, f_pixel, 1, channels)
        below = channelwise(tile, here, bottom, f + f_row, f_pixel, 1, channels)
        if ends:
            done, below = relu6(tile, done, bias), relu6(tile, below, bias)
        write(tile, done, g, g_pixel, left)
        write(tile, below, g + g_row, g_pixel, left)

    return roll_down


@cache
def _depthwise(
    pixels: tuple[int, int], D_K: int, stride: int, vectors: Vectors, around: bool, ends: bool, parallel: bool
) -> Dispatcher:
    of_wide, of_narrow = (filter_tile(length, D_K, stride, vectors, around, ends) for length in pixels)
    MR, lanes = pixels[0], vectors.lanes

    @njit(error_model="numpy")
    def share(F, w, bias, G, sizes, shares, tiles, panels):
        first, last = panels[0] * lanes, min(panels[1] * lanes, sizes.M)
        u = tiles[0]
        b, band, k, c = tile_at(u, sizes, shares)
        while u < tiles[1]:
            l, is_wide = first_pixel(c, shares, MR), c < shares.wide_tiles
            rows = min(first_row(band + 1, shares) - k, tiles[1] - u)
            f = F.address + b * F.image + k * sizes.stride * F.row + l * sizes.stride * F.pixel
            g = G.address + b * G.image + k * G.row + l * G.pixel
            if is_wide:
                of_wide(f, F.row, F.pixel, w, sizes.M * FLOAT, rows, g, G.row, G.pixel, first, last, bias)
            else:
                of_narrow(f, F.row, F.pixel, w, sizes.M * FLOAT, rows, g, G.row, G.pixel, first, last, bias)
            u += rows
            b, band, k, c = next_tile(b, band, k, c, rows, sizes, shares)
        if around:
            settle()

    @njit(error_model="numpy", parallel=parallel)
    def depthwise(F, w, bias, G, sizes, shares):
        for thread in prange(shares.tile_threads * shares.panel_threads):
            share(F, w, bias, G, sizes, shares, *share_of(thread, sizes, shares))

    return depthwise


def bind_standard(F: np.ndarray, K: np.ndarray, G: np.ndarray, stride: int, bias: np.ndarray | None = None) -> Launch:
    """With a `bias` (N,), G is min(max(sum + bias, 0), 6)."""
    D_K, _, M, N = K.shape
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, N, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocking.product_blocks(rows, sizes.width, M, N, D_K**2, vectors, threads)
    depth = blocking.depth_block(M, D_K**2, blocks.vectors.most * vectors.lanes)
    tiles = blocking.tiles_block(stride**2 * blocks.pixels.most * M, K.size)
    shares = shares_of(blocks, sizes.rows, depth, tiles, blocking.streams(K.size))
    weights = packed(K, blocks, vectors.lanes, depth)
    cut = (blocks.pixels.lengths, blocks.vectors.lengths)
    ending = padded(bias, vectors.lanes)
    function = _standard(*cut, vectors.lanes, blocking.asks(F.size, K.size), bias is not None, blocks.threads > 1)
    places = (as_map(F), weights.ctypes.data, ending.ctypes.data, as_map(G))
    return compiled(function, *places, sizes, shares, keep=(F, weights, ending, G))


def bind_depthwise(
    F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, stride: int, bias: np.ndarray | None = None, least_threads: int = 1
) -> Launch:
    """With a `bias` (M,), G is min(max(sum + bias, 0), 6)."""
    D_K, _, M = K_hat.shape
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, M, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocking.channel_blocks(rows, sizes.width, M, D_K, vectors, threads, least_threads)
    to = as_map(G)
    around = blocking.goes_around(G.size) and not any(place % (vectors.lanes * FLOAT) for place in to)
    ending = padded(bias, vectors.lanes)
    function = _depthwise(blocks.pixels.lengths, D_K, stride, vectors, around, bias is not None, blocks.threads > 1)
    places = (as_map(F), K_hat.ctypes.data, ending.ctypes.data, to)
    return compiled(function, *places, sizes, shares_of(blocks, sizes.rows), keep=(F, K_hat, ending, G))


def bind_pointwise(F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray, bias: np.ndarray | None = None) -> Launch:
    """A pointwise convolution is the standard one with D_K = 1, whose rows may be joined where they follow each other."""
    if all(view.strides[1] == view.shape[2] * view.strides[2] for view in (F, G)):
        F, G = _joined(F), _joined(G)
    return bind_standard(F, K_tilde[np.newaxis, np.newaxis], G, 1, bias)


def _joined(view: np.ndarray) -> np.ndarray:
    """A map whose rows, each image's, are one: those of a map that is dense but for its images."""
    batch, D, _, channels = view.shape
    return np.lib.stride_tricks.as_strided(view, (batch, 1, D * D, channels), view.strides)


def as_map(view: np.ndarray) -> Map:
    return Map(view.ctypes.data, *view.strides[:3])


def sizes_of(D_K: int, M: int, N: int, stride: int, G: np.ndarray) -> Sizes:
    return Sizes(D_K, M, N, stride, *G.shape[:3])


def shares_of(blocks: Blocks, rows: int, depth: int = 1, tiles_block: int = 1, streams: bool = False) -> Shares:
    pixels, vectors, bands = blocks.pixels, blocks.vectors, Cut.balanced(rows, _BAND_ROWS)
    cut = (pixels.parts, pixels.longer, bands.most, bands.parts, bands.longer, vectors.parts, vectors.longer)
    return Shares(*cut, blocks.tile_threads, blocks.panel_threads, depth, tiles_block, streams)


def aligned(floats: int) -> np.ndarray:
    """Zeros that start on a cache line."""
    raw = np.zeros(floats + LINE_FLOATS, np.float32)
    first = -raw.ctypes.data // FLOAT % LINE_FLOATS
    return raw[first : first + floats]


def padded(bias: np.ndarray | None, lanes: int) -> np.ndarray:
    """A bias with zeros up to a whole vector; nothing where there is none."""
    filled = aligned(0 if bias is None else -(-len(bias) // lanes) * lanes)
    if bias is not None:
        filled[: len(bias)] = bias
    return filled


def packed(K: np.ndarray, blocks: Blocks, lanes: int, depth: int) -> np.ndarray:
    """K in the order in which tiles read it: panel by panel, in each `depth` input channels at a time, in each tap by tap.

    The channels that the last panel has too many are 0.
    """
    D_K, _, M, _ = K.shape
    weights = aligned(D_K * D_K * M * blocks.vectors.size * lanes)
    first = n = 0
    for panel in range(blocks.vectors.parts):
        NR = (blocks.vectors.most - (panel >= blocks.vectors.longer)) * lanes
        for m in range(0, M, depth):
            part = K[:, :, m : m + depth, n : n + NR]
            block = weights[first : first + D_K * D_K * part.shape[2] * NR].reshape(D_K, D_K, -1, NR)
            block[..., : part.shape[3]] = part
            first += block.size
        n += NR
    return weights


@kernel("cpu.standard.tiled", library=OURS)
def standard(problem: Problem) -> Launch:
    return bind_standard(problem.F, problem.K, problem.G, problem.stride)


@kernel("cpu.depthwise.tiled", library=OURS)
def depthwise(problem: Problem) -> Launch:
    return bind_depthwise(problem.F, problem.K_hat, problem.G, problem.stride)


@kernel("cpu.pointwise.tiled", library=OURS)
def pointwise(problem: Problem) -> Launch:
    return bind_pointwise(problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.tiled", library=OURS)
def separable(problem: Problem) -> Launch:
    """Depthwise into a map that is allocated here, then pointwise: two passes."""
    shape = DEPTHWISE.G_shape(problem.shape)
    G_hat = aligned(prod(shape)).reshape(shape)
    # On as many threads as will read the map: what another core has just written is slow to read.
    rows, (M, N) = shape[0] * shape[1], problem.K_tilde.shape
    readers = blocking.product_blocks(rows, shape[2], M, N, 1, host_vectors(), numba.get_num_threads()).threads
    filter_channels = bind_depthwise(problem.F, problem.K_hat, G_hat, problem.stride, least_threads=readers)
    combine = bind_pointwise(G_hat, problem.K_tilde, problem.G)

    def launch() -> None:
        filter_channels()
        combine()

    return launch
