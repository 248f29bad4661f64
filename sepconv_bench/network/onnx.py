"""The network as a model in ONNX, as one would export it, in float32: what onnxruntime and OpenVINO both read.

onnx is imported when a model is made, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sepconv_bench.kernels.peers.onnxruntime import IR_VERSION, OPSET
from sepconv_bench.kernels.problem import GroupedConvolution

if TYPE_CHECKING:
    from onnx import ModelProto


def model_of(network: Sequence[GroupedConvolution], x: tuple[int, ...]) -> ModelProto:
    """From "x", an image (batch, 3, D_F, D_F), to "y", the probabilities (batch, classes)."""
    from onnx import TensorProto, helper, numpy_helper

    *body, dense = network
    arrays = {"low": np.float32(0), "high": np.float32(6), "W": dense.weight[:, :, 0, 0], "b": dense.bias}
    nodes, end = [], "x"
    for number, one in enumerate(body):
        arrays |= {f"K{number}": one.weight, f"bias{number}": one.bias}
        (top, bottom, left, right), strides = one.padding, list(one.strides)
        pads = [top, left, bottom, right]
        inputs = [end, f"K{number}", f"bias{number}"]
        nodes.append(helper.make_node("Conv", inputs, [f"sum{number}"], strides=strides, pads=pads, group=one.groups))
        end = f"map{number}"
        nodes.append(helper.make_node("Clip", [f"sum{number}", "low", "high"], [end]))
    nodes += [
        helper.make_node("GlobalAveragePool", [end], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "W", "b"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    shapes = {"x": x, "y": (x[0], len(dense.weight))}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "mobilenet_v1", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
