"""The tiled product behind standard, pointwise and fused: pixels of G times channels of G, summed slice by slice.

A block computes a tile of BP pixels by BN channels. Slice after slice of BK of the products' terms goes through shared
memory, twice buffered; each thread keeps TP x TN sums in registers and multiplies what it reads as vectors of four. What a
slice holds of the pixels is either F under one tap of the window (an implicit matrix product, nothing is unrolled in memory),
or the depthwise convolution, computed where it is needed and never written: that is the fused kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.vectors import FLOATS, SIMULATED, fma, load4, outer_sums, store4
from sepconv_bench.model.shapes import ConvShape

_SUM_THREADS, _SUM_BLOCKS = 128, 8


@dataclass(frozen=True)
class Tile:
    """TP x TN sums a thread, threads_p x threads_n of which are a warp's 4 x 8; warps_p x warps_n warps; slices of BK."""

    TP: int
    TN: int
    warps_p: int
    warps_n: int
    BK: int
    blocks: int  # that should fit on a multiprocessor: caps the registers of a thread

    @property
    def BP(self) -> int:
        return 4 * self.TP * self.warps_p

    @property
    def BN(self) -> int:
        return 8 * self.TN * self.warps_n

    @property
    def threads(self) -> int:
        return 32 * self.warps_p * self.warps_n

    @property
    def pitch(self) -> int:
        """Floats from one row of pixels in shared memory to the next: four more, or storing quads of channels would collide."""
        return self.BP + FLOATS

    @property
    def shared_bytes(self) -> int:
        return 4 * 2 * self.BK * (self.pitch + self.BN)


