"""Beside tiled: standard 3 x 3 convolution with stride 1 by Winograd's algorithm, in fewer multiplications.

m x m pixels of G take t^2 multiplications for each pair of channels, t = m + 2, where the sum takes 9 m^2: 2.25 times fewer for
m = 2, 4 times for m = 4. Tiles of t x t pixels of F are transformed, and so are the weights when bound; of both, what is at one
place of a tile makes a product of tiles by M with M by N, on the register tiles of `tiled`; its result is transformed back.
A block of tiles goes through all of that together, in buffers of its thread.

The price is rounding: the transforms add and subtract numbers larger than what is left over. On numbers without a pattern the
result differs from the exact one by up to c / M times what float32 explains of the sum itself, c = 2 for m = 2 and 8 for m = 4
(experiments/winograd_error.py); twice that is allowed. From 16 channels on that is no more than of a sum. Where one pixel is
far larger than those beside it there is no such bound: the error of all pixels of a tile is relative to its largest.
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
from sepconv_bench.kernels.cpu.layout import FLOAT, Map, Sizes, View, aligned, as_map, packed, view, view_after
from sepconv_bench.kernels.cpu.product import Output, Prefetch, Terms, product_tiles
from sepconv_bench.kernels.cpu.region import Region, arguments_of, region, step
from sepconv_bench.kernels.cpu.registers import LINE_FLOATS, Tile, Vectors, host_vectors
from sepconv_bench.kernels.cpu.shares import Shares, share_of, shares_of
from sepconv_bench.kernels.cpu.tiled import TAKES
from sepconv_bench.kernels.cpu.transform import Bounds, matrices, sandwich
from sepconv_bench.kernels.problem import Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.shapes import ConvShape


class Cover(NamedTuple):
    """Tiles of m x m pixels that cover G, whose images have `height` rows of `width` pixels: of an image, the rows of tiles and
    how many in a row; tiles of all images, and of a block."""

    height: int
    width: int
    rows: int
    columns: int
    tiles: int
    block: int


class Buffers(NamedTuple):
    """One pair a thread, of a block's transformed inputs and of their products: bytes of a pair, and from its start to the
    products; of each, to the next place in a tile, and to the next tile."""

    address: int
    size: int
    products: int
    place: int
    place_out: int
    tile: int
    tile_out: int


class Cut(NamedTuple):
    """The tiles of a block, in register tiles of the product; those of them that are the wide ones."""

    parts: int
    wide: int


@cache
def _entered(m: int, lanes: int) -> Dispatcher:
    """B^T d B of all channels of a block's tiles."""
    transformed, t = sandwich(m, lanes, inverse=False), m + 2

    @njit(error_model="numpy")
    def entered(F, inputs, M, cover, pixel, first, last):
        for u in range(first, last):
            b, k, l = u // (cover.rows * cover.columns), u // cover.columns % cover.rows * m, u % cover.columns * m
            rows, columns = cover.height + 2 - k, cover.width + 2 - l
            inside = rows >= t and columns >= t
            f, v = view(F, b, k, l, 0), view_after(inputs, (u - first) * pixel)
            for c in range(0, M, lanes):
                if inside and c + lanes <= M:
                    transformed(view_after(f, c * FLOAT), view_after(v, c * FLOAT), None)
                else:
                    bounds = Bounds(rows, columns, M - c)
                    transformed(view_after(f, c * FLOAT), view_after(v, c * FLOAT), bounds)

    return entered


@cache
def _left(m: int, lanes: int) -> Dispatcher:
    """A^T y A of the output channels from n to `end` of a block's tiles, which is G."""
    transformed = sandwich(m, lanes, inverse=True)

    @njit(error_model="numpy")
    def left(outputs, G, cover, pixel, first, last, n, end):
        for u in range(first, last):
            b, k, l = u // (cover.rows * cover.columns), u // cover.columns % cover.rows * m, u % cover.columns * m
            rows, columns = cover.height - k, cover.width - l
            inside = rows >= m and columns >= m
            y, g = view_after(outputs, (u - first) * pixel), view(G, b, k, l, 0)
            for c in range(n, end, lanes):
                if inside and c + lanes <= end:
                    transformed(view_after(y, c * FLOAT), view_after(g, c * FLOAT), None)
                else:
                    bounds = Bounds(rows, columns, end - c)
                    transformed(view_after(y, c * FLOAT), view_after(g, c * FLOAT), bounds)

    return left


