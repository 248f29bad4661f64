"""What a network does before its first and after its last convolution, and between them, as steps of a region."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import njit

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.layout import FLOAT, Map, as_map, floats, view
from sepconv_bench.kernels.cpu.region import Region, arguments_of, region, step


class Dense(NamedTuple):
    """A dense map (batch, rows, width, channels): the address of its first float."""

    address: int
    batch: int
    rows: int
    width: int
    channels: int

    @classmethod
    def of(cls, array: np.ndarray) -> Dense:
        return cls(array.ctypes.data, *array.shape)


@njit(error_model="numpy", inline="always")
def _share(size, thread, threads):
    return range(size * thread // threads, size * (thread + 1) // threads)


_halo = arguments_of(Dense)


@compile_once
@njit(error_model="numpy")
def _clear_halo(address, thread):
    """Zeros for the outermost pixels of each image. The last of a row and the first of the next are one run."""
    (of,) = _halo(address)
    line, channels = of.width * of.channels, of.channels
    for b in range(of.batch):
        image = floats(of.address + b * of.rows * line * FLOAT, of.rows * line)
        image[: line + channels] = 0
        for row in range(2 * line, (of.rows - 1) * line, line):
            image[row - channels : row + channels] = 0
        image[(of.rows - 1) * line - channels :] = 0


_copied = arguments_of(int, Map, Dense, int)


@compile_once
@njit(error_model="numpy")
def _copy(address, thread):
    """Rows of a dense map, from another address, into a map whose pixels follow each other."""
    image, to, of, threads = _copied(address)
    line = of.width * of.channels
    for row in _share(of.batch * of.rows, thread, threads):
        target = view(to, row // of.rows, row % of.rows, 0, 0)
        floats(target.address, line)[:] = floats(image + row * line * FLOAT, line)


_pooled = arguments_of(Dense, int, int)


@compile_once
@njit(error_model="numpy")
def _pool(address, thread):
    """The mean over the pixels of a map, into (batch, channels) from another address on."""
    of, features, threads = _pooled(address)
    pixels = of.rows * of.width
    for b in range(of.batch):
        own = _share(of.channels, thread, threads)
        image, first, last = of.address + b * pixels * of.channels * FLOAT, own.start, own.stop
        mean = floats(features + (b * of.channels + first) * FLOAT, last - first)
        mean[:] = 0
        for pixel in range(pixels):
            given = floats(image + (pixel * of.channels + first) * FLOAT, last - first)
            for channel in range(len(mean)):
                mean[channel] += given[channel]
        share = np.float32(1 / pixels)
        for channel in range(len(mean)):
            mean[channel] *= share


_classified = arguments_of(Dense, int, int)


@compile_once
@njit(error_model="numpy")
def _softmax(address, thread):
    """Of logits (batch, classes), to which the bias is added first; into probabilities of the same shape."""
    of, added, probabilities = _classified(address)
    bias = floats(added, of.channels)
    for b in range(of.batch):
        given = floats(of.address + b * of.channels * FLOAT, of.channels)
        likely = floats(probabilities + b * of.channels * FLOAT, of.channels)
        largest = np.float32(-np.inf)
        for n in range(len(given)):
            given[n] += bias[n]
            largest = max(largest, given[n])
        total = np.float32(0)
        for n in range(len(given)):
            likely[n] = np.exp(given[n] - largest)
            total += likely[n]
        for n in range(len(given)):
            likely[n] /= total


def clear_halo(G: np.ndarray) -> Region:
    """Makes the outermost pixels of a dense map zeros."""
    return region([step(_clear_halo, (Dense.of(G),), 1, (G,))])


def copy(image: np.ndarray, G: np.ndarray) -> Region:
    """Copies a dense map to another whose pixels follow each other. The address of `image` is the first of the arguments."""
    threads = numba.get_num_threads()
    return region([step(_copy, (image.ctypes.data, as_map(G), Dense.of(image), threads), threads, (image, G))])


def pool(G: np.ndarray, features: np.ndarray) -> Region:
    """The mean over the pixels of a dense G, into features (batch, 1, 1, channels)."""
    threads = numba.get_num_threads()
    return region([step(_pool, (Dense.of(G), features.ctypes.data, threads), threads, (G, features))])


def softmax(logits: np.ndarray, bias: np.ndarray, probabilities: np.ndarray) -> Region:
    """Of logits (batch, 1, 1, classes), to which the bias is added first."""
    arguments = (Dense.of(logits), bias.ctypes.data, probabilities.ctypes.data)
    return region([step(_softmax, arguments, 1, (logits, bias, probabilities))])
