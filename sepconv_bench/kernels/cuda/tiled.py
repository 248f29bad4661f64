"""Rung 2, tiled: registers and shared memory. Standard and pointwise are tiled products; depthwise keeps a strip of the map.

A depthwise thread has four channels and TH x TW pixels of G: every row of F that its windows touch is read once, as vectors.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.vectors import FLOATS, load4, store4
from sepconv_bench.shapes import ConvShape

_THREADS, _BLOCKS = 128, 4


@cache
def depthwise_pass(shape: ConvShape, F: Layout, G: Layout, TH: int, TW: int) -> Pass:
    """`run(F, K_hat, G)`; weights (D_K, D_K, M) as they are."""
    VECTORS = F.aligned and G.aligned and shape.M % FLOATS == 0
    C = FLOATS if VECTORS else 1  # channels of a thread
    rows, columns = ceil(shape.D_G / TH), ceil(shape.D_G / TW)
    threads = shape.batch * rows * columns * (shape.M // C)
    M, GROUPS, ROWS, COLUMNS = (np.uint32(size) for size in (shape.M, shape.M // C, rows, columns))
    D_G, STRIDE, LAST, THREADS = (np.uint32(size) for size in (shape.D_G, shape.stride, shape.D_F - 1, threads))
    F_IMAGE, F_ROW, F_PIXEL = (np.uint32(step) for step in (F.image, F.row, F.pixel))
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (G.image, G.row, G.pixel))
    S, D_K, READ = shape.stride, shape.D_K, (TW - 1) * shape.stride + shape.D_K
    READ_ROWS, OUT_ROWS = tuple(range((TH - 1) * S + D_K)), tuple(range(TH))
    READ_COLUMNS, OUT_COLUMNS, TAPS = tuple(range(READ)), tuple(range(TW)), tuple(range(D_K))
    SUMS, READ_FLOATS = TH * TW * C, READ * C

    @cuda.jit(**bounds(_THREADS, _BLOCKS))
    def run(F, K_hat, G):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if index >= THREADS:
            return
        m, strip = uint32((index % GROUPS) * uint32(C)), uint32(index // GROUPS)
        l, above = uint32((strip % COLUMNS) * uint32(TW)), uint32(strip // COLUMNS)
        k, b = uint32((above % ROWS) * uint32(TH)), uint32(above // ROWS)
        sums, read = cuda.local.array(SUMS, float32), cuda.local.array(READ_FLOATS, float32)
        for each in range(SUMS):
            sums[each] = float32(0)
        for r in READ_ROWS:
            # What lies beyond the map is read from its edge, and goes into sums that are not stored.
            row = min(uint32(k * STRIDE + uint32(r)), LAST)
            for q in READ_COLUMNS:
                column = min(uint32(l * STRIDE + uint32(q)), LAST)
                at = uint32(b * F_IMAGE + row * F_ROW + column * F_PIXEL + m)
                if VECTORS:
                    four = load4(F, at)
                    for c in range(FLOATS):
                        read[q * C + c] = four[c]
                else:
                    read[q] = F[at]
            for h in OUT_ROWS:
                i = r - h * S
                if 0 <= i < D_K:
                    for j in TAPS:
                        tap = uint32(uint32(i * D_K + j) * M + m)
                        if VECTORS:
                            weights = load4(K_hat, tap)
                            for w in OUT_COLUMNS:
                                for c in range(FLOATS):
                                    sums[(h * TW + w) * C + c] += weights[c] * read[(w * S + j) * C + c]
                        else:
                            for w in OUT_COLUMNS:
                                sums[h * TW + w] += K_hat[tap] * read[w * S + j]
        for h in OUT_ROWS:
            for w in OUT_COLUMNS:
                if k + uint32(h) < D_G and l + uint32(w) < D_G:
                    at = uint32(b * G_IMAGE + (k + uint32(h)) * G_ROW + (l + uint32(w)) * G_PIXEL + m)
                    first = (h * TW + w) * C
                    if VECTORS:
                        store4(G, at, (sums[first], sums[first + 1], sums[first + 2], sums[first + 3]))
                    else:
                        G[at] = sums[first]

    return Pass(run, 3, (ceil(threads / _THREADS), 1, 1), _THREADS, _BLOCKS)
