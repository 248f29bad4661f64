"""The plan's device where that is the CPU: numpy's arrays and our CPU kernels, in one parallel region."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from sepconv_bench.kernels.cpu import entrance_exit
from sepconv_bench.kernels.cpu.blocking import fuses
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.region import Region, Step, joined
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
        clear = None if number >= 2 and shapes[number - 2] == shape else entrance_exit.clear_halo(G)
        found.append((G, clear))
    return found


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
        self._image = np.zeros(interior.shape, np.float32)
        self._copy = entrance_exit.copy(self._image, interior)

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
        features, logits = (np.zeros(each, np.float32) for each in (POINTWISE.F_shape(shape), POINTWISE.G_shape(shape)))
        self.probabilities = np.zeros((shape.batch, shape.N), np.float32)
        self.problem = Problem(POINTWISE, shape, features, (K,), logits)
        softmax = entrance_exit.softmax(logits, np.ascontiguousarray(bias, np.float32), self.probabilities)
        self._launch = joined([entrance_exit.pool(G, features), bind(self.problem), softmax])

    @property
    def steps(self) -> tuple[Step, ...]:
        return self._launch.steps

    def __call__(self) -> None:
        self._launch()

    def fetched(self) -> np.ndarray:
        return self.probabilities
