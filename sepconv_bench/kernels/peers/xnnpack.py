"""The XNNPACK peer, by way of LiteRT: a model of one convolution, of two for separable, whose operators XNNPACK takes over.

Maps have channels last there too, so F and G lie as ours do; LiteRT holds its own. It is imported when a kernel is bound,
never before.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS

_MODEL_VERSION, _FILE_IDENTIFIER = 3, b"TFL3"


class _Graph:
    """A model being built: a chain of operators between tensors."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema  # generated: any field may be of any type
        self._codes: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first buffer says that a tensor has no data
        self._graph: Any = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def tensor(self, name: str, shape: tuple[int, ...], values: np.ndarray | None = None) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), self._schema.TensorType.FLOAT32
        tensor.buffer = 0
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def convolution(self, x: int, one: GroupedConvolution, G: tuple[int, ...]) -> int:
        """Of tensor x; gives the tensor of its result, whose shape is G."""
        channelwise = one.groups > 1
        # (N, D_K, D_K, M), and (1, D_K, D_K, M) where each channel is by itself.
        weight = one.weight.transpose((1, 2, 3, 0) if channelwise else (0, 2, 3, 1))
        N, number = G[3], len(self._graph.operators)
        inputs = [x, self.tensor(f"weight{number}", weight.shape, weight)]
        inputs.append(self.tensor(f"bias{number}", (N,), np.zeros(N, np.float32)))
        y = self.tensor(f"map{number}", G)
        node = self._node(channelwise)
        node.inputs, node.outputs = inputs, [y]
        options = node.builtinOptions
        options.padding = self._schema.Padding.VALID
        options.strideW = options.strideH = one.stride
        options.dilationWFactor = options.dilationHFactor = 1
        self._graph.operators.append(node)
        return y

    def _node(self, channelwise: bool) -> Any:
        schema, node, code = self._schema, self._schema.OperatorT(), self._schema.OperatorCodeT()
        if channelwise:
            code.builtinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
            node.builtinOptions, node.builtinOptionsType = (
                schema.DepthwiseConv2DOptionsT(),
                schema.BuiltinOptions.DepthwiseConv2DOptions,
            )
            node.builtinOptions.depthMultiplier = 1
        else:
            code.builtinCode = schema.BuiltinOperator.CONV_2D
            node.builtinOptions, node.builtinOptionsType = schema.Conv2DOptionsT(), schema.BuiltinOptions.Conv2DOptions
        code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
        node.opcodeIndex = len(self._codes)
        self._codes.append(code)
        return node

    def between(self, x: int, y: int) -> bytes:
        """The model from tensor x to tensor y."""
        from flatbuffers import Builder

        self._graph.inputs, self._graph.outputs = [x], [y]
        model: Any = self._schema.ModelT()
        model.version, model.operatorCodes, model.buffers = _MODEL_VERSION, self._codes, self._buffers
        model.subgraphs = [self._graph]
        builder = Builder(0)
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())


def _model(problem: Problem) -> bytes:
    graph = _Graph()
    shape = problem.F.shape
    first = x = graph.tensor("x", shape)
    for one in problem.convolutions:
        N, _, D_K, _ = one.weight.shape
        width = (shape[1] - D_K) // one.stride + 1
        shape = (shape[0], width, width, N)
        x = graph.convolution(x, one, shape)
    return graph.between(first, x)


def _bind(problem: Problem) -> Launch:
    """Channels last, between LiteRT's own maps."""
    from ai_edge_litert.interpreter import Interpreter

    copies = 2 * (problem.F.size + problem.G.size) + 3 * sum(weight.size for weight in problem.weights)
    require_memory(4 * copies, "the model of LiteRT and its maps")
    interpreter = Interpreter(model_content=_model(problem), num_threads=numba.get_num_threads())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(problem.F))
    G, invoke = interpreter.tensor(interpreter.get_output_details()[0]["index"]), interpreter.invoke

    def launch() -> object:
        invoke()
        return G  # gives the map, which may only be looked at between launches

    return launch


def _unpack(given: Any, G: np.ndarray) -> None:
    np.copyto(G, given())


for _operator in OPERATORS:
    kernel(f"cpu.{_operator}.xnnpack", unpack=_unpack, needs=("ai_edge_litert", "flatbuffers"), library="xnnpack")(_bind)
