"""The stages of a tiled product, each a device function that is inlined: load a slice into registers, store it to shared
memory, finish the sums, write them to G.

Between loading and storing lies the product of the slice before, so that memory has the time of a product to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
from numba import float32, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.block_tile import Product
from sepconv_bench.kernels.cuda.launch import inlined
from sepconv_bench.kernels.cuda.vectors import FLOATS, fma, load4, store4


def pixel_offset(D_G: int, layout: Layout, stride: int = 1) -> Callable:
    """`offset(pixel)`: of a pixel of G, counted over images and rows, the index of its first float in a map of this layout;
    with a stride, that of the first float of its window."""
    MAP, WIDTH, STRIDE = np.uint32(D_G**2), np.uint32(D_G), np.uint32(stride)
    IMAGE, ROW, PIXEL = (np.uint32(step) for step in (layout.image, layout.row, layout.pixel))

    @inlined
    def offset(pixel):
        b, kl = uint32(pixel // MAP), uint32(pixel % MAP)
        k, l = uint32(kl // WIDTH), uint32(kl % WIDTH)
        return uint32(b * IMAGE + (k * ROW + l * PIXEL) * STRIDE)

    return offset


# ---------------------------------------------------------------------------------------------- the pixels of a slice


def run_start(product: Product) -> Callable:
    """`start(first, load)`: the pixel with which the run of neighbours starts that a load is part of; `first` is the first that
    the thread loads."""
    RUN, ROUND = product.pixel_run, np.uint32(product.pixel_run * product.tile.threads // (product.tile.BK // FLOATS))

    @inlined
    def start(first, load):
        return uint32(first + uint32(load // RUN) * ROUND)

    return start


def window_finder(product: Product) -> Callable:
    """`find(bases, first_pixel, my_load, my_quad)`: where the windows of the thread's pixels start. Those beyond the map repeat
    the last one, or the last two."""
    LOADS, PIXELS = tuple(range(product.tile.pixel_quads)), np.uint32(product.pixels)
    RUN, start = product.pixel_run, run_start(product)
    offset = pixel_offset(product.shape.D_G, product.F, product.shape.stride)

    @inlined
    def find(bases, first_pixel, my_load, my_quad):
        for load in LOADS:
            pixel = min(start(uint32(first_pixel + my_load), load), uint32(PIXELS - uint32(RUN)))
            bases[load] = uint32(offset(uint32(pixel + uint32(load % RUN))) + my_quad)

    return find


def pixel_loader(product: Product) -> Callable:
    """`load(a, F, K_hat, bases, step, my_quad)`: the thread's quads of slice `step`, of F or of the filtered map; channels
    after the last are 0."""
    if not product.filtered:
        return _window_loader(product)
    return _pair_filter(product) if product.paired else _pixel_filter(product)


def _window_loader(product: Product) -> Callable:
    """F under one tap of the window: the slices of an implicit matrix product."""
    LOADS, REGISTERS = tuple(range(product.tile.pixel_quads)), FLOATS * product.tile.pixel_quads
    BK, TAP_SLICES = np.uint32(product.tile.BK), np.uint32(product.padded_M // product.tile.BK)
    D_K, F_ROW, F_PIXEL = np.uint32(product.shape.D_K), np.uint32(product.F.row), np.uint32(product.F.pixel)
    M, F_VECTORS, EVERY_QUAD = np.uint32(product.shape.M), product.F_vectors, product.shape.M % product.tile.BK == 0

    @inlined
    def load_quads(a, F, K_hat, bases, step, my_quad):
        tap, m = uint32(step // TAP_SLICES), uint32((step % TAP_SLICES) * BK)
        mine = uint32(m + my_quad)
        for index in range(REGISTERS):
            a[index] = float32(0)
        for load in LOADS:
            at = uint32(bases[load] + m + (tap // D_K) * F_ROW + (tap % D_K) * F_PIXEL)
            if F_VECTORS:
                if EVERY_QUAD or mine < M:
                    four = load4(F, at)
                    for c in range(FLOATS):
                        a[load * FLOATS + c] = four[c]
            else:
                for c in range(FLOATS):
                    if mine + uint32(c) < M:
                        a[load * FLOATS + c] = F[uint32(at + uint32(c))]

    return load_quads


def _pixel_filter(product: Product) -> Callable:
    """The depthwise convolution of F, tap by tap."""
    LOADS, WIDTH = tuple(range(product.tile.pixel_quads)), product.shape.D_K
    BK, PADDED_M = np.uint32(product.tile.BK), np.uint32(product.padded_M)
    F_ROW, F_PIXEL = np.uint32(product.F.row), np.uint32(product.F.pixel)
    M, F_VECTORS, EVERY_QUAD = np.uint32(product.shape.M), product.F_vectors, product.shape.M % product.tile.BK == 0
    start = _filter_start(product)

    @inlined
    def filter_pixels(a, F, K_hat, bases, step, my_quad):
        m = uint32(step * BK)
        mine = uint32(m + my_quad)
        start(a, K_hat, mine)
        for i in range(WIDTH):
            for j in range(WIDTH):
                weights = load4(K_hat, uint32(uint32(i * WIDTH + j) * PADDED_M + mine))
                for load in LOADS:
                    at, first = uint32(bases[load] + m + uint32(i) * F_ROW + uint32(j) * F_PIXEL), load * FLOATS
                    if F_VECTORS:
                        if EVERY_QUAD or mine < M:
                            four = load4(F, at)
                            for c in range(FLOATS):
                                a[first + c] = fma(weights[c], four[c], a[first + c])
                    else:
                        for c in range(FLOATS):
                            if mine + uint32(c) < M:
                                a[first + c] = fma(weights[c], F[uint32(at + uint32(c))], a[first + c])

    return filter_pixels


def _pair_filter(product: Product) -> Callable:
    """The depthwise convolution of F for two neighbours at a time: each pixel under both windows is read once."""
    PAIRS, WIDTH = tuple(range(product.tile.pixel_quads // 2)), product.shape.D_K
    BK, PADDED_M = np.uint32(product.tile.BK), np.uint32(product.padded_M)
    F_ROW, F_PIXEL = np.uint32(product.F.row), np.uint32(product.F.pixel)
    M, EVERY_QUAD = np.uint32(product.shape.M), product.shape.M % product.tile.BK == 0
    start = _filter_start(product)

    @inlined
    def filter_pairs(a, F, K_hat, bases, step, my_quad):
        m = uint32(step * BK)
        mine = uint32(m + my_quad)
        start(a, K_hat, mine)
        if EVERY_QUAD or mine < M:
            for pair in PAIRS:
                one, other = 2 * pair * FLOATS, (2 * pair + 1) * FLOATS
                for i in range(WIDTH):
                    at = uint32(bases[2 * pair] + m + uint32(i) * F_ROW)
                    left = load4(F, at)
                    for j in range(WIDTH):
                        weights = load4(K_hat, uint32(uint32(i * WIDTH + j) * PADDED_M + mine))
                        at = uint32(at + F_PIXEL)
                        right = load4(F, at)
                        for c in range(FLOATS):
                            a[one + c] = fma(weights[c], left[c], a[one + c])
                            a[other + c] = fma(weights[c], right[c], a[other + c])
                        left = right

    return filter_pairs


def _filter_start(product: Product) -> Callable:
    """`start(a, K_hat, mine)`: what the taps are added to, the bias of channels from `mine` on, or 0."""
    REGISTERS, EPILOGUE = FLOATS * product.tile.pixel_quads, product.epilogue
    BIAS = np.uint32(product.shape.D_K**2 * product.padded_M)  # after the weights

    @inlined
    def start(a, K_hat, mine):
        for index in range(REGISTERS):
            a[index] = float32(0)
        if EPILOGUE:
            four = load4(K_hat, uint32(BIAS + mine))
            for index in range(REGISTERS):
                a[index] = four[index % FLOATS]

    return start


def pixel_storer(product: Product) -> Callable:
    """`store(A, a, buffer, my_load, my_quad)`: the quads to one of the two buffers, a row a channel; ReLU6 of a filtered
    map comes here."""
    LOADS, PITCH = tuple(range(product.tile.pixel_quads)), np.uint32(product.tile.pitch)
    FLOATS_A = np.uint32(product.tile.BK * product.tile.pitch)
    CLAMPED = product.filtered and product.epilogue
    RUN, start = product.pixel_run, run_start(product)

    @inlined
    def store_quads(A, a, buffer, my_load, my_quad):
        for load in LOADS:
            pixel, first = uint32(start(my_load, load) + uint32(load % RUN)), load * FLOATS
            if CLAMPED:
                for c in range(FLOATS):
                    a[first + c] = min(max(a[first + c], float32(0)), float32(6))
            for c in range(FLOATS):
                A[uint32(buffer * FLOATS_A + (my_quad + uint32(c)) * PITCH + pixel)] = a[first + c]

    return store_quads


# ---------------------------------------------------------------------------------------------- the weights of a slice


def weight_loader(product: Product) -> Callable:
    """`load(w, K, step, thread, first_n)`: the thread's quads of the weights of slice `step`."""
    LOADS, THREADS = tuple(range(product.tile.weight_quads)), np.uint32(product.tile.threads)
    BK, QUADS, PADDED_N = np.uint32(product.tile.BK), np.uint32(product.tile.BN // FLOATS), np.uint32(product.padded_N)

    @inlined
    def load_quads(w, K, step, thread, first_n):
        for load in LOADS:
            slot = uint32(thread + uint32(load) * THREADS)
            row = uint32(step * BK + slot // QUADS)
            four = load4(K, uint32(row * PADDED_N + first_n + (slot % QUADS) * uint32(4)))
            for c in range(FLOATS):
                w[load * FLOATS + c] = four[c]

    return load_quads


def weight_storer(product: Product) -> Callable:
    """`store(B, w, buffer, thread)`: the quads to one of the two buffers, a row a term."""
    LOADS, THREADS = tuple(range(product.tile.weight_quads)), np.uint32(product.tile.threads)
    FLOATS_B, PITCH = np.uint32(product.tile.BK * product.tile.weight_pitch), np.uint32(product.tile.weight_pitch)
    QUADS = np.uint32(product.tile.BN // FLOATS)

    @inlined
    def store_quads(B, w, buffer, thread):
        for load in LOADS:
            slot, first = uint32(thread + uint32(load) * THREADS), load * FLOATS
            at = uint32(buffer * FLOATS_B + (slot // QUADS) * PITCH + (slot % QUADS) * uint32(4))
            store4(B, at, (w[first], w[first + 1], w[first + 2], w[first + 3]))

    return store_quads


# ---------------------------------------------------------------------------------------------- the sums


def sums_writer(product: Product) -> Callable:
    """`write(G, K, sums, pixel, n, split)`: the thread's sums, whose first is of this pixel and channel, to G; with splits to
    the split's part of (splits, pixels, padded_N)."""
    return _parts_writer(product) if product.splits > 1 else _map_writer(product)


def _parts_writer(product: Product) -> Callable:
    TP, TN, QUADS = product.tile.TP, product.tile.TN, tuple(range(product.tile.TN // FLOATS))
    PIXELS, PADDED_N = np.uint32(product.pixels), np.uint32(product.padded_N)

    @inlined
    def write_parts(parts, K, sums, first_pixel, first_n, split):
        for p in range(TP):
            pixel = uint32(first_pixel + uint32(p // FLOATS * 16 + p % FLOATS))
            if pixel < PIXELS:
                row = uint32((split * PIXELS + pixel) * PADDED_N)
                for q in QUADS:
                    first = p * TN + q * FLOATS
                    at = uint32(row + first_n + uint32(32 * q))
                    store4(parts, at, (sums[first], sums[first + 1], sums[first + 2], sums[first + 3]))

    return write_parts


def _map_writer(product: Product) -> Callable:
    TP, TN, QUADS = product.tile.TP, product.tile.TN, tuple(range(product.tile.TN // FLOATS))
    PIXELS, N, VECTORS = np.uint32(product.pixels), np.uint32(product.shape.N), product.G_vectors
    offset, finish, EPILOGUE = pixel_offset(product.shape.D_G, product.G), _finish(product), product.epilogue

    @inlined
    def write_map(G, K, sums, first_pixel, first_n, split):
        if EPILOGUE:
            finish(sums, K, first_n)
        for p in range(TP):
            pixel = uint32(first_pixel + uint32(p // FLOATS * 16 + p % FLOATS))
            if pixel < PIXELS:
                row = offset(pixel)
                for q in QUADS:
                    n, first = uint32(first_n + uint32(32 * q)), p * TN + q * FLOATS
                    if VECTORS:
                        if n < N:
                            store4(G, uint32(row + n), (sums[first], sums[first + 1], sums[first + 2], sums[first + 3]))
                    else:
                        for c in range(FLOATS):
                            if n + uint32(c) < N:
                                G[uint32(row + n + uint32(c))] = sums[first + c]

    return write_map


def _finish(product: Product) -> Callable:
    """`finish(sums, K, first_n)`: bias and ReLU6. The biases lie after the weights."""
    TP, TN, QUADS = product.tile.TP, product.tile.TN, tuple(range(product.tile.TN // FLOATS))
    BIAS = np.uint32(product.slices * product.tile.BK * product.padded_N)

    @inlined
    def finish(sums, K, first_n):
        for q in QUADS:
            four = load4(K, uint32(BIAS + first_n + uint32(32 * q)))
            for p in range(TP):
                for c in range(FLOATS):
                    at = p * TN + q * FLOATS + c
                    sums[at] = min(max(sums[at] + four[c], float32(0)), float32(6))

    return finish


def share_of_slices(product: Product) -> Callable:
    """`share(split)`: the first slice of a split, and the one after its last."""
    SLICES, SHARE = np.uint32(product.slices), np.uint32(ceil(product.slices / product.splits))

    @inlined
    def share(split):
        begin = uint32(split * SHARE)
        return begin, min(uint32(begin + SHARE), SLICES)

    return share
