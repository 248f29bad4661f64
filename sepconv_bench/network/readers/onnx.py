"""ONNX files: sizes by shape inference; weights are not needed, and may be elsewhere or in another file."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from sepconv_bench.errors import InputError
from sepconv_bench.model.scanned import ModelConvolution, NotCovered, Scanned
from sepconv_bench.network.readers import installed

_KEPT = 1024  # elements of a constant that shape inference may need; what has more is a weight
_OTHERS = {
    "ConvTranspose": "transposed convolution",
    "DeformConv": "deformable convolution",
    "ConvInteger": "quantized",
    "QLinearConv": "quantized",
    "QLinearMatMul": "quantized",
    "MatMulInteger": "quantized",
}


def read_onnx(path: Path, sizes: tuple[int, ...] | None = None) -> Scanned:
    """The convolutions of an ONNX file. Sizes that the file leaves open are those given; a batch that is open is 1."""
    installed("onnx", "onnx", "an .onnx file")
    import onnx.inliner
    import onnx.shape_inference
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.node:
            raise InputError(f"{path} holds no graph")
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        for tensor in model.graph.initializer:
            _without_values(tensor)
        taken = _set_input(model.graph, path, sizes)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except InputError:
        raise
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file: {error}") from error
    except (OSError, ValueError, RuntimeError, TypeError, onnx.shape_inference.InferenceError) as error:
        raise InputError(f"{path} cannot be read as an ONNX file: {error}") from error
    try:
        return Scanned(str(path), taken, tuple(_Graph(model.graph).layers()))
    except (IndexError, ValueError, TypeError, ZeroDivisionError) as error:  # a node that lacks what its operator has
        raise InputError(f"{path} is damaged: {error}") from error


def _without_values(tensor: Any) -> None:
    """Weights are as large as the model, and shape inference asks for their sizes alone."""
    if prod(tensor.dims) > _KEPT:
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)


def _set_input(graph: Any, path: Path, sizes: tuple[int, ...] | None) -> tuple[int, ...]:
    """Put sizes into the first input, and take out what the file says of those that follow from them; gives the sizes."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not inputs:
        raise InputError(f"{path} has no input")
    dims = inputs[0].type.tensor_type.shape.dim
    there = [one.dim_value if one.HasField("dim_value") and one.dim_value > 0 else None for one in dims]
    if sizes is None:
        if there and there[0] is None:
            there[0] = 1
        if None in there or not there:
            told = ",".join(str(size or one.dim_param or "?") for size, one in zip(there, dims, strict=True))
            raise InputError(
                f"{path} leaves open how large its input {inputs[0].name} is ({told}); say it, as --input 1,3,224,224"
            )
        sizes = tuple(size for size in there if size is not None)
    elif len(sizes) != len(dims) and len(dims):
        raise InputError(f"{len(sizes)} sizes came, and the input {inputs[0].name} of {path} has {len(dims)} axes")
    inputs[0].type.tensor_type.ClearField("shape")
    for size in sizes:
        inputs[0].type.tensor_type.shape.dim.add().dim_value = size
    for other in inputs[1:]:
        shape = other.type.tensor_type.shape.dim
        if len(shape) and not shape[0].dim_value:
            shape[0].dim_value = sizes[0]
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return sizes


class _Graph:
    """A graph whose shapes have been inferred."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                sizes = tuple(dim.dim_value for dim in dims)
                self._shapes[value.name] = sizes if all(size > 0 for size in sizes) else None
        self._shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._makers = {name: node.op_type for node in graph.node for name in node.output}

    def layers(self) -> Iterator[ModelConvolution | NotCovered]:
        for node in self._graph.node:
            name = node.name or next(iter(node.output), node.op_type)
            if node.op_type == "Conv":
                yield self._convolution(node, name)
            elif node.op_type in ("MatMul", "Gemm"):
                yield self._product(node, name)
            elif node.op_type in _OTHERS:
                yield NotCovered(name, node.op_type, _OTHERS[node.op_type], self._multiply_adds_of_other(node))
            elif any(_holds_convolutions(one.g) for one in node.attribute if one.HasField("g")):
                yield NotCovered(name, node.op_type, "what runs in it depends on values")

    def _convolution(self, node: Any, name: str) -> ModelConvolution | NotCovered:
        F, K, G = (self._shapes.get(one) for one in (node.input[0], node.input[1], node.output[0]))
        if F is None or K is None or G is None:
            return NotCovered(name, "Conv", "its sizes do not follow from those of the input")
        if len(K) != 4:
            return NotCovered(name, "Conv", f"{len(K) - 2}-dimensional convolution", prod(G) * prod(K[1:]))
        if "DequantizeLinear" in (self._makers.get(node.input[0]), self._makers.get(node.input[1])):
            return NotCovered(name, "Conv", "quantized", prod(G) * prod(K[1:]))
        said: dict[str, Any] = {one.name: tuple(one.ints) or one.i for one in node.attribute}
        groups = said.get("group", 1)
        if groups < 1 or K[1] * groups != F[1] or K[0] % groups:
            return NotCovered(name, "Conv", f"no convolution: {groups} groups, {F[1]} -> {K[0]} channels, {K[1]} in a group")
        automatic = next((one.s for one in node.attribute if one.name == "auto_pad"), b"NOTSET") not in (b"NOTSET", b"VALID")
        return ModelConvolution(
            name,
            in_channels=F[1],
            out_channels=K[0],
            kernel=(K[2], K[3]),
            input=(F[2], F[3]),
            output=(G[2], G[3]),
            stride=said.get("strides", (1, 1)),
            padding=None if automatic else said.get("pads", (0, 0, 0, 0)),
            dilation=said.get("dilations", (1, 1)),
            groups=groups,
            batch=F[0],
        )

    def _product(self, node: Any, name: str) -> ModelConvolution | NotCovered:
        """A matrix product: a pointwise convolution where it takes each pixel of a map, channels last."""
        A, B, C = (self._shapes.get(one) for one in (node.input[0], node.input[1], node.output[0]))
        if A is None or B is None or C is None:
            return NotCovered(name, node.op_type, "its sizes do not follow from those of the input")
        if len(A) == 4 and len(B) == 2:
            return ModelConvolution(name, A[3], B[1], (1, 1), (A[1], A[2]), (A[1], A[2]), padding=(0, 0, 0, 0), batch=A[0])
        transposed = any(one.name == "transA" and one.i for one in node.attribute)
        what = "fully connected" if len(B) == 2 and self._makers.get(node.input[1]) is None else "matrix product"
        return NotCovered(name, node.op_type, what, prod(C) * (A[0] if transposed else A[-1]))

    def _multiply_adds_of_other(self, node: Any) -> int | None:
        """Of an operator that is not covered, where its sizes say it."""
        if node.op_type == "ConvTranspose":
            F, K = (self._shapes.get(one) for one in node.input[:2])
            return prod(F) * prod(K[1:]) if F and K else None
        K = self._shapes.get(node.input[{"QLinearConv": 3, "QLinearMatMul": 3, "DeformConv": 1}.get(node.op_type, 1)])
        G = self._shapes.get(node.output[0])
        if not K or not G:
            return None
        return prod(G) * (K[-2] if "MatMul" in node.op_type else prod(K[1:]))


def _holds_convolutions(graph: Any) -> bool:
    return any("Conv" in node.op_type or any(_holds_convolutions(one.g) for one in node.attribute) for node in graph.node)
