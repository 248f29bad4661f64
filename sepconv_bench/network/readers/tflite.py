"""TensorFlow Lite files, by the generated classes of their schema that LiteRT brings. Maps have channels last there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from sepconv_bench.errors import InputError
from sepconv_bench.model.scanned import ModelConvolution, NotCovered, Scanned, Size
from sepconv_bench.network.readers import installed

_IDENTIFIER = b"TFL3"
_OTHERS = {
    "TRANSPOSE_CONV": "transposed convolution",
    "CONV_3D": "3-dimensional convolution",
    "CONV_3D_TRANSPOSE": "3-dimensional convolution",
}


def read_tflite(path: Path, sizes: tuple[int, ...] | None = None) -> Scanned:
    """The convolutions of a .tflite file. It knows its sizes: those given (batch, channels, height, width) must be its own."""
    for module in ("ai_edge_litert", "flatbuffers"):
        installed(module, "tflite", "a .tflite file")
    from ai_edge_litert import schema_py_generated as schema

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if data[4:8] != _IDENTIFIER:
        raise InputError(f"{path} is not a .tflite file: it does not begin as one")
    try:
        file = _File(schema, data)
        taken, layers = file.input(), tuple(file.layers())
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    own = (taken[0], taken[3], taken[1], taken[2]) if len(taken) == 4 else taken
    if sizes is not None and sizes != own:
        raise InputError(
            f"the input of {path} is {','.join(map(str, own))}, and a .tflite file keeps its sizes; --input can be left out"
        )
    return Scanned(str(path), own, layers)


class _File:
    """The first subgraph of a model."""

    def __init__(self, schema: Any, data: bytes) -> None:
        self._schema = schema
        model = schema.Model.GetRootAs(data, 0)
        if model.SubgraphsLength() < 1:
            raise ValueError("it holds no graph")
        self._model, self._graph = model, model.Subgraphs(0)
        counts = (self._graph.OperatorsLength(), self._graph.TensorsLength(), model.OperatorCodesLength())
        if max(counts) > len(data) or min(counts) < 0:
            raise ValueError("it says it has more layers than it has bytes")
        self._names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}

    def input(self) -> tuple[int, ...]:
        if self._graph.InputsLength() < 1:
            raise ValueError("it has no input")
        return self._shape(self._graph.Inputs(0))

    def layers(self) -> Iterator[ModelConvolution | NotCovered]:
        for number in range(self._graph.OperatorsLength()):
            node = self._graph.Operators(number)
            code = self._model.OperatorCodes(node.OpcodeIndex())
            operator = self._names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "custom")
            if operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                yield self._convolution(node, operator)
            elif operator in ("FULLY_CONNECTED", "BATCH_MATMUL"):
                yield self._product(node, operator)
            elif operator in _OTHERS:
                yield NotCovered(self._name(node.Outputs(0)), operator, _OTHERS[operator], self._of_other(node, operator))

    def _convolution(self, node: Any, operator: str) -> ModelConvolution | NotCovered:
        name = self._name(node.Outputs(0))
        F, K, G = (self._shape(tensor) for tensor in (node.Inputs(0), node.Inputs(1), node.Outputs(0)))
        if len(F) != 4 or len(K) != 4 or len(G) != 4 or min(*F, *K, *G) < 1:
            return NotCovered(name, operator, "its sizes are not in the file")
        channelwise = operator == "DEPTHWISE_CONV_2D"
        groups = F[3] if channelwise else F[3] // K[3]  # a standard kernel with fewer channels than its input has groups
        if groups < 1 or F[3] % groups or G[3] % groups or (not channelwise and F[3] % K[3]):
            return NotCovered(name, operator, f"no convolution: {F[3]} -> {G[3]} channels, {K[3]} in a window")
        if (kind := self._kind(node.Inputs(0))) != "FLOAT32":
            return NotCovered(name, operator, f"quantized ({kind.lower()})", prod(G) * K[1] * K[2] * (F[3] // groups))
        table = node.BuiltinOptions()
        options = self._schema.DepthwiseConv2DOptions() if channelwise else self._schema.Conv2DOptions()
        options.Init(table.Bytes, table.Pos)
        kernel: Size = (K[1], K[2])
        return ModelConvolution(
            name,
            in_channels=F[3],
            out_channels=G[3],
            kernel=kernel,
            input=(F[1], F[2]),
            output=(G[1], G[2]),
            stride=(options.StrideH(), options.StrideW()),
            padding=(0, 0, 0, 0) if options.Padding() == self._schema.Padding.VALID else None,
            dilation=(options.DilationHFactor(), options.DilationWFactor()),
            groups=groups,
            batch=F[0],
        )

    def _product(self, node: Any, operator: str) -> ModelConvolution | NotCovered:
        name = self._name(node.Outputs(0))
        A, B, C = (self._shape(tensor) for tensor in (node.Inputs(0), node.Inputs(1), node.Outputs(0)))
        if operator == "FULLY_CONNECTED" and len(A) == len(C) == 4 and self._kind(node.Inputs(0)) == "FLOAT32":
            return ModelConvolution(name, A[3], B[0], (1, 1), (A[1], A[2]), (A[1], A[2]), padding=(0, 0, 0, 0), batch=A[0])
        what = "fully connected" if operator == "FULLY_CONNECTED" else "matrix product"
        return NotCovered(name, operator, what, prod(C) * (B[-1] if operator == "FULLY_CONNECTED" else A[-1]))

    def _of_other(self, node: Any, operator: str) -> int | None:
        K, other = self._shape(node.Inputs(1)), self._shape(node.Outputs(0))
        if operator == "TRANSPOSE_CONV":  # (N, D_K, D_K, M), and each pixel of its third input meets all of it
            return prod(self._shape(node.Inputs(2))) * prod(K[:3])
        return prod(other) * prod(K[:4]) if operator == "CONV_3D" else None

    def _tensor(self, number: int) -> Any:
        if not 0 <= number < self._graph.TensorsLength():
            raise ValueError(f"there is no tensor {number}")
        return self._graph.Tensors(number)

    def _shape(self, number: int) -> tuple[int, ...]:
        tensor = self._tensor(number)
        return tuple(int(tensor.Shape(axis)) for axis in range(min(tensor.ShapeLength(), 8)))

    def _kind(self, number: int) -> str:
        kind = self._tensor(number).Type()
        return next((name for name, value in vars(self._schema.TensorType).items() if value == kind), str(kind))

    def _name(self, number: int) -> str:
        return (self._tensor(number).Name() or b"").decode(errors="backslashreplace") or f"tensor {number}"
