"""A model is read as it stands: published totals, the model's own names, and a word for each layer that is not covered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import architectures
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.kernels.peers.xnnpack import Graph
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, SEPARABLE, STANDARD
from sepconv_bench.model.scanned import ModelConvolution, NotCovered, asked, separable_pairs
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.readers import parse_sizes, read


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_the_multiply_adds_of_a_network_are_those_published(name):
    make, width, convolutions, published = architectures.ARCHITECTURES[name]
    model = read(architectures.without_weights(make), (1, 3, width, width))
    assert len(model.convolutions) == convolutions
    assert round(model.multiply_adds / 1e9, 3) == published
    assert {layer.operator for layer in model.layers if isinstance(layer, NotCovered)} <= {"Linear"}
    for layer in model.convolutions:
        operator, shape = asked(layer)
        assert operator.multiplications(shape) == layer.multiply_adds
        assert sum(map(np.prod, operator.weight_shapes(shape))) == layer.parameters


def test_separable_pairs_are_found_past_squeeze_and_excitation():
    model = read(architectures.without_weights(architectures.mobilenet_v3)).convolutions
    pairs = separable_pairs(model)
    assert len(pairs) == len(architectures.MOBILENET_V3)
    first = model[min(pairs)], model[pairs[min(pairs)]]
    assert [(one.kind, one.in_channels, one.out_channels) for one in first] == [("depthwise", 16, 16), ("pointwise", 16, 16)]
    squeezed = architectures.without_weights(lambda: architectures.inverted(8, 16, 24, 5, 2, 4))
    layers = read(squeezed, (1, 8, 10, 10)).convolutions
    assert separable_pairs(layers) == {1: 4}, "those between see one pixel"


def layer(**sizes: object) -> ModelConvolution:
    given = {"in_channels": 8, "out_channels": 16, "kernel": (3, 3), "input": (12, 12), "output": (10, 10)}
    return ModelConvolution("conv", **(given | sizes))


@pytest.mark.parametrize(
    ("sizes", "operator", "shape"),
    [
        ({}, STANDARD, ConvShape(3, 8, 16, 10)),
        ({"input": (21, 21), "stride": (2, 2), "batch": 4}, STANDARD, ConvShape(3, 8, 16, 10, 2, 4)),
        ({"out_channels": 8, "groups": 8}, DEPTHWISE, ConvShape(3, 8, 8, 10)),
        ({"kernel": (1, 1), "input": (20, 20), "stride": (2, 2)}, POINTWISE, ConvShape(1, 8, 16, 10)),
        ({"kernel": (1, 1), "dilation": (3, 3)}, POINTWISE, ConvShape(1, 8, 16, 10)),
        ({"groups": 4}, STANDARD, ConvShape(3, 8, 16, 10, groups=4)),
        ({"groups": 8}, DEPTHWISE, ConvShape(3, 8, 8, 10, multiplier=2)),
        ({"kernel": (1, 7)}, STANDARD, ConvShape(1, 8, 16, 10, D_K_w=7)),
        ({"output": (10, 12)}, STANDARD, ConvShape(3, 8, 16, 10, D_G_w=12)),
        ({"stride": (2, 1)}, STANDARD, ConvShape(3, 8, 16, 10, 2, stride_w=1)),
        ({"dilation": (2, 2)}, STANDARD, ConvShape(3, 8, 16, 10, dilation=2)),
    ],
)
def test_a_layer_becomes_a_shape(sizes, operator, shape):
    assert asked(layer(**sizes)) == (operator, shape)


def test_a_layer_that_is_no_shape_says_why():
    with pytest.raises(ShapeError, match="12 outputs of 8 channels, each by itself: not as many of each"):
        asked(layer(groups=8, out_channels=12))


# ---------------------------------------------------------------------------------------- ONNX


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape, np.float32).tobytes(), raw=True)


def saved(path: Path, nodes: list, weights: list, taken: tuple, value: str = "y") -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", taken), (value, None)))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())
    return path


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Standard, depthwise, pointwise, grouped, transposed, and a fully connected layer, on a map whose size is open."""
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["a"], "first", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k1"], ["c"], "deep", group=8, auto_pad="SAME_UPPER"),
        helper.make_node("Conv", ["c", "k2"], ["d"], "point"),
        helper.make_node("Conv", ["d", "k3"], ["e"], "grouped", group=2, dilations=[2, 1]),
        helper.make_node("ConvTranspose", ["e", "k4"], ["f"], "up"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "w"], ["y"], "dense"),
    ]
    weights = [weight("k0", 8, 3, 3, 3), weight("k1", 8, 1, 3, 3), weight("k2", 16, 8, 1, 1), weight("k3", 4, 8, 3, 3)]
    weights += [weight("k4", 4, 6, 2, 2), weight("w", 6, 5)]
    return saved(tmp_path / "chain.onnx", nodes, weights, ("n", 3, "h", "w"))


