"""The network in XNNPACK, by way of LiteRT: a model as one would export it, channels last, all of it operators of XNNPACK.

LiteRT is imported when a network is bound, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sepconv_bench.kernels.peers.xnnpack import Graph, launch_of
from sepconv_bench.kernels.problem import GroupedConvolution
from sepconv_bench.kernels.registry import Launch


def bind(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    *body, dense = network
    classes, features = dense.weight.shape[:2]
    assert dense.bias is not None
    graph, batch = Graph(), len(image)
    x = graph.tensor(image.shape)
    pixels = graph.constant(np.array([1, 2], np.int32))
    pooled = graph.operator("MEAN", "ReducerOptions", [graph.convolutions(x, body), pixels], (batch, features))
    arrays = [graph.constant(dense.weight[:, :, 0, 0]), graph.constant(dense.bias)]
    logits = graph.operator("FULLY_CONNECTED", "FullyConnectedOptions", [pooled, *arrays], (batch, classes))
    y = graph.operator("SOFTMAX", "SoftmaxOptions", [logits], (batch, classes), beta=1.0)
    return launch_of(graph.between(x, y), image)


def fetched(given: Any) -> np.ndarray:
    """The probabilities of what a launch gave."""
    return given()
