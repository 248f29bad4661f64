"""The OpenVINO peer (oneDNN within its own graph): a model of one convolution, of two for separable, compiled for the CPU.

Maps go in and come out with channels last, where they lie; OpenVINO reorders them into its blocked layout and back in every
launch. Latency mode, one stream, float32. OpenVINO is imported when a kernel is bound, never before.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import PROPERTIES

if TYPE_CHECKING:
    from openvino import Core, Model, Node

_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@cache
def core() -> Core:
    from openvino import Core

    return Core()


def _settings() -> dict[str, Any]:
    """One launch after the other, as fast as can be, in float32. Pinned threads would stay on cores where others are timed."""
    return {
        "INFERENCE_NUM_THREADS": numba.get_num_threads(),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }


def _node(x: Node, one: GroupedConvolution) -> Node:
    from openvino import opset15

    top, bottom, left, right = one.padding
    steps = list(one.strides), [top, left], [bottom, right], list(one.dilations)
    if one.groups == 1:
        return opset15.convolution(x, opset15.constant(one.weight), *steps)
    # (groups, outputs of a group, inputs of a group, D_K, D_K_w)
    weight = one.weight.reshape(one.groups, -1, *one.weight.shape[1:])
    return opset15.group_convolution(x, opset15.constant(weight), *steps)


def _model(problem: Problem) -> Model:
    from openvino import Model, opset15

    F = opset15.parameter(problem.interior.shape, np.float32)
    x = opset15.transpose(F, np.array(_TO_CHANNELS_FIRST))
    for one in problem.convolutions:
        x = _node(x, one)
    G = opset15.transpose(x, np.array(_TO_CHANNELS_LAST))
    return Model([G], [F])


def _dense(array: np.ndarray) -> np.ndarray:
    """The array itself, or a copy where OpenVINO would not take it: not dense, or read-only."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        require_memory(4 * array.size, "dense copies of the arrays")
    return np.require(array, requirements=["C", "W"])


def _bind(problem: Problem) -> Launch:
    """Channels last, between our arrays."""
    return launch_of(_model(problem), _dense(problem.interior), _dense(problem.G))


def launch_of(model: Model, x: np.ndarray, y: np.ndarray) -> Launch:
    """A launch of the compiled model that reads x and writes and gives y, dense arrays, both where they are."""
    from openvino import Tensor

    request, arrays = core().compile_model(model, "CPU", _settings()).create_infer_request(), (x, y)
    request.set_input_tensor(Tensor(x, shared_memory=True))
    request.set_output_tensor(Tensor(y, shared_memory=True))
    infer = request.infer

    def launch() -> np.ndarray:
        infer(share_outputs=True)
        return arrays[1]  # a tensor does not hold on to the array whose memory it shares: the launch holds both

    return launch


def _unpack(given: np.ndarray, G: np.ndarray) -> None:
    """They are G itself, unless G was not dense."""
    if not np.shares_memory(given, G):
        np.copyto(G, given)


_openvino = partial(kernel, unpack=_unpack, needs=("openvino",), library="openvino", algorithm="chosen", takes=PROPERTIES)
for _operator in OPERATORS:
    _openvino(f"cpu.{_operator}.openvino")(_bind)
