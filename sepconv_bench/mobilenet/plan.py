"""MobileNet-V1 on our kernels: a plan is built once, then an image goes in and probabilities come out; nothing is allocated.

Same padding without a copy: each map lies in a buffer with a halo of zeros, and a layer writes the interior of the next
one's buffer. Batch norm is folded into the weights, and its bias and ReLU6 end each tile before it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.tiled import bind_pointwise, bind_standard
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.mobilenet.weights import folded, name_of
from sepconv_bench.networks import Layer


@dataclass(frozen=True)
class Step:
    """A launch of the network, the problem it solves, and the biases that end the problem's maps together with ReLU6."""

    name: str
    launch: Launch
    problem: Problem
    biases: tuple[np.ndarray, ...]


class Plan:
    """A network ready to run: `plan(image)` gives the probabilities (batch, classes) of an image (batch, width, width, 3).

    `steps`: the launches in order, for those who time them: a depthwise and pointwise pair is one step, and so are pooling,
    the fully connected layer and softmax. `maps`: what each of the others gives.
    """

    def __init__(self, layers: Sequence[Layer], weights: Mapping[str, np.ndarray]) -> None:
        self._image = _Buffer(layers[0])
        self.steps: list[Step] = []
        self.maps: list[np.ndarray] = []
        *body, dense = layers
        buffer = self._image
        starts = [number for number, layer in enumerate(body) if layer.operator != "pointwise"]
        for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
            layer = body[start]
            after = _Buffer(body[end]) if end < len(body) else None
            G = after.interior if after else np.zeros(body[end - 1].shape.G_shape("standard"), np.float32)
            kernels, biases = zip(*(folded(weights, name_of(one, dense.block), one) for one in body[start:end]), strict=True)
            operator = "separable" if len(kernels) == 2 else "standard"
            arrays = (kernels[0][:, :, 0], kernels[1][0, 0]) if len(kernels) == 2 else kernels
            # As much of the buffer as the windows touch.
            width = layer.shape.D_F
            problem = Problem(operator, body[end - 1].shape, buffer.whole[:, :width, :width], arrays, G)
            name = name_of(layer, dense.block).replace("depthwise", operator)
            self.steps.append(Step(name, bind(problem, biases), problem, biases))
            self.maps.append(G)
            if after:
                buffer = after
        self._features = np.zeros((len(G), 1, 1, G.shape[3]), np.float32)
        self.logits = np.zeros((len(G), dense.shape.N), np.float32)
        self.probabilities = np.zeros_like(self.logits)
        self._largest = np.zeros((len(G), 1), np.float32)
        K, self._bias = folded(weights, "classifier", dense)
        problem = Problem("pointwise", dense.shape, self._features, (K[0, 0],), self.logits[:, None, None])
        self._classify = bind(problem)
        self.steps.append(Step("classifier", self._end, problem, ()))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """ShapeError where the image does not fit. The result is overwritten by the next call."""
        if np.shape(image) != self._image.interior.shape:
            raise ShapeError(f"the image is {np.shape(image)}; it must be {self._image.interior.shape}")
        np.copyto(self._image.interior, image)
        for step in self.steps:
            step.launch()
        return self.probabilities

    def _end(self) -> None:
        np.mean(self.maps[-1], axis=(1, 2), keepdims=True, out=self._features)
        self._classify()
        np.add(self.logits, self._bias, out=self.logits)
        np.max(self.logits, axis=1, keepdims=True, out=self._largest)
        np.subtract(self.logits, self._largest, out=self.probabilities)
        np.exp(self.probabilities, out=self.probabilities)
        np.sum(self.probabilities, axis=1, keepdims=True, out=self._largest)
        np.divide(self.probabilities, self._largest, out=self.probabilities)


class _Buffer:
    """A layer's input with a halo of zeros, a pixel wide: `whole` is what it reads, `interior` what the one before writes."""

    def __init__(self, layer: Layer) -> None:
        shape = layer.shape
        width = shape.D_G * shape.stride + 2
        self.whole = np.zeros((shape.batch, width, width, shape.M), np.float32)
        self.interior = self.whole[:, 1:-1, 1:-1]


def bind(problem: Problem, biases: Sequence[np.ndarray] = ()) -> Launch:
    """Our kernel for a step, with bias and ReLU6 at the end of each of its maps; pointwise without."""
    if problem.operator == "pointwise":
        return bind_pointwise(problem.F, problem.K_tilde, problem.G)
    if problem.operator == "separable":
        first, second = biases
        return bind_separable(problem.F, problem.K_hat, problem.K_tilde, problem.G, problem.stride, (first, second))
    return bind_standard(problem.F, problem.K, problem.G, problem.stride, biases[0])
