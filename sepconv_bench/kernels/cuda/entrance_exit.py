"""Where a network begins and where it ends, on the GPU: the image into its buffer, the last map through pooling to softmax.

None of them takes time that counts: an image is read once, a last map has some 50,000 floats.
"""

from __future__ import annotations

from functools import cache
from math import ceil, exp

import numpy as np
from numba import cuda, float32, uint32

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.launch import Pass, bounds

_THREADS, _BLOCKS = 128, 8
_WARP = 32


@cache
def place_pass(shape: tuple[int, int, int, int], G: Layout) -> Pass:
    """`run(image, G)`: a dense image (batch, width, width, channels) into a view, one thread a float."""
    batch, width, _, channels = shape
    FLOATS, IMAGE, ROW = (np.uint32(size) for size in (batch * width**2 * channels, width**2 * channels, width * channels))
    CHANNELS = np.uint32(channels)
    G_IMAGE, G_ROW, G_PIXEL = (np.uint32(step) for step in (G.image, G.row, G.pixel))

    @cuda.jit(**bounds(_THREADS, _BLOCKS))
    def run(image, G):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if index >= FLOATS:
            return
        in_image, in_row = uint32(index % IMAGE), uint32(index % ROW)
        at = uint32((index // IMAGE) * G_IMAGE + (in_image // ROW) * G_ROW)
        G[uint32(at + (in_row // CHANNELS) * G_PIXEL + in_row % CHANNELS)] = image[index]

    return Pass(run, 2, (ceil(int(FLOATS) / _THREADS), 1, 1), _THREADS, _BLOCKS)


@cache
def pool_pass(shape: tuple[int, int, int, int]) -> Pass:
    """`run(F, features)`: of a dense map (batch, width, width, channels) the mean over each image's pixels, one thread a
    channel."""
    batch, width, _, channels = shape
    SUMS, CHANNELS, IMAGE = (np.uint32(size) for size in (batch * channels, channels, width**2 * channels))
    SHARE = np.float32(1 / width**2)

    @cuda.jit(**bounds(_THREADS, _BLOCKS))
    def run(F, features):
        index = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if index >= SUMS:
            return
        at = uint32((index // CHANNELS) * IMAGE + index % CHANNELS)
        total, end = float32(0), uint32(at + IMAGE)
        while at < end:
            total += F[at]
            at = uint32(at + CHANNELS)
        features[index] = total * SHARE

    return Pass(run, 2, (ceil(int(SUMS) / _THREADS), 1, 1), _THREADS, _BLOCKS)


@cache
def softmax_pass(batch: int, classes: int) -> Pass:
    """`run(logits, bias, probabilities)`: softmax of logits + bias, one block an image; each thread adds up what all have
    found, in the same order."""
    THREADS = min(_THREADS, _WARP * ceil(classes / _WARP))
    CLASSES, STEP, NONE = np.uint32(classes), np.uint32(THREADS), np.float32(-np.inf)

    @cuda.jit(**bounds(THREADS, _BLOCKS))
    def run(logits, bias, probabilities):
        largest = cuda.shared.array(THREADS, float32)
        sums = cuda.shared.array(THREADS, float32)
        thread, first = uint32(cuda.threadIdx.x), uint32(uint32(cuda.blockIdx.x) * CLASSES)
        most, n = NONE, thread
        while n < CLASSES:
            most = max(most, logits[uint32(first + n)] + bias[n])
            n = uint32(n + STEP)
        largest[thread] = most
        cuda.syncthreads()
        other = uint32(0)
        while other < STEP:
            most = max(most, largest[other])
            other = uint32(other + uint32(1))
        total, n = float32(0), thread
        while n < CLASSES:
            likely = float32(exp(logits[uint32(first + n)] + bias[n] - most))
            probabilities[uint32(first + n)] = likely
            total += likely
            n = uint32(n + STEP)
        sums[thread] = total
        cuda.syncthreads()
        total, other = float32(0), uint32(0)
        while other < STEP:
            total += sums[other]
            other = uint32(other + uint32(1))
        n = thread
        while n < CLASSES:
            probabilities[uint32(first + n)] /= total
            n = uint32(n + STEP)

    return Pass(run, 3, (batch, 1, 1), THREADS, _BLOCKS)