@cache
def _panel(wide: Tile, narrow: Tile, prefetches: bool) -> Dispatcher:
    """One place of all tiles of a block, times a panel of its weights. Each tile fetches its part of the next panel."""
    product = product_tiles(wide, narrow, prefetches, False, inlined=True)
    MR, NR = wide.MR, wide.NR

    @njit(error_model="numpy")
    def panel(inputs, w, outputs, M, cut):
        terms, output = Terms(1, 1, M, inputs.pixel), Output(NR, True, True, 0)
        step = (NR * FLOAT + cut.parts - 1) // cut.parts
        f, g, fetched = inputs, outputs, w + M * NR * FLOAT
        for c in range(cut.parts):
            is_wide = c < cut.wide
            product(is_wide, f, terms, w, g, output, Prefetch(fetched, step))
            width = MR if is_wide else MR - 1
            f, g, fetched = view_after(f, width * f.pixel), view_after(g, width * g.pixel), fetched + M * step

    return panel


@compile_once
def _standard(m: int, multiplied: tuple[tuple[int, int], tuple[int, int]], vectors: Vectors, prefetches: bool) -> Dispatcher:
    """F(m x m, 3 x 3), its products by register tiles of the larger and the smaller sizes of pixels and vectors."""
    (MR, less), (NV, fewer) = multiplied
    lanes, NR, t = vectors.lanes, NV * vectors.lanes, m + 2
    entered, left = _entered(m, lanes), _left(m, lanes)
    arguments = arguments_of(Map, int, Buffers, Map, Sizes, Shares, Cover, Cut)
    full_panel, last_panel = (_panel(Tile(MR, each, lanes), Tile(less, each, lanes), prefetches) for each in (NV, fewer))

    @njit(error_model="numpy", inline="always")
    def start(p, shares):
        return p * NR - max(0, p - shares.wide_panels) * lanes

    @njit(error_model="numpy")
    def share(F, weights, address, buffers, G, sizes, shares, cover, cut, blocks, panels):
        place, place_out, products = buffers.place, buffers.place_out, address + buffers.products
        n, end = start(panels[0], shares), start(panels[1], shares)
        of_a_place = start(shares.panels, shares) * sizes.M * FLOAT
        for block in range(blocks[0], blocks[1]):
            first = block * cover.block
            last = min(first + cover.block, cover.tiles)
            entered(F, View(address, t * place, place), sizes.M, cover, buffers.tile, first, last)
            for at in range(t * t):
                inputs, outputs = (
                    View(address + at * place, 0, buffers.tile),
                    View(products + at * place_out, 0, buffers.tile_out),
                )
                for p in range(panels[0], panels[1]):
                    column = start(p, shares)
                    w, g = weights + at * of_a_place + column * sizes.M * FLOAT, view_after(outputs, column * FLOAT)
                    if p < shares.wide_panels:
                        full_panel(inputs, w, g, sizes.M, cut)
                    else:
                        last_panel(inputs, w, g, sizes.M, cut)
            left(View(products, t * place_out, place_out), G, cover, buffers.tile_out, first, last, n, min(end, sizes.N))

    @njit(error_model="numpy")
    def standard(address, thread):
        F, weights, buffers, G, sizes, shares, cover, cut = arguments(address)
        own = buffers.address + thread * buffers.size
        share(F, weights, own, buffers, G, sizes, shares, cover, cut, *share_of(thread, sizes, shares))

    return standard


def cover_of(m: int, M: int, N: int, G: tuple[int, int, int], threads: int) -> Cover:
    """Blocks whose inputs and products stay in L2, unless all the weights that are read for each do not; as many for each
    thread, where there are so many tiles. G: images, rows and width."""
    batch, rows, columns = G[0], ceil(G[1] / m), ceil(G[2] / m)
    tiles = batch * rows * columns
    most = blocking.winograd_block((m + 2) ** 2, M, N)
    blocks = ceil(tiles / most)
    if tiles > most // 2:
        blocks = ceil(blocks / threads) * threads
    return Cover(*G[1:], rows, columns, tiles, ceil(tiles / blocks))