def test_an_onnx_file_is_read_with_its_own_names(chain):
    model = read(chain, (2, 3, 32, 32))
    assert [one.name for one in model.layers] == ["first", "deep", "point", "grouped", "up", "dense"]
    first, deep, point, grouped = model.convolutions
    assert first == ModelConvolution("first", 3, 8, (3, 3), (32, 32), (16, 16), (2, 2), (1, 1, 1, 1), batch=2)
    assert deep == ModelConvolution("deep", 8, 8, (3, 3), (16, 16), (16, 16), padding=None, groups=8, batch=2)
    assert (point.kind, grouped.kind) == ("pointwise", "grouped")
    assert (grouped.output, grouped.dilation) == ((12, 14), (2, 1))
    up, dense = model.layers[4:]
    assert up == NotCovered("up", "ConvTranspose", "transposed convolution", 2 * 4 * 12 * 14 * 6 * 4)
    assert dense == NotCovered("dense", "Gemm", "fully connected", 2 * 6 * 5)
    assert model.multiply_adds == sum(one.multiply_adds for one in model.layers)


def test_a_size_that_is_open_is_asked_for(chain):
    with pytest.raises(InputError, match=r"leaves open how large its input x is \(1,3,h,w\); say it, as --input 1,3,224,224"):
        read(chain)
    with pytest.raises(InputError, match=r"3 sizes came, and the input x of .* has 4 axes"):
        read(chain, (3, 32, 32))


def test_what_does_not_follow_from_the_input_is_told_and_no_crash(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),  # as many as there happen to be
        helper.make_node("Cast", ["n"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["c", "axes"], ["u"]),
        helper.make_node("Conv", ["u", "k"], ["y"], "lost"),
        helper.make_node("Conv", ["x", "k1"], ["z"], "line"),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, (1,), [0])
    model = read(saved(tmp_path / "m.onnx", nodes, [weight("k", 2, 3, 1), weight("k1", 2, 4, 3), axes], (1, 4, 9)))
    assert model.layers == (
        NotCovered("lost", "Conv", "its sizes do not follow from those of the input"),
        NotCovered("line", "Conv", "1-dimensional convolution", 2 * 7 * 4 * 3),
    )


def test_weights_are_not_needed(tmp_path):
    kernel = weight("k", 8, 3, 3, 3)
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "gone.bin"), ("offset", "0"), ("length", "864")):
        entry = kernel.external_data.add()
        entry.key, entry.value = key, value
    path = saved(tmp_path / "m.onnx", [helper.make_node("Conv", ["x", "k"], ["y"])], [kernel], (1, 3, 10, 10))
    assert read(path).convolutions == (ModelConvolution("y", 3, 8, (3, 3), (10, 10), (8, 8), padding=(0, 0, 0, 0)),)


