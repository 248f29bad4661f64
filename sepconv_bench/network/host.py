"""The plan's device where that is the CPU: numpy's arrays and our CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.blocking import fuses
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.layout import FLOAT, Map, as_map, floats, view
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.region import Region, Step, arguments_of, joined, region, step
from sepconv_bench.kernels.cpu.tiled import bind_two_passes
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.model.operators import POINTWISE, SEPARABLE
from sepconv_bench.model.shapes import ConvShape

_SHARED_BYTES = 4 << 20  # of maps; those of a smaller network stay in the caches next to the cores


def maps(shapes: Sequence[tuple[int, int, int, int]], apart: bool) -> list[tuple[np.ndarray, Region | None]]:
    """Large ones in turns in two places: what the network goes through then leaves more of the caches to its weights."""
    sizes = [prod(shape) for shape in shapes]
    if apart or 4 * sum(sizes) < _SHARED_BYTES:
        return [(np.zeros(shape, np.float32), None) for shape in shapes]
    places = [np.zeros(max(sizes[first::2]), np.float32) for first in range(2)]
    found: list[tuple[np.ndarray, Region | None]] = []
    for number, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        G = places[number % 2][:size].reshape(shape)
        # A map of the same shape leaves its halo as it was.
        clear = None if number >= 2 and shapes[number - 2] == shape else _step(_clear_halo, Dense.of(G), keep=(G,))
        found.append((G, clear))
    return found


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


def _step(function: Dispatcher, *arguments: Any, threads: int = 1, keep: tuple[np.ndarray, ...]) -> Region:
    return region([step(function, arguments, threads, keep)])


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


def bind(problem: Problem, biases: Sequence[np.ndarray] = ()) -> Region:
    """Our kernel for a step, with bias and ReLU6 at the end of each of its maps; pointwise without."""
    if problem.operator is POINTWISE:
        return bind_pointwise(problem.F, problem.K_tilde, problem.G)
    if problem.operator is SEPARABLE:
        first, second = biases
        bind_block = bind_separable if fuses(problem.K_tilde.size) else bind_two_passes
        return bind_block(problem.F, problem.K_hat, problem.K_tilde, problem.G, problem.stride, (first, second))
    return bind_standard(problem.F, problem.K, problem.G, problem.stride, biases[0])


def fetch(given: object, G: np.ndarray) -> None:
    """What a launch has written is there already."""


class Entrance:
    """From the image into the interior of its buffer."""

    def __init__(self, interior: np.ndarray) -> None:
        self._image, threads = np.zeros(interior.shape, np.float32), numba.get_num_threads()
        arguments = (self._image.ctypes.data, as_map(interior), Dense.of(self._image), threads)
        self._copy = _step(_copy, *arguments, threads=threads, keep=(interior,))

    @property
    def steps(self) -> tuple[Step, ...]:
        return self._copy.steps

    def take(self, image: np.ndarray) -> None:
        self._image = np.ascontiguousarray(image, np.float32)
        self.steps[0].arguments[0] = self._image.ctypes.data

    def __call__(self) -> None:
        self._copy()


class Exit:
    """From the last map G to the probabilities: mean over the pixels, fully connected, softmax."""

    def __init__(self, shape: ConvShape, G: np.ndarray, K: np.ndarray, bias: np.ndarray) -> None:
        features = np.zeros(POINTWISE.F_shape(shape), np.float32)
        self.logits = np.zeros((shape.batch, shape.N), np.float32)
        self.probabilities = np.zeros_like(self.logits)
        self.problem = Problem(POINTWISE, shape, features, (K,), self.logits[:, None, None])
        bias, threads = np.ascontiguousarray(bias, np.float32), numba.get_num_threads()
        pool = _step(_pool, Dense.of(G), features.ctypes.data, threads, threads=threads, keep=(G, features))
        logits = Dense.of(self.problem.G)
        softmax = _step(_softmax, logits, bias.ctypes.data, self.probabilities.ctypes.data, keep=(self.logits, bias))
        self._launch = joined([pool, bind(self.problem), softmax])

    @property
    def steps(self) -> tuple[Step, ...]:
        return self._launch.steps

    def __call__(self) -> None:
        self._launch()

    def fetched(self) -> np.ndarray:
        return self.probabilities
