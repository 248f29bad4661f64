"""The network in OpenVINO: the same model in ONNX as onnxruntime's, compiled for the CPU as its single convolutions are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench.kernels.peers.openvino import core, launch_of
from sepconv_bench.kernels.problem import GroupedConvolution
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.network.onnx import model_of


def bind(network: Sequence[GroupedConvolution], image: np.ndarray) -> Launch:
    x = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    y = np.zeros((len(image), len(network[-1].weight)), np.float32)
    model = core().read_model(model_of(network, x.shape).SerializeToString())
    return launch_of(model, x, y)
