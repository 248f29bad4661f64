"""The product behind pointwise on tensor cores, in TF32: the tiled product, with a warp's instruction instead of a thread's.

A block brings its slices into shared memory as `product` does. F is rounded to TF32 on its way there, the weights when they
are packed; sums are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda import stages
from sepconv_bench.kernels.cuda.block_tile import BlockTile, Product
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.tensor_core import COLUMNS, ROWS, tensor_sums, to_tf32
from sepconv_bench.kernels.cuda.vectors import FLOATS, SIMULATED


@dataclass(frozen=True)
class TensorTile(BlockTile):
    """A warp's sums are TP / 4 x TN tiles of 16 x 8. Rows of both sides are eight floats longer than the tile is wide, so that
    the lanes, four rows and eight neighbours, read from 32 banks."""

    @property
    def pitch(self) -> int:
        return self.BP + 8

    @property
    def weight_pitch(self) -> int:
        return self.BN + 8


TILE = TensorTile(TP=8, TN=4, warps_p=2, warps_n=2, BK=16, blocks=4)  # 64 x 64


@cache
def tensor_pass(product: Product) -> Pass:
    """`run(F, K, G)`; K is packed and rounded to TF32. The product has one split, and no epilogue."""
    tile = product.tile
    TILES_P, TILES_N, BK = tile.TP // 4, tile.TN, tile.BK
    BP, BN, WARPS_P, QUADS = (np.uint32(size) for size in (tile.BP, tile.BN, tile.warps_p, BK // FLOATS))
    WARP_P, WARP_N = np.uint32(ROWS * TILES_P), np.uint32(COLUMNS * TILES_N)
    PITCH, WEIGHT_PITCH = np.uint32(tile.pitch), np.uint32(tile.weight_pitch)
    A_FLOATS, B_FLOATS = np.uint32(BK * tile.pitch), np.uint32(BK * tile.weight_pitch)
    A_SHARED, B_SHARED = 2 * BK * tile.pitch, 2 * BK * tile.weight_pitch
    LOADS, A_REGISTERS, B_REGISTERS = tile.pixel_quads, FLOATS * tile.pixel_quads, FLOATS * tile.weight_quads
    SUMS, SLICES = tile.TP * tile.TN, np.uint32(product.slices)
    find_windows, load_pixels, store_pixels = (
        make(product) for make in (stages.window_finder, stages.pixel_loader, stages.pixel_storer)
    )
    load_weights, store_weights = stages.weight_loader(product), stages.weight_storer(product)
    multiply = tensor_sums(TILES_P, TILES_N, BK, tile.pitch, tile.weight_pitch)
    PIXELS, N = np.uint32(product.pixels), np.uint32(product.shape.N)
    offset = stages.pixel_offset(product.shape.D_G, product.G)

    @cuda.jit(**bounds(tile.threads, tile.blocks))
    def run(F, K, G):
        if SIMULATED:  # which knows no alignment
            A = cuda.shared.array(A_SHARED, float32)
            B = cuda.shared.array(B_SHARED, float32)
        else:
            A = cuda.shared.array(A_SHARED, float32, alignment=16)
            B = cuda.shared.array(B_SHARED, float32, alignment=16)
        thread = uint32(cuda.threadIdx.x)
        first_pixel, first_n = uint32(uint32(cuda.blockIdx.x) * BP), uint32(uint32(cuda.blockIdx.y) * BN)
        lane, warp = uint32(thread & uint32(31)), uint32(thread >> uint32(5))
        group, in_group = uint32(lane >> uint32(2)), uint32(lane & uint32(3))
        warp_pixel, warp_n = uint32((warp % WARPS_P) * WARP_P), uint32((warp // WARPS_P) * WARP_N)
        my_a = uint32(in_group * PITCH + warp_pixel + group)
        my_b = uint32(in_group * WEIGHT_PITCH + warp_n + group)
        # What it brings in: one quad of channels of a few pixels.
        my_quad, my_load = uint32((thread % QUADS) * uint32(4)), uint32(thread // QUADS)
        bases = cuda.local.array(LOADS, uint32)
        find_windows(bases, first_pixel, my_load, my_quad)

        sums = cuda.local.array(SUMS, float32)
        for index in range(SUMS):
            sums[index] = float32(0)
        a, w = cuda.local.array(A_REGISTERS, float32), cuda.local.array(B_REGISTERS, float32)
        # One step more than there are slices: while one is multiplied, the next is on its way into registers.
        step = uint32(0)
        while step <= SLICES:
            buffer = uint32(step & uint32(1))
            if step < SLICES:
                load_weights(w, K, step, thread, first_n)
                load_pixels(a, F, K, bases, step, my_quad)
            if step > uint32(0):
                before = uint32(buffer ^ uint32(1))
                multiply(sums, A, uint32(before * A_FLOATS + my_a), B, uint32(before * B_FLOATS + my_b))
            if step < SLICES:
                for index in range(A_REGISTERS):
                    a[index] = to_tf32(a[index])
                store_pixels(A, a, buffer, my_load, my_quad)
                store_weights(B, w, buffer, thread)
            cuda.syncthreads()
            step = uint32(step + uint32(1))

        for row in range(2 * TILES_P):  # of the lane: two a tile, eight apart
            pixel = uint32(first_pixel + warp_pixel + group + uint32(8 * row))
            if pixel < PIXELS:
                start = offset(pixel)
                for j in range(TILES_N):
                    for c in range(2):
                        n = uint32(first_n + warp_n + uint32(8 * j + c) + uint32(2) * in_group)
                        if n < N:
                            G[uint32(start + n)] = sums[4 * (row // 2 * TILES_N + j) + 2 * (row % 2) + c]

    return Pass(run, 3, product.grid, tile.threads, tile.blocks)