def bind_winograd(m: int, F: np.ndarray, K: np.ndarray, G: np.ndarray) -> Region:
    M, N = K.shape[2:]
    t, vectors, threads = m + 2, host_vectors(), numba.get_num_threads()
    cover = cover_of(m, M, N, G.shape[:3], threads)
    rows = ceil(cover.tiles / cover.block)
    # A transform takes about as long as twice as many multiply-adds as a tile has places.
    blocks = blocking.product_blocks(rows, cover.block, M, N, t * t, vectors, threads, filter_taps=2 * t * t)
    # A line more than the channels, and than the tiles: steps of a power of two would all fall into one set of the cache.
    tile, tile_out = ((ceil(each / LINE_FLOATS) + 1) * LINE_FLOATS for each in (M, blocks.vectors.size * vectors.lanes))
    place, place_out = (cover.block * each + LINE_FLOATS for each in (tile, tile_out))
    floats = t * t * (place + place_out) + LINE_FLOATS
    require_memory(FLOAT * (blocks.threads * floats + 3 * t * t * M * N), "the transformed weights and maps")
    buffers = aligned(blocks.threads * floats)
    weights = transformed_weights(m, K, blocks, vectors.lanes)
    shares = shares_of(blocks, rows)._replace(tiles=1)  # what the threads share are blocks of tiles
    steps = (floats, t * t * place, place, place_out, tile, tile_out)
    arguments = (
        as_map(F),
        weights.ctypes.data,
        Buffers(buffers.ctypes.data, *(each * FLOAT for each in steps)),
        as_map(G),
        Sizes(3, M, N, 1, 1, rows, 1),
        shares,
        cover,
        Cut(blocks.pixels.parts, blocks.pixels.longer),
    )
    function = _standard(m, (blocks.pixels.lengths, blocks.vectors.lengths), vectors, blocking.streams(weights.size))
    return region([step(function, arguments, blocks.threads, (F, weights, buffers, G))])


def transformed_weights(m: int, K: np.ndarray, blocks: blocking.Blocks, lanes: int) -> np.ndarray:
    """G K G^T, place by place, each packed in panels; computed in float64, and rounded once."""
    transform, places = matrices(m).G, (m + 2) ** 2
    of_a_place = K.shape[2] * blocks.vectors.size * lanes
    weights = aligned(places * of_a_place).reshape(places, of_a_place)
    for at, row in enumerate(weights):
        i, j = divmod(at, m + 2)
        U = np.einsum("i,j,ijmn->mn", transform[i], transform[j], K, optimize=False)
        row[:] = packed(U[np.newaxis, np.newaxis], blocks, lanes, len(U))
    return weights


def _rounding_2x2(shape: ConvShape) -> float:
    return max(1.0, 4 / shape.M)


def _rounding_4x4(shape: ConvShape) -> float:
    return max(1.0, 16 / shape.M)


def _fits(shape: ConvShape) -> str | None:
    return None if shape.D_K == 3 and shape.stride == 1 else "it takes windows of 3 x 3 and stride 1"


@kernel("cpu.standard.winograd-2x2", _fits, library=OURS, algorithm="winograd", rounding=_rounding_2x2, takes=TAKES)
def winograd_2x2(problem: Problem) -> Launch:
    """F(2x2, 3x3): 2.25 times fewer multiplications than theory counts, and nearly as accurate."""
    return bind_winograd(2, problem.F, problem.K, problem.G)


@kernel("cpu.standard.winograd-4x4", _fits, library=OURS, algorithm="winograd", rounding=_rounding_4x4, takes=TAKES)
def winograd_4x4(problem: Problem) -> Launch:
    """F(4x4, 3x3): 4 times fewer multiplications than theory counts, and less accurate."""
    return bind_winograd(4, problem.F, problem.K, problem.G)
