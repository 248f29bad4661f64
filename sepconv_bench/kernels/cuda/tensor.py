"""The product behind standard, pointwise and fused on tensor cores: the tiled product, multiplied by warps.

A block computes a tile of pixels by channels of G. While one slice of what is summed is multiplied, the next is on its way into
the other half of shared memory, by copies that pass no register; sums are float32. The pixels of a slice are those of F under
one tap of the window; or they are the depthwise convolution, which is rounded to the dtype and never written to memory. Where
the channels of F are no whole 16 bytes, they are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda import stages
from sepconv_bench.kernels.cuda.elements import (
    WORDS,
    elements,
    float_loader,
    float_storer,
    floats_of,
    load_words,
    own_floats,
    store_words,
    words_of,
)
from sepconv_bench.kernels.cuda.launch import Pass, bounds, inlined
from sepconv_bench.kernels.cuda.tensor_core import COLUMNS, ROWS, A_row, B_row, copy_chunk, wait_for_copies, warp_product
from sepconv_bench.kernels.cuda.tensor_tile import ROW_CHUNKS, ROW_WORDS, TensorProduct, swizzled
from sepconv_bench.kernels.cuda.vectors import SIMULATED, fma


@cache
def tensor_pass(product: TensorProduct) -> Pass:
    """`run(F, K_hat, K, G)`; K is packed, and K_hat is read only if `filtered`."""
    tile = product.tile
    TILES_P, TILES_N, SUMS = tile.tiles_p, tile.tiles_n, 4 * tile.tiles_p * tile.tiles_n
    BP, BN, WARPS_P, SLICES = (np.uint32(size) for size in (tile.BP, tile.BN, tile.warps_p, product.slices))
    WARP_P, WARP_N = np.uint32(ROWS * TILES_P), np.uint32(COLUMNS * TILES_N)
    SLICE, A_WORDS, ROW = (np.uint32(words) for words in (tile.slice_words, tile.BP * ROW_WORDS, ROW_WORDS))
    SHARED = 2 * tile.slice_words
    LOADS = tile.BP * ROW_CHUNKS // tile.threads
    REGISTERS = LOADS * elements(product.dtype)
    find_windows, fill_pixels, fill_weights = _window_finder(product), _pixel_filler(product), _weight_filler(product)
    multiply, write = warp_product(TILES_P, TILES_N, ROW_WORDS, product.dtype), _writer(product)
    row_of_A, row_of_B, place = inlined(A_row), inlined(B_row), inlined(swizzled)

    @cuda.jit(**bounds(tile.threads, tile.blocks))
    def run(F, K_hat, K, G):
        # The simulator knows no alignment.
        shared = cuda.shared.array(SHARED, uint32) if SIMULATED else cuda.shared.array(SHARED, uint32, alignment=16)
        thread = uint32(cuda.threadIdx.x)
        first_pixel, first_n = uint32(uint32(cuda.blockIdx.x) * BP), uint32(uint32(cuda.blockIdx.y) * BN)
        lane, warp = uint32(thread & uint32(31)), uint32(thread >> uint32(5))
        warp_pixel, warp_n = uint32((warp % WARPS_P) * WARP_P), uint32((warp // WARPS_P) * WARP_N)
        a_row, a_half = row_of_A(lane)
        b_row, b_half = row_of_B(lane)
        my_a, my_a_chunk = uint32((warp_pixel + a_row) * ROW), uint32(place(a_row, a_half))
        my_b, my_b_chunk = uint32(A_WORDS + (warp_n + b_row) * ROW), uint32(place(b_row, b_half))
        bases = cuda.local.array(LOADS, uint32)
        a = cuda.local.array(REGISTERS, float32)
        find_windows(bases, first_pixel, thread)

        sums = cuda.local.array(SUMS, float32)
        for index in range(SUMS):
            sums[index] = float32(0)
        fill_weights(shared, uint32(A_WORDS), K, uint32(0), thread, first_n)
        fill_pixels(shared, uint32(0), F, K_hat, bases, a, uint32(0), thread)
        step = uint32(0)
        while step < SLICES:
            wait_for_copies()
            cuda.syncthreads()  # this slice is complete, and the one before multiplied
            here, there = uint32((step & uint32(1)) * SLICE), uint32((uint32(1) - (step & uint32(1))) * SLICE)
            if step + uint32(1) < SLICES:
                fill_weights(shared, uint32(there + A_WORDS), K, uint32(step + uint32(1)), thread, first_n)
                fill_pixels(shared, there, F, K_hat, bases, a, uint32(step + uint32(1)), thread)
            multiply(sums, shared, uint32(here + my_a), my_a_chunk, uint32(here + my_b), my_b_chunk)
            step = uint32(step + uint32(1))
        pixel = uint32(first_pixel + warp_pixel + (lane >> uint32(2)))
        write(G, sums, pixel, uint32(first_n + warp_n + (lane & uint32(3)) * uint32(2)))

    return Pass(run, 4, product.grid, tile.threads, tile.blocks, product.dtype)


def _window_finder(product: TensorProduct) -> Callable:
    """`find(bases, first_pixel, thread)`: where the windows of the thread's pixels start, at the channels that it brings.
    Pixels beyond the map repeat the last one."""
    LOADS = _rounds(product.tile.BP, product.tile.threads)
    ROUND, LAST = np.uint32(product.tile.threads // ROW_CHUNKS), np.uint32(product.pixels - 1)
    ELEMENTS, CHUNKS = np.uint32(elements(product.dtype)), np.uint32(ROW_CHUNKS)
    offset = stages.pixel_offset(product.shape.D_G, product.F, product.shape.stride)

    @inlined
    def find(bases, first_pixel, thread):
        for load in LOADS:
            pixel = min(uint32(first_pixel + thread // CHUNKS + uint32(load) * ROUND), LAST)
            bases[load] = uint32(offset(pixel) + (thread % CHUNKS) * ELEMENTS)

    return find


def _rounds(rows: int, threads: int) -> tuple[int, ...]:
    """In which a block's threads, a chunk each, fill that many rows."""
    return tuple(range(rows * ROW_CHUNKS // threads))


def _target(product: TensorProduct) -> Callable:
    """`target(start, thread, load)`: the word at which the thread's chunk of a round lies."""
    ROUND, CHUNKS, ROW = np.uint32(product.tile.threads // ROW_CHUNKS), np.uint32(ROW_CHUNKS), np.uint32(ROW_WORDS)
    place = inlined(swizzled)

    @inlined
    def target(start, thread, load):
        row = uint32(thread // CHUNKS + uint32(load) * ROUND)
        return uint32(start + row * ROW + uint32(place(row, uint32(thread % CHUNKS))) * uint32(WORDS))

    return target


def _weight_filler(product: TensorProduct) -> Callable:
    """`fill(shared, start, K, step, thread, first_n)`: the weights of slice `step`, a row a channel of G."""
    LOADS = _rounds(product.tile.BN, product.tile.threads)
    ROUND, CHUNKS = np.uint32(product.tile.threads // ROW_CHUNKS), np.uint32(ROW_CHUNKS)
    TERMS, BK, ELEMENTS = np.uint32(product.slices * product.BK), np.uint32(product.BK), np.uint32(elements(product.dtype))
    target = _target(product)

    @inlined
    def fill(shared, start, K, step, thread, first_n):
        for load in LOADS:
            n = uint32(first_n + thread // CHUNKS + uint32(load) * ROUND)
            at = uint32(n * TERMS + step * BK + (thread % CHUNKS) * ELEMENTS)
            copy_chunk(shared, target(start, thread, load), K, at, True)

    return fill


def _pixel_filler(product: TensorProduct) -> Callable:
    """`fill(shared, start, F, K_hat, bases, a, step, thread)`: the pixels of slice `step`, by way of a where they are filtered;
    channels after the last are 0."""
    if product.filtered:
        return _filter(product)
    LOADS, CHUNKS, COUNT = _rounds(product.tile.BP, product.tile.threads), np.uint32(ROW_CHUNKS), elements(product.dtype)
    BK, TAP_SLICES, ELEMENTS = np.uint32(product.BK), np.uint32(product.padded_M // product.BK), np.uint32(COUNT)
    D_K, F_ROW, F_PIXEL, M = (np.uint32(size) for size in (product.shape.D_K, product.F.row, product.F.pixel, product.shape.M))
    target, ASYNCHRONOUS = _target(product), product.asynchronous
    load_ragged, words = float_loader(product.dtype, COUNT), words_of(product.dtype)

    @inlined
    def fill(shared, start, F, K_hat, bases, a, step, thread):
        tap, m = uint32(step // TAP_SLICES), uint32((step % TAP_SLICES) * BK)
        mine = uint32(m + (thread % CHUNKS) * ELEMENTS)
        moved = uint32(m + (tap // D_K) * F_ROW + (tap % D_K) * F_PIXEL)
        for load in LOADS:
            at, to = uint32(bases[load] + moved), target(start, thread, load)
            if ASYNCHRONOUS:
                # Where nothing is copied the address must still be one of F.
                copy_chunk(shared, to, F, at if mine < M else uint32(0), mine < M)
            else:
                store_words(shared, to, words(load_ragged(F, at, uint32(M - min(mine, M)))))

    return fill


def _filter(product: TensorProduct) -> Callable:
    """`fill` of `_pixel_filler`, with the depthwise convolution of F, tap by tap in float32."""
    LOADS, CHUNKS = _rounds(product.tile.BP, product.tile.threads), np.uint32(ROW_CHUNKS)
    BK, COUNT, WIDTH = np.uint32(product.BK), elements(product.dtype), product.shape.D_K
    ELEMENTS, PADDED_M, M = (np.uint32(size) for size in (COUNT, product.padded_M, product.shape.M))
    F_ROW, F_PIXEL = np.uint32(product.F.row), np.uint32(product.F.pixel)
    REGISTERS, target, taken = COUNT * len(LOADS), _target(product), own_floats(COUNT)
    floats, words = floats_of(product.dtype), words_of(product.dtype)

    @inlined
    def load_whole(F, at, left):
        return floats(load_words(F, at))

    load = load_whole if product.F_chunks else float_loader(product.dtype, COUNT)

    @inlined
    def fill(shared, start, F, K_hat, bases, a, step, thread):
        m = uint32(step * BK)
        mine = uint32(m + (thread % CHUNKS) * ELEMENTS)
        for index in range(REGISTERS):
            a[index] = float32(0)
        if mine < M:
            for i in range(WIDTH):
                for j in range(WIDTH):
                    weights = floats(load_words(K_hat, uint32(uint32(i * WIDTH + j) * PADDED_M + mine)))
                    for turn in LOADS:
                        at, first = uint32(bases[turn] + m + uint32(i) * F_ROW + uint32(j) * F_PIXEL), turn * COUNT
                        read = load(F, at, uint32(M - mine))
                        for c in range(COUNT):
                            a[first + c] = fma(weights[c], read[c], a[first + c])
        for turn in LOADS:
            store_words(shared, target(start, thread, turn), words(taken(a, turn * COUNT)))

    return fill


def _writer(product: TensorProduct) -> Callable:
    """`write(G, sums, first_pixel, first_n)`: the lane's sums, of which the first is of this pixel and channel: pairs of
    channels, 8 channels apart, of pixels that are 8 apart."""
    TILES_P, TILES_N, PAIRS = product.tile.tiles_p, product.tile.tiles_n, product.G_pairs
    PIXELS, N = np.uint32(product.pixels), np.uint32(product.shape.N)
    offset = stages.pixel_offset(product.shape.D_G, product.G)
    store_pair, store_one = float_storer(product.dtype, 2), float_storer(product.dtype, 1)

    @inlined
    def write(G, sums, first_pixel, first_n):
        for row in range(2 * TILES_P):
            pixel = uint32(first_pixel + uint32(8 * row))
            if pixel < PIXELS:
                start = offset(pixel)
                for j in range(TILES_N):
                    n, first = uint32(first_n + uint32(8 * j)), 4 * (row // 2 * TILES_N + j) + 2 * (row % 2)
                    at = uint32(start + n)
                    if PAIRS:
                        if n < N:
                            store_pair(G, at, (sums[first], sums[first + 1]))
                    else:
                        for c in range(2):
                            if n + uint32(c) < N:
                                store_one(G, uint32(at + uint32(c)), (sums[first + c],))

    return write
