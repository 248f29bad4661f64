"""The plan's device where that is the CPU: numpy's arrays and our CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench.kernels.cpu.blocking import fuses
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.tiled import bind_two_passes
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.operators import POINTWISE, SEPARABLE
from sepconv_bench.model.shapes import ConvShape


def zeros(shape: tuple[int, int, int, int]) -> np.ndarray:
    return np.zeros(shape, np.float32)


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
        self._largest = np.zeros((shape.batch, 1), np.float32)
        self.problem = Problem(POINTWISE, shape, self._features, (K,), self.logits[:, None, None])
        self._classify = bind(self.problem)

    def __call__(self) -> None:
        np.mean(self._G, axis=(1, 2), keepdims=True, out=self._features)
        self._classify()
        np.add(self.logits, self._bias, out=self.logits)
        np.max(self.logits, axis=1, keepdims=True, out=self._largest)
        np.subtract(self.logits, self._largest, out=self.probabilities)
        np.exp(self.probabilities, out=self.probabilities)
        np.sum(self.probabilities, axis=1, keepdims=True, out=self._largest)
        np.divide(self.probabilities, self._largest, out=self.probabilities)

    def fetched(self) -> np.ndarray:
        return self.probabilities
