"""The onnxruntime peer (MLAS): a graph of one node, of two for separable, between preallocated arrays.

`onnxruntime` takes and gives maps with channels first, as a model does; MLAS reorders them into its blocked layout and back in
every launch. `onnxruntime-nchwc` stays in that layout, as the inner layers of a network do. `onnxruntime-matmul` is a pointwise
convolution as a product of matrices, channels last. onnxruntime is imported when a kernel is bound, never before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import PROPERTIES, ConvShape, Property

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession, OrtValue

_BLOCKED = "com.microsoft.nchwc"
# A model of groups or channel multipliers needs channels to lie otherwise within a block.
_BLOCKED_TAKES: tuple[Property, ...] = ("rectangular maps", "padding", "dilation", "rectangular windows", "strides per axis")
OPSET = 17
IR_VERSION = 9  # as old as the opset, so that no onnx writes what the onnxruntime beside it cannot read
# An idle pool spins for as long as the others (measure/clocks.py); left alone it disturbs whoever is timed next.
_WAITING = {"session.intra_op.spin_duration_us": "100"}


def _unpack(given: OrtValue, G: np.ndarray) -> None:
    """From (batch, N, D_G, D_G)."""
    np.copyto(G, given.numpy().transpose(0, 2, 3, 1))


def _unpack_blocked(given: OrtValue, G: np.ndarray) -> None:
    """From (batch, N / block, D_G, D_G_w, block), where N is rounded up; its shape says N, D_G, D_G_w."""
    batch, N, D_G, D_G_w = given.shape()
    block = _block()
    maps = given.numpy().reshape(batch, N // block, D_G, D_G_w, block).transpose(0, 2, 3, 1, 4)
    np.copyto(G, maps.reshape(batch, D_G, D_G_w, N)[..., : G.shape[3]])


def _unpack_rows(given: OrtValue, G: np.ndarray) -> None:
    """From one row a pixel; they may be G itself."""
    np.copyto(G, given.numpy().reshape(G.shape))


def _without_blocks(shape: ConvShape) -> str | None:
    return None if _block() else "onnxruntime has no blocked layout on this CPU"


def _session(
    op: str,
    layers: Sequence[GroupedConvolution],
    x: tuple[int, ...],
    y: tuple[int, ...],
    domain: str = "",
    save: Path | None = None,
) -> InferenceSession:
    """A session for a chain of nodes from x to y."""
    from onnx import TensorProto, helper, numpy_helper

    maps = ["x", *(f"map{number}" for number in range(1, len(layers))), "y"]
    nodes, constants = [], []
    for number, one in enumerate(layers):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(one.weight), f"weight{number}"))
        attributes = _attributes(one) if op == "Conv" else {}
        inputs, outputs = [maps[number], f"weight{number}"], [maps[number + 1]]
        nodes.append(helper.make_node(op, inputs, outputs, domain=domain, **attributes))
    x_info, y_info = (helper.make_tensor_value_info(name, TensorProto.FLOAT, of) for name, of in (("x", x), ("y", y)))
    graph = helper.make_graph(nodes, "convolution", [x_info], [y_info], constants)
    opsets = [helper.make_opsetid(*opset) for opset in (("", OPSET), (_BLOCKED, 1))]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return session_of(model, save)


def _attributes(one: GroupedConvolution) -> dict[str, Any]:
    top, bottom, left, right = one.padding
    found: dict[str, Any] = {"strides": list(one.strides), "group": one.groups}
    # As usual they are left out, as a model does.
    found |= {"dilations": list(one.dilations)} if max(one.dilations) > 1 else {}
    return found | ({"pads": [top, left, bottom, right]} if any(one.padding) else {})


def session_of(model: ModelProto, save: Path | None = None) -> InferenceSession:
    """A session for a model, of as many threads as Numba's; `save` is where the optimised graph goes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = numba.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for entry in _WAITING.items():
        options.add_session_config_entry(*entry)
    options.log_severity_level = 3  # errors: that a saved graph is for this CPU only is no news
    if save is not None:
        options.optimized_model_filepath = str(save)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def launch_of(session: InferenceSession, x: OrtValue, y: OrtValue) -> Launch:
    """A launch that reads x and writes and gives y, both where they are."""
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    run = session.run_with_iobinding

    def launch() -> OrtValue:
        run(binding)
        return y

    return launch


