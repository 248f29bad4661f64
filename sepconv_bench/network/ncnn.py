"""The network in ncnn, in float32, one image after the other: by Winograd's algorithm as its single convolutions, and without.

ncnn is imported when a network is bound, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sepconv_bench.kernels.peers.ncnn import convolution, launch_of, net_of, values
from sepconv_bench.kernels.problem import GroupedConvolution
from sepconv_bench.kernels.registry import Launch

if TYPE_CHECKING:
    from ncnn import Mat


def with_winograd(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    """Windows of 3 x 3 at stride 1 over all channels by Winograd's algorithm, 2 x 2 pixels at a time."""
    return _bound(network, image, winograd=True)


def direct(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    """Every multiplication that theory counts."""
    return _bound(network, image, winograd=False)


def _bound(network: Sequence[GroupedConvolution], image: np.ndarray, winograd: bool) -> Launch:
    *body, dense = network
    lines = [convolution(*each) for each in enumerate(body)]
    lines += [
        f"Pooling pooling 1 1 map{len(body)} features 0=1 4=1",  # the mean, of all pixels
        f"InnerProduct classifier 1 1 features logits 0={len(dense.weight)} 1=1 2={dense.weight.size}",
        "Softmax softmax 1 1 logits probabilities 0=0",
    ]
    return launch_of(net_of(lines, map(values, network), winograd), image, "probabilities")


def fetched(given: list[Mat]) -> np.ndarray:
    """The probabilities of what a launch gave."""
    return np.stack([np.array(one) for one in given])
