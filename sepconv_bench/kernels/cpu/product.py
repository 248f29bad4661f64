"""The tiled product of windows and weights: a tile of G, MR pixels by NR channels, stays in registers while its sum runs.

From the inside out: a tile, a panel of weights with the tiles that go through it, and the shares of the threads.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Blocks
from sepconv_bench.kernels.cpu.layout import FLOAT, Map, Sizes, as_map, joined_rows, packed, padded, sizes_of, view
from sepconv_bench.kernels.cpu.region import Region, arguments_of, region, step
from sepconv_bench.kernels.cpu.registers import Tile, host_vectors
from sepconv_bench.kernels.cpu.shares import Shares, first_pixel, next_tile, share_of, shares_of, tile_at
from sepconv_bench.kernels.cpu.tile import added, prefetch, rank_1, relu6, rolled, store, zeros


class Terms(NamedTuple):
    """What a tile sums over: `rows` x `columns` taps of `run` channels each, for pixels `step` bytes apart."""

    rows: int
    columns: int
    run: int
    step: int


class Output(NamedTuple):
    """How a tile's sums become G: its first `channels` channels. They are added to what G holds, but those of the `first` block
    of input channels; after the `last` come the bias, which lies at an address, and ReLU6."""

    channels: int
    first: bool
    last: bool
    bias: int


class Prefetch(NamedTuple):
    """Memory that a tile fetches ahead of its use: from an address on, `step` bytes with each rank-1 update."""

    address: int
    step: int


class Block(NamedTuple):
    """A block of weights, of output channels from n and input channels from m on, and the tiles that go through it."""

    n: int
    m: int
    start: int
    end: int


@cache
def product_tile(tile: Tile, prefetches: bool, epilogue: bool = False, inlined: bool = False) -> Dispatcher:
    """The sum of one tile over all its terms; with or without prefetching, and an epilogue of bias and ReLU6. It is best
    inlined where most arguments are constants, and else a function that has all registers to itself."""
    NR_bytes = tile.NR * FLOAT

    @njit(error_model="numpy", forceinline=inlined)
    def product_tile(f, terms, w, g, output, ahead):
        sums, fetched = zeros(tile), ahead.address
        for i in range(terms.rows):
            for j in range(terms.columns):
                pixel = f.address + i * f.row + j * f.pixel
                for m in range(terms.run):
                    sums = rank_1(tile, sums, pixel + m * FLOAT, terms.step, w)
                    w += NR_bytes
                    rolled()
                    if prefetches:
                        prefetch(fetched)
                        fetched += ahead.step
        if not output.first:
            sums = added(tile, sums, g.address, g.pixel, output.channels)
        if epilogue and output.last:
            sums = relu6(tile, sums, output.bias)
        store(tile, sums, g.address, g.pixel, output.channels)

    return product_tile


@cache
def product_tiles(wide: Tile, narrow: Tile, prefetches: bool, epilogue: bool, inlined: bool = False) -> Dispatcher:
    """A tile of either width."""
    of_wide, of_narrow = (product_tile(tile, prefetches, epilogue, inlined) for tile in (wide, narrow))
    one_width = wide == narrow

    @njit(error_model="numpy", inline="always")
    def product(is_wide, f, terms, w, g, output, ahead):
        if one_width or is_wide:
            of_wide(f, terms, w, g, output, ahead)
        else:
            of_narrow(f, terms, w, g, output, ahead)

    return product


@cache
def product_panel(wide: Tile, narrow: Tile, prefetches: bool, epilogue: bool) -> Dispatcher:
    """Some tiles through one block of weights."""
    product = product_tiles(wide, narrow, prefetches, epilogue)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def product_panel(F, w, bias, G, sizes, shares, block):
        depth = min(shares.depth, sizes.M - block.m)
        terms = terms_of(F, depth, sizes, shares)
        updates = sizes.D_K * sizes.D_K * depth
        output = Output(sizes.N - block.n, block.m == 0, block.m + depth == sizes.M, bias)
        ahead = Prefetch(0, 0)
        at = tile_at(block.start, sizes, shares)
        for u in range(block.start, block.end):
            l, is_wide = first_pixel(at, shares, MR), at.c < shares.wide_tiles
            f = view(F, at.b, at.k * sizes.stride, l * sizes.stride, block.m)
            g = view(G, at.b, at.k, l, block.n)
            at = next_tile(at, 1, sizes, shares)
            if prefetches:
                if shares.streams:
                    # The next block of weights, of which each tile fetches its part.
                    tiles = block.end - block.start
                    step = (NR * FLOAT + tiles - 1) // tiles
                    ahead = Prefetch(w + updates * NR * FLOAT + (u - block.start) * updates * step, step)
                else:
                    # The last row of the next tile's window: those above it have been read.
                    row, l = at.k * sizes.stride + sizes.D_K - 1, first_pixel(at, shares, MR)
                    step = (MR * terms.step + updates - 1) // updates
                    ahead = Prefetch(view(F, at.b, row, l * sizes.stride, 0).address, step)
            product(is_wide, f, terms, w, g, output, ahead)

    return product_panel


@njit(error_model="numpy", inline="always")
def terms_of(F, depth, sizes, shares):
    """Of a sum over `depth` input channels. Where the channels of neighbouring pixels follow each other, a row of taps is one
    run."""
    step = sizes.stride * F.pixel
    if F.pixel == sizes.M * FLOAT and shares.depth == sizes.M:
        return Terms(sizes.D_K, 1, sizes.D_K * sizes.M, step)
    return Terms(sizes.D_K, sizes.D_K, depth, step)


@compile_once
def _standard(pixels: tuple[int, int], vectors: tuple[int, int], lanes: int, prefetches: bool, epilogue: bool) -> Dispatcher:
    """Standard convolution by tiles of the larger `pixels` and `vectors` and, where a row or N does not divide, the smaller."""
    (MR, less), (NV, fewer) = pixels, vectors
    full_panel, last_panel = (
        product_panel(Tile(MR, each, lanes), Tile(less, each, lanes), prefetches, epilogue) for each in (NV, fewer)
    )
    NR, NR_last, arguments = NV * lanes, fewer * lanes, arguments_of(Map, int, int, Map, Sizes, Shares)

    @njit(error_model="numpy")
    def share(F, weights, bias, G, sizes, shares, tiles, panels):
        for start in range(tiles[0], tiles[1], shares.tiles_block):
            end = min(start + shares.tiles_block, tiles[1])
            for p in range(panels[0], panels[1]):
                n = p * NR - max(0, p - shares.wide_panels) * lanes
                for m in range(0, sizes.M, shares.depth):
                    block, biases = Block(n, m, start, end), bias + n * FLOAT
                    if p < shares.wide_panels:
                        w = weights + sizes.D_K * sizes.D_K * (n * sizes.M + m * NR) * FLOAT
                        full_panel(F, w, biases, G, sizes, shares, block)
                    else:
                        w = weights + sizes.D_K * sizes.D_K * (n * sizes.M + m * NR_last) * FLOAT
                        last_panel(F, w, biases, G, sizes, shares, block)

    @njit(error_model="numpy")
    def standard(address, thread):
        F, weights, bias, G, sizes, shares = arguments(address)
        share(F, weights, bias, G, sizes, shares, *share_of(thread, sizes, shares))

    return standard


def bind_standard(
    F: np.ndarray,
    K: np.ndarray,
    G: np.ndarray,
    stride: int,
    bias: np.ndarray | None = None,
    blocks: Blocks | None = None,
) -> Region:
    """With a `bias` (N,), G is min(max(sum + bias, 0), 6). `blocks`: others than those of blocking.py."""
    D_K, _, M, N = K.shape
    vectors = host_vectors()
    sizes = sizes_of(D_K, M, N, stride, G)
    rows, threads = sizes.batch * sizes.rows, numba.get_num_threads()
    blocks = blocks or blocking.product_blocks(rows, sizes.width, M, N, D_K**2, vectors, threads)
    depth = blocking.depth_block(M, D_K**2, blocks.vectors.most * vectors.lanes)
    tiles = blocking.tiles_block(stride**2 * blocks.pixels.most * M, K.size)
    shares = shares_of(blocks, sizes.rows, depth, tiles, blocking.streams(K.size))
    weights, biases = packed(K, blocks, vectors.lanes, depth), padded(bias)
    cut = (blocks.pixels.lengths, blocks.vectors.lengths)
    function = _standard(*cut, vectors.lanes, blocking.prefetches(F.size, K.size), bias is not None)
    arguments = (as_map(F), weights.ctypes.data, biases.ctypes.data, as_map(G), sizes, shares)
    return region([step(function, arguments, blocks.threads, (F, weights, biases, G))])


def bind_pointwise(
    F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray, bias: np.ndarray | None = None, blocks: Blocks | None = None
) -> Region:
    """A pointwise convolution is the standard one with D_K = 1, whose rows may be joined where they follow each other."""
    if all(array.strides[1] == array.shape[2] * array.strides[2] for array in (F, G)):
        F, G = joined_rows(F), joined_rows(G)
    return bind_standard(F, K_tilde[np.newaxis, np.newaxis], G, 1, bias, blocks)