@dataclass(frozen=True)
class Product:
    """What one compiled kernel computes. `filtered`: the pixels' side is the depthwise convolution of F."""

    shape: ConvShape
    F: Layout
    G: Layout
    filtered: bool
    tile: Tile
    splits: int  # shares of the slices, each summed by blocks of its own
    ends: bool = False  # each map, of depthwise too, is min(max(sum + bias, 0), 6)

    @property
    def pixels(self) -> int:
        return self.shape.batch * self.shape.D_G**2

    @property
    def padded_M(self) -> int:
        return self.tile.BK * ceil(self.shape.M / self.tile.BK)

    @property
    def padded_N(self) -> int:
        return self.tile.BN * ceil(self.shape.N / self.tile.BN)

    @property
    def slices(self) -> int:
        return (1 if self.filtered else self.shape.D_K**2) * self.padded_M // self.tile.BK

    @property
    def grid(self) -> tuple[int, int, int]:
        return ceil(self.pixels / self.tile.BP), self.padded_N // self.tile.BN, self.splits

    def packed(self, weights: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Weights (taps, M, N) as the kernel reads them: padded with zeros to whole slices and tiles, and a bias after them."""
        taps, M, N = weights.shape
        packed = np.zeros((taps, self.padded_M, self.padded_N), np.float32)
        packed[:, :M, :N] = weights
        return np.concatenate([packed.reshape(-1), padded(bias, self.padded_N)])

    def packed_filter(self, K_hat: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Depthwise weights (D_K, D_K, M), padded with zeros to whole slices, and a bias after them."""
        packed = np.zeros((self.shape.D_K**2, self.padded_M), np.float32)
        packed[:, : self.shape.M] = K_hat.reshape(-1, self.shape.M)
        return np.concatenate([packed.reshape(-1), padded(bias, self.padded_M)])


def padded(bias: np.ndarray | None, size: int) -> np.ndarray:
    """A bias with zeros up to `size`; nothing where there is none."""
    filled = np.zeros(0 if bias is None else size, np.float32)
    if bias is not None:
        filled[: len(bias)] = bias
    return filled


@cache
def product_pass(product: Product) -> Pass:
    """`run(F, K_hat, K, G)`; K_hat is read only if `filtered`. With splits G is (splits, pixels, padded_N), for `sum_pass`,
    which then ends the sums."""
    tile = product.tile
    TP, TN, BK = tile.TP, tile.TN, tile.BK
    BP, BN, THREADS, PITCH = (np.uint32(size) for size in (tile.BP, tile.BN, tile.threads, tile.pitch))
    WARPS_P, QUADS, N_QUADS = np.uint32(tile.warps_p), np.uint32(BK // FLOATS), np.uint32(tile.BN // FLOATS)
    PIXEL_LOADS = tuple(range(tile.BP * BK // FLOATS // tile.threads))
    WEIGHT_LOADS = tuple(range(BK * tile.BN // FLOATS // tile.threads))
    T_QUADS = tuple(range(TN // FLOATS))
    add_slice = outer_sums(TP, TN, BK, tile.pitch, tile.BN)
    M, N, PADDED_N = np.uint32(product.shape.M), np.uint32(product.shape.N), np.uint32(product.padded_N)
    PIXELS, D_G, MAP = np.uint32(product.pixels), np.uint32(product.shape.D_G), np.uint32(product.shape.D_G**2)
    D_K, STRIDE, PADDED_M = np.uint32(product.shape.D_K), np.uint32(product.shape.stride), np.uint32(product.padded_M)
    F_IMAGE, F_ROW, F_PIXEL = (np.uint32(step) for step in (product.F.image, product.F.row, product.F.pixel))
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (product.G.image, product.G.row, product.G.pixel))
    LOADS_P = len(PIXEL_LOADS)
    SLICES, SHARE = np.uint32(product.slices), np.uint32(ceil(product.slices / product.splits))
    TAP_SLICES = np.uint32(product.padded_M // BK)
    WIDTH = product.shape.D_K
    F_VECTORS = product.F.aligned and product.shape.M % FLOATS == 0
    EVERY_QUAD = product.shape.M % BK == 0
    G_VECTORS = product.G.aligned and product.shape.N % FLOATS == 0
    # Two neighbours in a row share all but the first and the last column of their windows.
    PAIRED = product.filtered and F_VECTORS and product.shape.stride == 1 and product.shape.D_G % 2 == 0 and LOADS_P % 2 == 0
    PAIRS, RUN = tuple(range(LOADS_P // 2)), 2 if PAIRED else 1  # neighbours that a thread brings in
    ROUND = np.uint32(RUN * tile.threads // (BK // FLOATS))  # pixels from one of its runs to the next
    FILTERED, SPLIT, ENDS = product.filtered, product.splits > 1, product.ends
    # Where the biases begin: after the weights.
    BIAS_HAT = np.uint32(product.shape.D_K**2 * product.padded_M)
    BIAS = np.uint32(product.slices * BK * product.padded_N)
    A_FLOATS, B_FLOATS = np.uint32(BK * tile.pitch), np.uint32(BK * tile.BN)
    A_SHARED, B_SHARED = 2 * BK * tile.pitch, 2 * BK * tile.BN
    A_REGISTERS, B_REGISTERS, SUMS = FLOATS * len(PIXEL_LOADS), FLOATS * len(WEIGHT_LOADS), TP * TN

    @cuda.jit(**bounds(tile.threads, tile.blocks))
    def run(F, K_hat, K, G):
        if SIMULATED:  # which knows no alignment
            A = cuda.shared.array(A_SHARED, float32)
            B = cuda.shared.array(B_SHARED, float32)
        else:
            A = cuda.shared.array(A_SHARED, float32, alignment=16)
            B = cuda.shared.array(B_SHARED, float32, alignment=16)
        thread = uint32(cuda.threadIdx.x)
        first_pixel, first_n = uint32(uint32(cuda.blockIdx.x) * BP), uint32(uint32(cuda.blockIdx.y) * BN)
        lane, warp = uint32(thread & uint32(31)), uint32(thread >> uint32(5))
        my_pixel = uint32((warp % WARPS_P) * uint32(4 * TP) + (lane >> uint32(3)) * uint32(4))
        my_n = uint32((warp // WARPS_P) * uint32(8 * TN) + (lane & uint32(7)) * uint32(4))

        # A thread brings in one quad of channels of a few pixels; those beyond the map repeat the last one, or the last two.
        my_quad, my_load = uint32((thread % QUADS) * uint32(4)), uint32((thread // QUADS) * uint32(RUN))
        bases = cuda.local.array(LOADS_P, uint32)
        for load in PIXEL_LOADS:
            pixel = min(uint32(first_pixel + my_load + uint32(load // RUN) * ROUND), uint32(PIXELS - uint32(RUN)))
            pixel = uint32(pixel + uint32(load % RUN))
            b, kl = uint32(pixel // MAP), uint32(pixel % MAP)
            k, l = uint32(kl // D_G), uint32(kl % D_G)
            bases[load] = uint32(b * F_IMAGE + (k * F_ROW + l * F_PIXEL) * STRIDE + my_quad)

        sums = cuda.local.array(SUMS, float32)
        for index in range(SUMS):
            sums[index] = float32(0)
        a, w = cuda.local.array(A_REGISTERS, float32), cuda.local.array(B_REGISTERS, float32)
        n_terms = cuda.local.array(TN, float32)
        begin = uint32(uint32(cuda.blockIdx.z) * SHARE)
        end = min(uint32(begin + SHARE), SLICES)
        # One step more than there are slices: while one is multiplied, the next is on its way into registers.
        step = begin
        while step <= end:
            now = uint32(step & uint32(1))
            if step < end:
                tap, m = uint32(step // TAP_SLICES), uint32((step % TAP_SLICES) * uint32(BK))
                for load in WEIGHT_LOADS:
                    slot = uint32(thread + uint32(load) * THREADS)
                    term, quad = uint32(slot // N_QUADS), uint32(slot % N_QUADS)
                    row = uint32(step * uint32(BK) + term)
                    four = load4(K, uint32(row * PADDED_N + first_n + quad * uint32(4)))
                    for c in range(FLOATS):
                        w[load * FLOATS + c] = four[c]
                mine = uint32(m + my_quad)
                for index in range(A_REGISTERS):
                    a[index] = float32(0)
                if FILTERED and ENDS:
                    four = load4(K_hat, uint32(BIAS_HAT + mine))
                    for index in range(A_REGISTERS):
                        a[index] = four[index % FLOATS]
                if PAIRED:
                    if EVERY_QUAD or mine < M:
                        for pair in PAIRS:
                            for i in range(WIDTH):
                                at = uint32(bases[2 * pair] + m + uint32(i) * F_ROW)
                                left = load4(F, at)
                                for j in range(WIDTH):
                                    weights = load4(K_hat, uint32(uint32(i * WIDTH + j) * PADDED_M + mine))
                                    at = uint32(at + F_PIXEL)
                                    right = load4(F, at)
                                    for c in range(FLOATS):
                                        one, other = 2 * pair * FLOATS + c, (2 * pair + 1) * FLOATS + c
                                        a[one] = fma(weights[c], left[c], a[one])
                                        a[other] = fma(weights[c], right[c], a[other])
                                    left = right
                elif FILTERED:
                    for i in range(WIDTH):
                        for j in range(WIDTH):
                            weights = load4(K_hat, uint32(uint32(i * WIDTH + j) * PADDED_M + mine))
                            for load in PIXEL_LOADS:
                                at = uint32(bases[load] + m + uint32(i) * F_ROW + uint32(j) * F_PIXEL)
                                if F_VECTORS:
                                    if EVERY_QUAD or mine < M:
                                        four = load4(F, at)
                                        for c in range(FLOATS):
                                            a[load * FLOATS + c] = fma(weights[c], four[c], a[load * FLOATS + c])
                                else:
                                    for c in range(FLOATS):
                                        if mine + uint32(c) < M:
                                            a[load * FLOATS + c] = fma(
                                                weights[c], F[uint32(at + uint32(c))], a[load * FLOATS + c]
                                            )
                else:
                    for load in PIXEL_LOADS:
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
            if step > begin:
                before = uint32(now ^ uint32(1))
                first_a = uint32(before * A_FLOATS + my_pixel)
                add_slice(sums, A, first_a, B, uint32(before * B_FLOATS + my_n))
            if step < end:
                for load in PIXEL_LOADS:
                    pixel = uint32(my_load + uint32(load // RUN) * ROUND + uint32(load % RUN))
                    if FILTERED and ENDS:
                        for c in range(FLOATS):
                            a[load * FLOATS + c] = min(max(a[load * FLOATS + c], float32(0)), float32(6))
                    for c in range(FLOATS):
                        A[uint32(now * A_FLOATS + (my_quad + uint32(c)) * PITCH + pixel)] = a[load * FLOATS + c]
                for load in WEIGHT_LOADS:
                    slot = uint32(thread + uint32(load) * THREADS)
                    at = uint32(now * B_FLOATS + (slot // N_QUADS) * BN + (slot % N_QUADS) * uint32(4))
                    first = load * FLOATS
                    store4(B, at, (w[first], w[first + 1], w[first + 2], w[first + 3]))
            cuda.syncthreads()
            step = uint32(step + uint32(1))

        if ENDS and not SPLIT:
            for q in T_QUADS:
                four = load4(K, uint32(BIAS + first_n + my_n + uint32(32 * q)))
                for c in range(FLOATS):
                    n_terms[q * FLOATS + c] = four[c]
            for p in range(TP):
                for n in range(TN):
                    sums[p * TN + n] = min(max(sums[p * TN + n] + n_terms[n], float32(0)), float32(6))
        for p in range(TP):
            pixel = uint32(first_pixel + my_pixel + uint32(p // FLOATS * 16 + p % FLOATS))
            if pixel < PIXELS:
                b, kl = uint32(pixel // MAP), uint32(pixel % MAP)
                row = uint32(b * G_IMAGE + (kl // D_G) * G_ROW + (kl % D_G) * G_PIXEL)
                if SPLIT:
                    row = uint32((uint32(cuda.blockIdx.z) * PIXELS + pixel) * PADDED_N)
                for q in T_QUADS:
                    n = uint32(first_n + my_n + uint32(32 * q))
                    first = p * TN + q * FLOATS
                    if SPLIT:
                        store4(G, uint32(row + n), (sums[first], sums[first + 1], sums[first + 2], sums[first + 3]))
                    elif G_VECTORS:
                        if n < N:
                            store4(G, uint32(row + n), (sums[first], sums[first + 1], sums[first + 2], sums[first + 3]))
                    else:
                        for c in range(FLOATS):
                            if n + uint32(c) < N:
                                G[uint32(row + n + uint32(c))] = sums[first + c]

    return Pass(run, 4, product.grid, tile.threads, tile.blocks)


@cache
def sum_pass(product: Product) -> Pass:
    """`run(parts, G)`: the sum of what the splits have given, one thread a quad of channels; a bias lies after the parts."""
    SPLITS, PARTS = tuple(range(product.splits)), np.uint32(product.pixels * product.padded_N)
    N, PADDED_N, QUADS = np.uint32(product.shape.N), np.uint32(product.padded_N), np.uint32(ceil(product.shape.N / FLOATS))
    PIXELS, D_G, MAP = np.uint32(product.pixels), np.uint32(product.shape.D_G), np.uint32(product.shape.D_G**2)
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (product.G.image, product.G.row, product.G.pixel))
    G_VECTORS = product.G.aligned and product.shape.N % FLOATS == 0
    ENDS, BIAS = product.ends, np.uint32(product.splits * product.pixels * product.padded_N)

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
        if ENDS:
            four = load4(parts, uint32(BIAS + n))
            for c in range(FLOATS):
                total[c] = min(max(total[c] + four[c], float32(0)), float32(6))
        kl = uint32(pixel % MAP)
        at = uint32((pixel // MAP) * G_IMAGE + (kl // D_G) * G_ROW + (kl % D_G) * G_PIXEL + n)
        if G_VECTORS:
            store4(G, at, (total[0], total[1], total[2], total[3]))
        else:
            for c in range(FLOATS):
                if n + uint32(c) < N:
                    G[uint32(at + uint32(c))] = total[c]

    blocks = ceil(product.pixels * ceil(product.shape.N / FLOATS) / _SUM_THREADS)
    return Pass(run, 2, (blocks, 1, 1), _SUM_THREADS, _SUM_BLOCKS)