def value(shape: tuple[int, ...]) -> OrtValue:
    """An array of onnxruntime's; ShapeError where memory does not suffice."""
    from onnxruntime import OrtValue

    require_memory(4 * prod(shape), "maps in the layout of onnxruntime")
    return OrtValue.ortvalue_from_shape_and_type(shape, np.float32)


def _channels_first(problem: Problem) -> Launch:
    """Channels first, as a model comes."""
    F = problem.interior.transpose(0, 3, 1, 2)
    x, y = value(F.shape), value(problem.G.transpose(0, 3, 1, 2).shape)
    x.update_inplace(np.ascontiguousarray(F))
    return launch_of(_session("Conv", problem.convolutions, tuple(x.shape()), tuple(y.shape())), x, y)


def _matmul(problem: Problem) -> Launch:
    """Pointwise as a product of matrices, written into G."""
    from onnxruntime import OrtValue

    M, N = problem.K_tilde.shape
    if not (problem.F.flags.c_contiguous and problem.G.flags.c_contiguous):
        require_memory(4 * (problem.F.size + problem.G.size), "dense copies of F and G")
    x = OrtValue.ortvalue_from_numpy(np.ascontiguousarray(problem.F).reshape(-1, M))
    y = OrtValue.ortvalue_from_numpy(np.ascontiguousarray(problem.G).reshape(-1, N))
    return launch_of(_session("MatMul", [GroupedConvolution(problem.K_tilde)], tuple(x.shape()), tuple(y.shape())), x, y)


# ----------------------------------------------- the blocked layout: (batch, channels / block, height, width, block)


@cache
def _block() -> int:
    """Channels of a block on this CPU, 0 if there is no such layout: what onnxruntime itself rounds 33 channels up to."""
    import onnx

    weight = np.ones((33, 64, 1, 1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimised.onnx"
        _session("Conv", [GroupedConvolution(weight)], (1, 64, 4, 4), (1, 33, 4, 4), save=saved)
        graph = onnx.load(saved).graph
    if not any(node.domain == _BLOCKED and node.op_type == "Conv" for node in graph.node):
        return 0
    return max(constant.dims[0] for constant in graph.initializer) - 32


def _blocked(problem: Problem) -> Launch:
    """In the blocked layout that the inner layers of a network stay in."""
    layers = [_blocked_layer(one) for one in problem.convolutions]
    F = problem.interior
    batch, D_F, D_F_w, M = F.shape
    _, D_G, D_G_w, N = problem.G.shape
    x, y = value((batch, _whole(M), D_F, D_F_w)), value((batch, _whole(N), D_G, D_G_w))
    channels = np.pad(F, [(0, 0)] * 3 + [(0, _whole(M) - M)])
    blocks = channels.reshape(batch, D_F, D_F_w, -1, _block()).transpose(0, 3, 1, 2, 4)
    x.update_inplace(np.ascontiguousarray(blocks).reshape(x.shape()))
    return launch_of(_session("Conv", layers, tuple(x.shape()), tuple(y.shape()), domain=_BLOCKED), x, y)


def _blocked_layer(one: GroupedConvolution) -> GroupedConvolution:
    """Weights (N / block, M / block, D_K, D_K_w, M of a block, N of a block); each group of a depthwise one has one M."""
    N, M, D_K, D_K_w = one.weight.shape
    inner = 1 if one.groups > 1 else _block()
    padded = np.pad(one.weight, [(0, _whole(N) - N), (0, -M % inner), (0, 0), (0, 0)])
    blocks = padded.reshape(-1, _block(), padded.shape[1] // inner, inner, D_K, D_K_w).transpose(0, 2, 4, 5, 3, 1)
    groups = _whole(one.groups) if one.groups > 1 else 1
    return replace(one, weight=np.ascontiguousarray(blocks).reshape(padded.shape), groups=groups)


def _whole(channels: int) -> int:
    """Channels rounded up to whole blocks."""
    return -(-channels // _block()) * _block()


_onnxruntime = partial(kernel, needs=("onnxruntime", "onnx"), library="onnxruntime", algorithm="chosen")
for _operator in OPERATORS:
    _onnxruntime(f"cpu.{_operator}.onnxruntime", unpack=_unpack, takes=PROPERTIES)(_channels_first)
    _onnxruntime(f"cpu.{_operator}.onnxruntime-nchwc", supports=_without_blocks, unpack=_unpack_blocked, takes=_BLOCKED_TAKES)(
        _blocked
    )
_onnxruntime("cpu.pointwise.onnxruntime-matmul", unpack=_unpack_rows, takes=PROPERTIES)(_matmul)
