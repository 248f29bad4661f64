"""What is right for a whole network: its layers in float64, by the reference's equations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sepconv_bench.model.networks import Layer
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE
from sepconv_bench.model.reference import convolve
from sepconv_bench.network.weights import folded, names


def probabilities(layers: Sequence[Layer], weights: Mapping[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Of each class, (batch, classes), for an image (batch, width, width, 3)."""
    G = image
    *body, dense = zip(names(layers), layers, strict=True)
    for name, layer in body:
        K, bias = folded(weights, name, layer)
        if layer.operator is POINTWISE:
            G = convolve(POINTWISE, G, (K[0, 0],), 1, (bias,))
        else:
            G = np.pad(G, ((0, 0), (1, 1), (1, 1), (0, 0)))[:, : layer.shape.D_F, : layer.shape.D_F]
            K = K[:, :, 0] if layer.operator is DEPTHWISE else K
            G = convolve(layer.operator, G, (K,), layer.shape.stride, (bias,))
    K, bias = folded(weights, *dense)
    logits = G.mean(axis=(1, 2)) @ K[0, 0].astype(np.float64) + bias
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)
