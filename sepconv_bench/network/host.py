"""The plan's device where that is the CPU: numpy's arrays and our CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
from numba import njit

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.blocking import fuses
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.tiled import bind_two_passes
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.operators import POINTWISE, SEPARABLE
from sepconv_bench.model.shapes import ConvShape

_SHARED_BYTES = 4 << 20  # of maps; those of a smaller network stay in the caches next to the cores


def maps(shapes: Sequence[tuple[int, int, int, int]], apart: bool) -> list[tuple[np.ndarray, Launch | None]]:
    """Large ones in turns in two places: what the network goes through then leaves more of the caches to its weights."""
    sizes = [prod(shape) for shape in shapes]
    if apart or 4 * sum(sizes) < _SHARED_BYTES:
        return [(np.zeros(shape, np.float32), None) for shape in shapes]
    places = [np.zeros(max(sizes[first::2]), np.float32) for first in range(2)]
    found: list[tuple[np.ndarray, Launch | None]] = []
    for number, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        flat = places[number % 2][:size]
        # A map of the same shape leaves its halo as it was.
        clear = None if number >= 2 and shapes[number - 2] == shape else partial(_clear_halo, flat, *shape[1:])
        found.append((flat.reshape(shape), clear))
    return found


@compile_once
@njit(error_model="numpy")
def _clear_halo(flat: np.ndarray, rows: int, width: int, channels: int) -> None:
    """Zeros for the outermost pixels of each image of a dense map. The last of a row and the first of the next are one run."""
    line = width * channels
    for image in range(0, len(flat), rows * line):
        flat[image : image + line + channels] = 0
        for row in range(image + 2 * line, image + (rows - 1) * line, line):
            flat[row - channels : row + channels] = 0
        flat[image + (rows - 1) * line - channels : image + rows * line] = 0


@compile_once
@njit(error_model="numpy")
def _pool(G: np.ndarray, features: np.ndarray) -> None:
    """The mean over the pixels of G (batch, width, width, channels), into (batch, 1, 1, channels)."""
    for b in range(len(G)):
        image, mean = G[b], features[b, 0, 0]
        mean[:] = 0
        for row in image:
            for pixel in row:
                for channel in range(len(mean)):
                    mean[channel] += pixel[channel]
        share = np.float32(1 / len(image) ** 2)
        for channel in range(len(mean)):
            mean[channel] *= share


@compile_once
@njit(error_model="numpy")
def _softmax(logits: np.ndarray, bias: np.ndarray, probabilities: np.ndarray) -> None:
    """Of logits (batch, classes), to which the bias is added first."""
    for b in range(len(logits)):
        given, likely = logits[b], probabilities[b]
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


def bind(problem: Problem, biases: Sequence[np.ndarray] = ()) -> Launch:
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
        self._interior, self._image = interior, interior

    def take(self, image: np.ndarray) -> None:
        self._image = image

    def __call__(self) -> None:
        np.copyto(self._interior, self._image)


class Exit:
    """From the last map G to the probabilities: mean over the pixels, fully connected, softmax."""

    def __init__(self, shape: ConvShape, G: np.ndarray, K: np.ndarray, bias: np.ndarray) -> None:
        self._G, self._bias = G, bias
        self._features = np.zeros(POINTWISE.F_shape(shape), np.float32)
        self.logits = np.zeros((shape.batch, shape.N), np.float32)
        self.probabilities = np.zeros_like(self.logits)
        self.problem = Problem(POINTWISE, shape, self._features, (K,), self.logits[:, None, None])
        self._classify = bind(self.problem)

    def __call__(self) -> None:
        _pool(self._G, self._features)
        self._classify()
        _softmax(self.logits, self._bias, self.probabilities)

    def fetched(self) -> np.ndarray:
        return self.probabilities
