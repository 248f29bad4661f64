"""The tiled product behind standard, pointwise and fused: pixels of G times channels of G, summed slice by slice.

A block computes a tile of BP pixels by BN channels. Slice after slice of BK of the products' terms goes through shared
memory, twice buffered; each thread keeps TP x TN sums in registers and multiplies what it reads as vectors of four. What a
slice holds of the pixels is either F under one tap of the window (an implicit matrix product, nothing is unrolled in memory),
or the depthwise convolution, computed where it is needed and never written: that is the fused kernel.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda import stages
from sepconv_bench.kernels.cuda.block_tile import Product
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.vectors import FLOATS, SIMULATED, load4, outer_sums, store4

_SUM_THREADS, _SUM_BLOCKS = 128, 8


@cache
def product_pass(product: Product) -> Pass:
    """`run(F, K_hat, K, G)`; K_hat is read only if `filtered`. With splits G is (splits, pixels, padded_N), for `sum_pass`,
    which then finishes the sums."""
    tile = product.tile
    TP, TN, BK = tile.TP, tile.TN, tile.BK
    BP, BN, WARPS_P, QUADS = (np.uint32(size) for size in (tile.BP, tile.BN, tile.warps_p, BK // FLOATS))
    A_FLOATS, B_FLOATS = np.uint32(BK * tile.pitch), np.uint32(BK * tile.BN)
    A_SHARED, B_SHARED = 2 * BK * tile.pitch, 2 * BK * tile.BN
    LOADS, A_REGISTERS, B_REGISTERS, SUMS = tile.pixel_quads, FLOATS * tile.pixel_quads, FLOATS * tile.weight_quads, TP * TN
    RUN = np.uint32(product.pixel_run)
    find_windows, share = stages.window_finder(product), stages.share_of_slices(product)
    load_pixels, store_pixels = stages.pixel_loader(product), stages.pixel_storer(product)
    load_weights, store_weights = stages.weight_loader(product), stages.weight_storer(product)
    multiply, write = outer_sums(TP, TN, BK, tile.pitch, tile.BN), stages.sums_writer(product)

    @cuda.jit(**bounds(tile.threads, tile.blocks))
    def run(F, K_hat, K, G):
        if SIMULATED:  # which knows no alignment
            A = cuda.shared.array(A_SHARED, float32)
            B = cuda.shared.array(B_SHARED, float32)
        else:
            A = cuda.shared.array(A_SHARED, float32, alignment=16)
            B = cuda.shared.array(B_SHARED, float32, alignment=16)
        thread, split = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.z)
        first_pixel, first_n = uint32(uint32(cuda.blockIdx.x) * BP), uint32(uint32(cuda.blockIdx.y) * BN)
        # Where the thread's sums are in the tile.
        lane, warp = uint32(thread & uint32(31)), uint32(thread >> uint32(5))
        my_pixel = uint32((warp % WARPS_P) * uint32(4 * TP) + (lane >> uint32(3)) * uint32(4))
        my_n = uint32((warp // WARPS_P) * uint32(8 * TN) + (lane & uint32(7)) * uint32(4))
        # What it brings in: one quad of channels of a few pixels.
        my_quad, my_load = uint32((thread % QUADS) * uint32(4)), uint32((thread // QUADS) * RUN)
        bases = cuda.local.array(LOADS, uint32)
        find_windows(bases, first_pixel, my_load, my_quad)

        sums = cuda.local.array(SUMS, float32)
        for index in range(SUMS):
            sums[index] = float32(0)
        a, w = cuda.local.array(A_REGISTERS, float32), cuda.local.array(B_REGISTERS, float32)
        begin, end = share(split)
        # One step more than there are slices: while one is multiplied, the next is on its way into registers.
        step = begin
        while step <= end:
            buffer = uint32(step & uint32(1))
            if step < end:
                load_weights(w, K, step, thread, first_n)
                load_pixels(a, F, K_hat, bases, step, my_quad)
            if step > begin:
                before = uint32(buffer ^ uint32(1))
                multiply(sums, A, uint32(before * A_FLOATS + my_pixel), B, uint32(before * B_FLOATS + my_n))
            if step < end:
                store_pixels(A, a, buffer, my_load, my_quad)
                store_weights(B, w, buffer, thread)
            cuda.syncthreads()
            step = uint32(step + uint32(1))
        write(G, K, sums, uint32(first_pixel + my_pixel), uint32(first_n + my_n), split)

    return Pass(run, 4, product.grid, tile.threads, tile.blocks)


@cache
def sum_pass(product: Product) -> Pass:
    """`run(parts, G)`: the sum of what the splits have given, one thread a quad of channels; a bias lies after the parts."""
    SPLITS, PARTS = tuple(range(product.splits)), np.uint32(product.pixels * product.padded_N)
    N, PADDED_N, QUADS = np.uint32(product.shape.N), np.uint32(product.padded_N), np.uint32(ceil(product.shape.N / FLOATS))
    PIXELS, G_VECTORS, EPILOGUE = np.uint32(product.pixels), product.G_vectors, product.epilogue
    BIAS = np.uint32(product.splits * product.pixels * product.padded_N)
    offset = stages.pixel_offset(product.shape.D_G, product.G)

    @cuda.jit(**bounds(_SUM_THREADS, _SUM_BLOCKS))
    def run(parts, G):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        pixel, n = uint32(index // QUADS), uint32((index % QUADS) * uint32(4))
        if pixel >= PIXELS:
            return
        total = cuda.local.array(FLOATS, float32)
        for c in range(FLOATS):
            total[c] = float32(0)
        for split in SPLITS:
            four = load4(parts, uint32(uint32(split) * PARTS + pixel * PADDED_N + n))
            for c in range(FLOATS):
                total[c] += four[c]
        if EPILOGUE:
            four = load4(parts, uint32(BIAS + n))
            for c in range(FLOATS):
                total[c] = min(max(total[c] + four[c], float32(0)), float32(6))
        at = uint32(offset(pixel) + n)
        if G_VECTORS:
            store4(G, at, (total[0], total[1], total[2], total[3]))
        else:
            for c in range(FLOATS):
                if n + uint32(c) < N:
                    G[uint32(at + uint32(c))] = total[c]

    blocks = ceil(product.pixels * ceil(product.shape.N / FLOATS) / _SUM_THREADS)
    return Pass(run, 2, (blocks, 1, 1), _SUM_THREADS, _SUM_BLOCKS)
