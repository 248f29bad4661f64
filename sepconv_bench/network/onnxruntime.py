"""The network in onnxruntime: a model in ONNX, which the session optimises as it sees fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench.kernels.peers.onnxruntime import launch_of, session_of, value
from sepconv_bench.kernels.problem import GroupedConvolution
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.network.onnx import model_of


def bind(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    batch, width, _, channels = image.shape
    x, y = value((batch, channels, width, width)), value((batch, len(network[-1].weight)))
    x.update_inplace(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    return launch_of(session_of(model_of(network, tuple(x.shape()))), x, y)
