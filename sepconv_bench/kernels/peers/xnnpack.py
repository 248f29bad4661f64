"""The XNNPACK peer, by way of LiteRT: a model of one convolution, of two for separable, whose operators XNNPACK takes over.

Maps have channels last there too, so F and G lie as ours do; LiteRT holds its own. It is imported when a kernel is bound,
never before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS

_MODEL_VERSION, _FILE_IDENTIFIER = 3, b"TFL3"


class Graph:
    """A model being built: operators, each of which makes a tensor."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema  # generated: any field may be of any type
        self._codes: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first buffer says that a tensor has no data
        self._graph: Any = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def tensor(self, shape: tuple[int, ...], values: np.ndarray | None = None) -> int:
        """Of float32, and of the type of its values where it has some."""
        tensor, types = self._schema.TensorT(), self._schema.TensorType
        tensor.name, tensor.shape = f"tensor{len(self._graph.tensors)}", np.array(shape, np.int32)
        tensor.type, tensor.buffer = types.FLOAT32, 0
        if values is not None:
            if values.dtype == np.int32:
                tensor.type = types.INT32
            buffer = self._schema.BufferT()
            buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, values: np.ndarray) -> int:
        return self.tensor(values.shape, values)

    def convolution(self, x: int, one: GroupedConvolution) -> int:
        """Of tensor x; gives the tensor of its result."""
        schema, channelwise = self._schema, one.groups > 1
        # (N, D_K, D_K, M), and (1, D_K, D_K, M) where each channel is by itself.
        weight = one.weight.transpose((1, 2, 3, 0) if channelwise else (0, 2, 3, 1))
        batch, D_F, _, _ = self._graph.tensors[x].shape
        N, D_G = len(one.weight), one.width(D_F)
        x, same = self._padded(x, one, D_G)
        bias = np.zeros(N, np.float32) if one.bias is None else one.bias
        options = {
            "padding": schema.Padding.SAME if same else schema.Padding.VALID,
            "strideW": one.stride,
            "strideH": one.stride,
            "dilationWFactor": 1,
            "dilationHFactor": 1,
        }
        if one.bias is not None:
            options["fusedActivationFunction"] = schema.ActivationFunctionType.RELU6
        inputs, shape = [x, self.constant(weight), self.constant(bias)], (batch, D_G, D_G, N)
        if channelwise:
            return self.operator("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", inputs, shape, depthMultiplier=1, **options)
        return self.operator("CONV_2D", "Conv2DOptions", inputs, shape, **options)

    def _padded(self, x: int, one: GroupedConvolution, D_G: int) -> tuple[int, bool]:
        """The tensor with its zeros around it, or as it is where SAME puts them there; and whether that is so."""
        batch, D_F, _, channels = self._graph.tensors[x].shape
        before, zeros = one.padding[0], max(0, (D_G - 1) * one.stride + one.weight.shape[-1] - D_F)
        if before == zeros // 2:
            return x, before > 0
        # SAME would put the odd one behind the map.
        sides = self.constant(np.array([[0, 0], *[[before, zeros - before]] * 2, [0, 0]], np.int32))
        width = D_F + zeros
        return self.operator("PAD", "PadOptions", [x, sides], (batch, width, width, channels)), False

    def operator(self, name: str, options: str, inputs: list[int], shape: tuple[int, ...], **values: object) -> int:
        """Add an operator, with the options of that kind; gives the tensor of its result, whose shape that is."""
        schema = self._schema
        code, node, y = schema.OperatorCodeT(), schema.OperatorT(), self.tensor(shape)
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1
        node.opcodeIndex, node.inputs, node.outputs = len(self._codes), inputs, [y]
        node.builtinOptionsType, node.builtinOptions = getattr(schema.BuiltinOptions, options), getattr(schema, f"{options}T")()
        for option, value in values.items():
            setattr(node.builtinOptions, option, value)
        self._codes.append(code)
        self._graph.operators.append(node)
        return y

    def convolutions(self, x: int, layers: Iterable[GroupedConvolution]) -> int:
        """One after the other."""
        for one in layers:
            x = self.convolution(x, one)
        return x

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


def launch_of(model: bytes, x: np.ndarray) -> Launch:
    """A launch of the model on x, which is copied; gives a function that gives the result, to be looked at between launches."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=numba.get_num_threads())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(x))
    y, invoke = interpreter.tensor(interpreter.get_output_details()[0]["index"]), interpreter.invoke

    def launch() -> object:
        invoke()
        return y

    return launch


def _bind(problem: Problem) -> Launch:
    """Channels last, between LiteRT's own maps."""
    copies = 2 * (problem.F.size + problem.G.size) + 3 * sum(weight.size for weight in problem.weights)
    require_memory(4 * copies, "the model of LiteRT and its maps")
    graph = Graph()
    x = graph.tensor(problem.F.shape)
    return launch_of(graph.between(x, graph.convolutions(x, problem.convolutions)), problem.F)


def _unpack(given: Any, G: np.ndarray) -> None:
    np.copyto(G, given())


for _operator in OPERATORS:
    kernel(f"cpu.{_operator}.xnnpack", unpack=_unpack, needs=("ai_edge_litert", "flatbuffers"), library="xnnpack")(_bind)
