"""Where maps, weights and biases lie, as compiled code sees them: addresses, and steps in bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from sepconv_bench.kernels.cpu.blocking import Blocks
from sepconv_bench.kernels.cpu.registers import LINE_FLOATS

FLOAT = 4  # bytes


class Sizes(NamedTuple):
    """The sizes of a convolution whose output has `rows` rows of `width` pixels in each of `batch` images."""

    D_K: int
    M: int
    N: int
    stride: int
    batch: int
    rows: int
    width: int


class Map(NamedTuple):
    """A map: the address of its first float, and the steps to the next image, row and pixel."""

    address: int
    image: int
    row: int
    pixel: int


class View(NamedTuple):
    """A map from one of its floats on: the address of that float, and the steps to the next row and pixel."""

    address: int
    row: int
    pixel: int


class Taps(NamedTuple):
    """Depthwise weights from a channel on: address of the first tap, step to the next, and address of the bias."""

    address: int
    step: int
    bias: int


@njit(error_model="numpy", inline="always")
def view(of, b, k, l, channel):
    """A map from image b, row k, pixel l and a channel on."""
    return View(of.address + b * of.image + k * of.row + l * of.pixel + channel * FLOAT, of.row, of.pixel)


@njit(error_model="numpy", inline="always")
def view_after(of, step):
    """The view from `step` bytes further on."""
    return View(of.address + step, of.row, of.pixel)


@njit(error_model="numpy", inline="always")
def taps_after(taps, step):
    """The weights and the bias from `step` bytes further on."""
    return Taps(taps.address + step, taps.step, taps.bias + step)


@intrinsic
def _pointer(typingctx, address):
    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


@njit(error_model="numpy", inline="always")
def floats(address, count):
    """So many floats from an address on, as an array of compiled code."""
    return carray(_pointer(address), (count,))


def as_map(array: np.ndarray) -> Map:
    return Map(array.ctypes.data, *array.strides[:3])


def sizes_of(D_K: int, M: int, N: int, stride: int, G: np.ndarray) -> Sizes:
    return Sizes(D_K, M, N, stride, *G.shape[:3])


def joined_rows(array: np.ndarray) -> np.ndarray:
    """A map that is dense but for its images, with the rows of each image as one."""
    batch, rows, width, channels = array.shape
    return np.lib.stride_tricks.as_strided(array, (batch, 1, rows * width, channels), array.strides)


def aligned(floats: int) -> np.ndarray:
    """Zeros that start on a cache line."""
    raw = np.zeros(floats + LINE_FLOATS, np.float32)
    first = -raw.ctypes.data // FLOAT % LINE_FLOATS
    return raw[first : first + floats]


def padded(bias: np.ndarray | None) -> np.ndarray:
    """A bias with zeros up to a whole cache line, and so to a whole tile; nothing where there is none."""
    filled = aligned(0 if bias is None else -(-len(bias) // LINE_FLOATS) * LINE_FLOATS)
    if bias is not None:
        filled[: len(bias)] = bias
    return filled


def packed(K: np.ndarray, blocks: Blocks, lanes: int, depth: int) -> np.ndarray:
    """K in the order in which tiles read it: panel by panel, in each `depth` input channels at a time, in each tap by tap.

    The channels that the last panel has too many are 0.
    """
    D_K, _, M, _ = K.shape
    weights = aligned(D_K * D_K * M * blocks.vectors.size * lanes)
    first = n = 0
    for panel in range(blocks.vectors.parts):
        NR = (blocks.vectors.most - (panel >= blocks.vectors.longer)) * lanes
        for m in range(0, M, depth):
            part = K[:, :, m : m + depth, n : n + NR]
            block = weights[first : first + D_K * D_K * part.shape[2] * NR].reshape(D_K, D_K, -1, NR)
            block[..., : part.shape[3]] = part
            first += block.size
        n += NR
    return weights
