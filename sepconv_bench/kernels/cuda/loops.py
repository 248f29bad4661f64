"""Rung 1, loops: the equations as written, one thread an output, threads of a warp side by side along the channels.

Every read of F and of the weights is of neighbouring floats or of one float for all; nothing is kept for a neighbour.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.launch import Pass, bounds
from sepconv_bench.kernels.cuda.vectors import fma
from sepconv_bench.model.operators import Convolution
from sepconv_bench.model.shapes import ConvShape

THREADS, _BLOCKS = 128, 8


@cache
def loops_pass(convolution: Convolution, shape: ConvShape, F: Layout, G: Layout) -> Pass:
    """`run(F, K, G)` of one convolution."""
    by_channel, D_K, N = convolution.depthwise, convolution.window(shape)[0], convolution.out_channels(shape)
    OUTPUTS = np.uint32(shape.batch * shape.D_G**2 * N)
    CHANNELS, D_G, MAP = np.uint32(N), np.uint32(shape.D_G), np.uint32(shape.D_G**2)
    STRIDE = np.uint32(convolution.strides(shape)[0])
    F_IMAGE, F_ROW, F_PIXEL = (np.uint32(step) for step in (F.image, F.row, F.pixel))
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (G.image, G.row, G.pixel))
    ROW_STEPS, PIXEL_STEPS = (np.uint32(D_K * step) for step in (F.row, F.pixel))
    INPUTS, ONE = np.uint32(shape.M // convolution.groups(shape)), np.uint32(1)

    @cuda.jit(**bounds(THREADS, _BLOCKS))
    def run(F, K, G):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if index >= OUTPUTS:
            return
        n, pixel = uint32(index % CHANNELS), uint32(index // CHANNELS)
        b, kl = uint32(pixel // MAP), uint32(pixel % MAP)
        k, l = uint32(kl // D_G), uint32(kl % D_G)
        first = uint32(b * F_IMAGE + (k * F_ROW + l * F_PIXEL) * STRIDE)
        if by_channel:
            first = uint32(first + n)
        total, weight = float32(0), n
        row, last_row = first, uint32(first + ROW_STEPS)
        while row != last_row:
            at, last = row, uint32(row + PIXEL_STEPS)
            while at != last:
                m = uint32(0)
                while m < INPUTS:
                    total = fma(K[weight], F[uint32(at + m)], total)
                    weight = uint32(weight + CHANNELS)
                    m = uint32(m + ONE)
                at = uint32(at + F_PIXEL)
            row = uint32(row + F_ROW)
        G[uint32(b * G_IMAGE + k * G_ROW + l * G_PIXEL + n)] = total

    return Pass(run, 3, (ceil(int(OUTPUTS) / THREADS), 1, 1), THREADS, _BLOCKS)
