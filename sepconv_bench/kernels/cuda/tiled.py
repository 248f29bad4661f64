"""Rung 2, tiled: registers and shared memory. Standard and pointwise are tiled products, depthwise walks down strips.

A depthwise thread has 16 bytes of channels, four or eight, and a strip of TH x TW pixels of G. It goes down row by row and
keeps the sums of all the rows of G that the window still touches: each row of F is read once, as vectors, for all of them.
Sums are float32: numbers of two bytes are widened when they are read, and rounded when they are written.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
from numba import cuda, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.elements import block_loader, elements, row_storer
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.tiles import STRIP_THREADS
from sepconv_bench.kernels.cuda.vectors import bias_relu6, multiply_adds, shifted
from sepconv_bench.model.shapes import ConvShape

_KEPT_WIDTH = 3  # of the widest window whose weights stay in registers
_VECTOR_WIDTH = 5  # of the widest whose weights, of a vector of channels, fit beside several new rows of F


def fits_in_vectors(D_K: int, stride: int) -> bool:
    """Whether a thread has the registers for a window of a vector of channels, and `stride` rows of F, at a time."""
    return D_K <= _VECTOR_WIDTH or stride == 1


def _terms(D_K: int, S: int, TW: int, C: int) -> tuple[tuple[int, int, int], ...]:
    """Sum, weight and float of each product of S new rows: a row gives to every row of G that is open, under the tap that is as
    far down as the row is."""
    read = (TW - 1) * S + D_K
    return tuple(
        ((back * TW + w) * C + c, ((back * S + new) * D_K + j) * C + c, (new * read + w * S + j) * C + c)
        for new in range(S)
        for back in range(ceil(D_K / S))
        if back * S + new < D_K
        for j in range(D_K)
        for w in range(TW)
        for c in range(C)
    )


@cache
def depthwise_pass(shape: ConvShape, F: Layout, G: Layout, TH: int, TW: int, epilogue: bool = False) -> Pass:
    """`run(F, K_hat, G)`; weights (D_K, D_K, M) as they are, and with an epilogue of bias and ReLU6 the bias after them, all in
    the shape's dtype. Where TH or TW do not divide D_G the last strips overlap others, and write the same values again."""
    TH, TW = min(TH, shape.D_G), min(TW, shape.D_G)
    vectors = F.aligned and G.aligned and shape.M % elements(shape.dtype) == 0 and fits_in_vectors(shape.D_K, shape.stride)
    C = elements(shape.dtype) if vectors else 1  # channels of a thread
    rows, columns = ceil(shape.D_G / TH), ceil(shape.D_G / TW)
    threads = shape.batch * rows * columns * (shape.M // C)
    M, GROUPS, ROWS, COLUMNS = (np.uint32(size) for size in (shape.M, shape.M // C, rows, columns))
    STRIDE, LAST, THREADS = (np.uint32(size) for size in (shape.stride, shape.D_F - 1, threads))
    LAST_K, LAST_L = np.uint32(shape.D_G - TH), np.uint32(shape.D_G - TW)
    F_IMAGE, F_ROW, F_PIXEL = (np.uint32(step) for step in (F.image, F.row, F.pixel))
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (G.image, G.row, G.pixel))
    WEIGHT_ROW, BIAS = np.uint32(shape.D_K * shape.M), np.uint32(shape.D_K**2 * shape.M)
    S, D_K, READ = shape.stride, shape.D_K, (TW - 1) * shape.stride + shape.D_K
    OPEN = ceil(D_K / S)  # rows of G whose sums are not complete
    LEAD, STEPS = np.uint32(OPEN - 1), np.uint32(TH + OPEN - 1)
    NOTHING = (np.float32(0),) * (OPEN * TW * C)
    KEPT = D_K <= _KEPT_WIDTH
    widest = _VECTOR_WIDTH if shape.itemsize == 4 else _KEPT_WIDTH
    blocks = 4 if widest >= D_K else 3  # wider windows want more registers
    load_window, load_rows = block_loader(D_K, D_K, C, shape.dtype), block_loader(S, READ, C, shape.dtype)
    store, shift = row_storer(TW, C, (OPEN - 1) * TW * C, shape.dtype), shifted(TW * C)
    load_bias, finish = block_loader(1, 1, C, shape.dtype), bias_relu6((OPEN - 1) * TW * C)
    add = multiply_adds(_terms(D_K, S, TW, C))

    @cuda.jit(**bounds(STRIP_THREADS, blocks))
    def run(F, K_hat, G):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if index >= THREADS:
            return
        m, strip = uint32((index % GROUPS) * uint32(C)), uint32(index // GROUPS)
        l, above = min(uint32((strip % COLUMNS) * uint32(TW)), LAST_L), uint32(strip // COLUMNS)
        k, b = min(uint32((above % ROWS) * uint32(TH)), LAST_K), uint32(above // ROWS)
        first = uint32(b * F_IMAGE + l * STRIDE * F_PIXEL + m)
        target = uint32(b * G_IMAGE + k * G_ROW + l * G_PIXEL + m)
        weights = load_window(K_hat, m, uint32(D_K - 1), WEIGHT_ROW, M)
        sums = NOTHING
        row, step = uint32(k * STRIDE), uint32(0)
        while step < STEPS:
            read = load_rows(F, uint32(first + row * F_ROW), uint32(LAST - row), F_ROW, F_PIXEL)
            if not KEPT:
                weights = load_window(K_hat, m, uint32(D_K - 1), WEIGHT_ROW, M)
            sums = add(sums, weights, read)
            if step >= LEAD:
                if epilogue:
                    sums = finish(sums, load_bias(K_hat, uint32(BIAS + m), uint32(0), M, M))
                store(G, target, G_PIXEL, sums)
                target = uint32(target + G_ROW)
            sums = shift(sums)
            row = uint32(row + STRIDE)
            step = uint32(step + uint32(1))

    return Pass(run, 3, (ceil(threads / STRIP_THREADS), 1, 1), STRIP_THREADS, blocks, shape.dtype)