def test_quantized_layers_and_products_over_maps(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["k"]),
        helper.make_node("Conv", ["x", "k"], ["a"], "int8"),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["b", "w"], ["y"], "each pixel"),
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, (), [0.1])
    codes = helper.make_tensor("q", TensorProto.INT8, (8, 3, 3, 3), bytes(216), raw=True)
    model = read(saved(tmp_path / "m.onnx", nodes, [scale, codes, weight("w", 8, 4)], (1, 3, 10, 10)))
    assert model.layers[0] == NotCovered("int8", "Conv", "quantized", 8 * 8 * 8 * 27)
    assert asked(model.convolutions[0]) == (POINTWISE, ConvShape(1, 8, 4, 8))


# ---------------------------------------------------------------------------------------- TensorFlow Lite


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    problem, graph = Problem.draw(SEPARABLE, ConvShape(3, 8, 16, 10, 2), np.random.default_rng(0)), Graph()
    x = graph.tensor(problem.F.shape)
    path.write_bytes(graph.between(x, graph.convolutions(x, problem.convolutions)))
    return path


def test_a_tflite_file_is_read(lite):
    deep, point = read(lite).convolutions
    assert deep == ModelConvolution("tensor3", 8, 8, (3, 3), (21, 21), (10, 10), (2, 2), (0, 0, 0, 0), groups=8)
    assert asked(point) == (POINTWISE, ConvShape(1, 8, 16, 10))
    assert read(lite, (1, 8, 21, 21)).input == (1, 8, 21, 21)
    with pytest.raises(InputError, match=r"is 1,8,21,21, and a \.tflite file keeps its sizes"):
        read(lite, (1, 8, 32, 32))


@contextmanager
def suppress_told(told: list[str]) -> Iterator[None]:
    """Nothing but an InputError may come, and what it says is kept."""
    try:
        yield
    except InputError as error:
        told.append(str(error))


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_damaged_file_is_refused_in_one_line(kind, chain, lite, tmp_path):
    whole = {"onnx": chain, "tflite": lite}[kind].read_bytes()
    rng = np.random.default_rng(0)
    spoilt = tmp_path / f"spoilt.{kind}"
    contents = [b"", b"no model", whole[: len(whole) // 2], whole[:40]]
    for _ in range(40):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 600), 4):
            data[place] = rng.integers(256)
        contents.append(bytes(data))
    told = []
    for content in contents:
        spoilt.write_bytes(content)
        with suppress_told(told):
            read(spoilt, (1, 3, 32, 32) if kind == "onnx" else None)
    assert len(told) >= 4
    assert all(str(spoilt) in one for one in told)


# ---------------------------------------------------------------------------------------- torch


class Functional(nn.Module):
    """A convolution that no module stands for, one that is used twice, and one along a line."""

    def __init__(self) -> None:
        super().__init__()
        self.K = nn.Parameter(torch.zeros(4, 4, 3, 3))
        self.twice = nn.Conv2d(4, 4, 3, padding="same")
        self.line = nn.Conv1d(4, 2, 3)
        self.up = nn.ConvTranspose2d(4, 2, 2, 2)

    def forward(self, F: torch.Tensor) -> torch.Tensor:
        F = self.twice(self.twice(functional.conv2d(F, self.K, stride=2)))
        return self.up(F).sum() + self.line(F.flatten(2)).sum()


def test_functions_count_as_modules_do_and_nothing_of_the_model_changes():
    module = Functional().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = read(module, (1, 4, 9, 9))
    assert [one.name for one in model.layers] == ["Functional", "twice", "twice", "up", "line"]
    assert model.convolutions[0] == ModelConvolution("Functional", 4, 4, (3, 3), (9, 9), (4, 4), (2, 2), (0, 0, 0, 0))
    assert model.layers[3] == NotCovered("up", "ConvTranspose2d", "transposed convolution", 4 * 16 * 2 * 4)
    assert model.layers[4] == NotCovered("line", "Conv1d", "1-dimensional convolution", 2 * 14 * 12)
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())


