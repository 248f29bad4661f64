"""MobileNet-V1 on our kernels: a plan is built once, then an image goes in and probabilities come out; nothing is allocated.

Same padding without a copy: each map lies in a buffer with a halo of zeros, and a layer writes the interior of the next
one's buffer. Batch norm is folded into the weights, and its bias and ReLU6 end each tile before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt

import numpy as np

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.cpu.fused import bind_separable
from sepconv_bench.kernels.cpu.tiled import bind_pointwise, bind_standard
from sepconv_bench.networks import Layer

EPSILON = 1e-5  # of a batch norm, where the weights bring one
_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def name_of(layer: Layer, last: int) -> str:
    """What the layer's weights are called: conv, block1.depthwise, block1.pointwise, block1.standard, classifier."""
    if layer.block in (0, last):
        return "classifier" if layer.block else "conv"
    return f"block{layer.block}.{layer.operator}"


def names(layers: Sequence[Layer]) -> list[str]:
    return [name_of(layer, layers[-1].block) for layer in layers]


def weight_shape(layer: Layer) -> tuple[int, int, int, int]:
    """In the layout of torch: (outputs, inputs of a group, D_K, D_K)."""
    shape, width = layer.shape, layer.shape.D_K if layer.operator != "pointwise" else 1
    return (shape.M, 1, width, width) if layer.operator == "depthwise" else (shape.N, shape.M, width, width)


def random_weights(layers: Sequence[Layer], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep the size of what goes through them (He's), and small biases; the same for the same seed."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, layer in zip(names(layers), layers, strict=True):
        shape = weight_shape(layer)
        spread = sqrt(2 / (shape[1] * shape[2] * shape[3]))
        weights[f"{name}.weight"] = (spread * rng.standard_normal(shape)).astype(np.float32)
        weights[f"{name}.bias"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)
    return weights


def folded(weights: Mapping[str, np.ndarray], name: str, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """A layer's kernel in our layout and its bias, batch norm folded in; ShapeError where they are missing or do not fit."""
    expected = weight_shape(layer)
    given = {part: np.asarray(weights[f"{name}.{part}"]) for part in ("weight", "bias", *_NORM) if f"{name}.{part}" in weights}
    K = given.get("weight")
    if K is None:
        raise ShapeError(f"there is no {name}.weight; it takes {expected}")
    if K.shape != expected and not (layer.shape.D_G == 1 and K.shape == expected[:2]):
        raise ShapeError(f"{name}.weight is {K.shape}; it must be {expected}")
    wrong = {part: value.shape for part, value in given.items() if part != "weight" and value.shape != expected[:1]}
    if wrong:
        part, came = next(iter(wrong.items()))
        raise ShapeError(f"{name}.{part} is {came}; it must be {expected[:1]}")
    K, bias = K.reshape(expected).astype(np.float64), given.get("bias", np.zeros(expected[0])).astype(np.float64)
    if any(part in given for part in _NORM):
        missing = [part for part in _NORM if part not in given]
        if missing:
            raise ShapeError(f"there is no {name}.{missing[0]}, but another part of that batch norm")
        scale, shift, mean, variance = (given[part].astype(np.float64) for part in _NORM)
        scale = scale / np.sqrt(variance + EPSILON)
        K, bias = K * scale[:, None, None, None], (bias - mean) * scale + shift
    return np.ascontiguousarray(K.transpose(2, 3, 1, 0), dtype=np.float32), bias.astype(np.float32)


class Plan:
    """A network ready to run: `plan(image)` gives the probabilities (batch, classes) of an image (batch, width, width, 3).

    `steps`: each layer's name and its launch, in order, for those who time them: a depthwise and pointwise pair is one step.
    """

    def __init__(self, layers: Sequence[Layer], weights: Mapping[str, np.ndarray]) -> None:
        self._image = _Buffer(layers[0])
        self.steps: list[tuple[str, Callable[[], object]]] = []
        self.maps: list[np.ndarray] = []
        *body, dense = layers
        taken, buffer = 0, self._image
        while taken < len(body):
            layer, name = body[taken], name_of(body[taken], dense.block)
            first = folded(weights, name, layer)
            pair = layer.operator == "depthwise"
            taken += 1 + pair
            after = _Buffer(body[taken]) if taken < len(body) else None
            G = after.interior if after else np.zeros(layer.shape.G_shape("standard"), np.float32)
            if pair:
                (K_hat, bias_hat), (K_tilde, bias) = (
                    first,
                    folded(weights, name_of(body[taken - 1], dense.block), body[taken - 1]),
                )
                K_hat, K_tilde = np.ascontiguousarray(K_hat[:, :, 0]), K_tilde[0, 0]
                launch = bind_separable(buffer.whole, K_hat, K_tilde, G, layer.shape.stride, (bias_hat, bias))
                name = f"block{layer.block}.separable"
            else:
                launch = bind_standard(buffer.whole, first[0], G, layer.shape.stride, first[1])
            self.steps.append((name, launch))
            self.maps.append(G)
            if after:
                buffer = after
        self._features = np.zeros((len(G), 1, 1, G.shape[3]), np.float32)
        self.logits = np.zeros((len(G), dense.shape.N), np.float32)
        self.probabilities = np.zeros_like(self.logits)
        self._largest = np.zeros((len(G), 1), np.float32)
        K, self._bias = folded(weights, "classifier", dense)
        self._classify = bind_pointwise(self._features, K[0, 0], self.logits[:, None, None])
        self.steps.append(("pool, classifier, softmax", self._end))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """ShapeError where the image does not fit. The result is overwritten by the next call."""
        if np.shape(image) != self._image.interior.shape:
            raise ShapeError(f"the image is {np.shape(image)}; it must be {self._image.interior.shape}")
        np.copyto(self._image.interior, image)
        for _, launch in self.steps:
            launch()
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
