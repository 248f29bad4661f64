"""The network in onnxruntime: a model as one would export it, in float32, which the session optimises as it sees fit.

onnxruntime is imported when a network is bound, never before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench.kernels.peers.onnxruntime import IR_VERSION, OPSET, launch_of, session_of, value
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.network.weights import FoldedConvolution


def bind(network: Sequence[FoldedConvolution], image: np.ndarray) -> Launch:
    from onnx import TensorProto, helper, numpy_helper

    *body, dense = network
    arrays = {"low": np.float32(0), "high": np.float32(6), "W": dense.K[:, :, 0, 0], "b": dense.bias}
    nodes, end = [], "x"
    for number, one in enumerate(body):
        arrays |= {f"K{number}": one.K, f"bias{number}": one.bias}
        pads, strides = [one.padding] * 4, [one.stride] * 2
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
    x, y = value((len(image), 3, *image.shape[1:3])), value((len(image), len(dense.K)))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, tuple(of.shape())) for name, of in (("x", x), ("y", y))]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "mobilenet_v1", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    x.update_inplace(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    return launch_of(session_of(model), x, y)