def test_a_model_that_looks_at_values_runs_on_zeros():
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, F: torch.Tensor) -> torch.Tensor:
            return self.conv(F) if float(F.sum()) == 0 else F

    assert len(read(Looks(), (1, 3, 8, 8)).convolutions) == 1


def test_a_function_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mynet_scanned.py").write_text(
        "from torch import nn\n\ndef small():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))\n\n"
        "def broken():\n    raise RuntimeError('no weights')\n\nnumber = 3\n"
    )
    assert [one.kind for one in read("mynet_scanned:small").convolutions] == ["standard", "depthwise"]
    for name, told in (
        ("mynet_scanned:broken", "fails when it is called without arguments: RuntimeError: no weights"),
        ("mynet_scanned:number", "is a int; a torch.nn.Module is needed"),
        ("mynet_scanned:gone", "has no attribute 'gone'"),
        ("mynet_gone:small", "cannot be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(InputError, match=told):
            read(name)
    with pytest.raises(InputError, match=r"fails on an input of 1,4,8,8: RuntimeError: .*; --input takes other sizes"):
        read("mynet_scanned:small", (1, 4, 8, 8))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone.onnx", "there is no file gone.onnx"),
        ("tests/gone.pt", "is no model that can be read; a model is an .onnx or .tflite file"),
        ("nosuchnetwork", "'nosuchnetwork' is no file, and no network of that name was found: torchvision"),
    ],
)
def test_what_is_no_model_is_refused(name, told):
    with pytest.raises(InputError, match=told):
        read(name)


def test_a_reader_that_is_not_installed_says_what_to_install(chain):
    """In a process of its own, whose finder has no onnx."""
    code = (
        "import sys, importlib.util\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'onnx' else found(name, *rest)\n"
        f"from sepconv_bench.cli import main\nmain(['scan', {str(chain)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "sepconv-bench: an .onnx file takes onnx, which is not installed; pip install 'sepconv-bench[onnx]' brings it\n"
    )


def test_sizes_of_an_input_are_read():
    assert parse_sizes("1, 3,224,224") == (1, 3, 224, 224)
    for text in ("", "1,3,x", "0,3,8,8", "1,,2", "99999999999"):
        with pytest.raises(InputError, match="takes sizes as 1,3,224,224"):
            parse_sizes(text)


# ---------------------------------------------------------------------------------------- ConvShape.from_torch


@pytest.mark.parametrize("padding", [0, 1, (2, 2), "same", "valid"])
@pytest.mark.parametrize("D_K", [1, 3, 4])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_the_shape_of_a_torch_layer_is_that_of_its_output(padding, D_K):
    made = nn.Conv2d(8, 16, D_K, stride=1 if padding == "same" else 2, padding=padding)
    shape = ConvShape.from_torch(made, (2, 8, 13, 13))
    assert (shape.D_K, shape.M, shape.N, shape.batch) == (D_K, 8, 16, 2)
    with torch.no_grad():
        assert made(torch.zeros(2, 8, 13, 13)).shape == (2, 16, shape.D_G, shape.D_G)
    assert ConvShape.from_torch(made, 13).batch == 1


@pytest.mark.parametrize(
    ("made", "size", "told"),
    [
        (nn.Linear(8, 8), 13, "Linear is no two-dimensional convolution"),
        (nn.Conv2d(8, 8, 3), (3, 13, 13), "a width, .* fits"),
        (nn.Conv2d(8, 8, 3), (1, 4, 13, 13), "fits"),
        (nn.Conv2d(8, 8, 5), 4, "an input of 4 x 4 is smaller than the window of 5 x 5"),
        (nn.Conv2d(8, 12, 3, groups=4, dilation=9), 13, "an input of 13 x 13 is smaller than the window"),
    ],
)
def test_a_layer_without_a_shape_is_refused(made, size, told):
    with pytest.raises(ShapeError, match=told):
        ConvShape.from_torch(made, size)
