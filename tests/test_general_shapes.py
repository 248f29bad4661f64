"""What real layers say beyond the paper's shapes: rectangular maps and windows, stride per axis, padding, dilation, channel
multipliers, groups. Each is right in the reference, in our kernels and in peers, or is refused with its name."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
from conftest import QUICK

from sepconv_bench import ConvShape, KernelError, Problem, ShapeError, get_kernel, kernel, kernel_names
from sepconv_bench.kernels import registry
from sepconv_bench.model.grids import get_grid, grid_from_axes
from sepconv_bench.model.operators import OPERATORS, get_operator
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.shapes import AXES, FIELDS, GENERAL, PADDING, PROPERTIES
from sepconv_bench.model.theory import bytes_moved, cost_ratio, multiplications
from sepconv_bench.results import store, tables

PLAIN = ConvShape(3, 4, 6, 5)


def drawn(rng: np.random.Generator) -> ConvShape:
    """A small shape of all properties mixed, each absent about as often as it is there."""

    def one_of(*choices: int) -> int:
        return int(rng.choice(choices))

    groups = one_of(1, 1, 2, 3)
    while True:
        sizes = {
            **{"D_K": one_of(1, 2, 3, 5), "M": groups * one_of(1, 2, 5, 8, 17), "N": groups * one_of(1, 3, 8, 16, 20)},
            **{"D_G": one_of(1, 2, 5, 7), "stride": one_of(1, 1, 2, 3), "batch": one_of(1, 1, 2), "groups": groups},
            **{"D_K_w": one_of(0, 0, 1, 4), "D_G_w": one_of(0, 3, 8), "stride_w": one_of(0, 0, 1, 2)},
            **{"dilation": one_of(1, 1, 2, 3), "dilation_w": one_of(0, 0, 1, 4), "multiplier": one_of(1, 1, 2, 3)},
            **dict.fromkeys(PADDING, 0),
        }
        if one_of(0, 1):
            sizes |= {side: one_of(0, 1, 2) for side in PADDING}
        try:
            return ConvShape(**sizes)
        except ShapeError:  # more padding than its windows reach
            continue


def held_out(count: int, seed: int) -> list[ConvShape]:
    rng = np.random.default_rng(seed)
    return [drawn(rng) for _ in range(count)]


# ------------------------------------------------------------------------------------ the shape


def test_a_shape_of_the_paper_is_what_it_was():
    shape = ConvShape(3, 8, 16, 14, stride=2, batch=5)
    assert shape == ConvShape(3, 8, 16, 14, 2, 5, D_K_w=3, D_G_w=14, stride_w=2, dilation_w=1)
    assert str(shape) == "D_K=3 M=8 N=16 D_G=14 stride=2 batch=5"
    assert repr(shape) == "ConvShape(D_K=3, M=8, N=16, D_G=14, stride=2, batch=5)"
    assert (shape.general, shape.key) == ({}, (3, 8, 16, 14, 2, 5))
    assert all(get_operator(operator).properties(shape) == () for operator in OPERATORS)
    assert dataclasses.replace(shape, D_K=1, D_G=7).window == (1, 1), "a second axis goes with the first"


def test_a_shape_says_what_is_more_and_is_read_from_what_it_says():
    shape = ConvShape(3, 8, 16, 14, D_K_w=1, D_G_w=7, stride_w=2, dilation=2, multiplier=2, groups=4, pad_top=2, pad_left=1)
    assert str(shape) == ("D_K=3 M=8 N=16 D_G=14 D_K_w=1 D_G_w=7 stride_w=2 dilation=2 multiplier=2 groups=4 padding=2,0,1,0")
    assert eval(repr(shape)) == shape
    assert ConvShape(**shape.resolved) == shape
    assert [*shape.resolved] == [*FIELDS]
    assert (shape.seen, shape.F_map) == ((18, 13), (16, 12))
    assert str(ConvShape(3, 8, 16, 14).with_padding(1)) == "D_K=3 M=8 N=16 D_G=14 padding=1"


@pytest.mark.parametrize("name", GENERAL)
def test_a_general_size_is_a_whole_number_too(name):
    with pytest.raises(ShapeError, match=f"{name} is -1; it must be a whole number from [01] to"):
        ConvShape(3, 4, 4, 5, **{name: -1})


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"groups": 3}, "groups is 3; it must divide M=4 and N=6"),
        ({"groups": 4}, "groups is 4; it must divide M=4 and N=6"),
        ({"pad_top": 4, "pad_bottom": 3}, "padding of 4 and 3 above and below leaves nothing of F"),
        ({"pad_left": 9}, "padding of 9 and 0 left and right leaves nothing of F"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(sizes, told):
    with pytest.raises(ShapeError, match=told):
        ConvShape(3, 4, 6, 5, **sizes)


@pytest.mark.parametrize(
    ("shape", "padding", "sides"),
    [
        (ConvShape(3, 4, 4, 7), "valid", (0, 0, 0, 0)),
        (ConvShape(3, 4, 4, 7), "same", (1, 1, 1, 1)),
        (ConvShape(3, 4, 4, 7), "same-torch", (1, 1, 1, 1)),
        (ConvShape(2, 4, 4, 7), "same", (0, 1, 0, 1)),
        (ConvShape(3, 4, 4, 7, stride=2), "same", (0, 1, 0, 1)),
        (ConvShape(3, 4, 4, 7, stride=2), "same-torch", (1, 0, 1, 0)),
        (ConvShape(3, 4, 4, 7, dilation=2, D_K_w=1), " Same ", (2, 2, 0, 0)),
        (ConvShape(1, 4, 4, 7, stride=2), "same", (0, 0, 0, 0)),
        (ConvShape(3, 4, 4, 7), 1, (1, 1, 1, 1)),
        (ConvShape(3, 4, 4, 7), "1, 0", (1, 1, 0, 0)),
        (ConvShape(3, 4, 4, 7), (0, 1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_padding_is_said_by_word_or_number(shape, padding, sides):
    assert shape.with_padding(padding).padding == sides


@pytest.mark.parametrize("padding", ["", "half", "1,2,3", "-1", "1.5", (1, 2, 3), None, True, "same,1", b"1", "9" * 99])
def test_padding_that_is_none_is_told_back(padding):
    with pytest.raises(ShapeError, match=r"padding is .*; it must be valid, same, same-torch, or whole numbers from 0"):
        PLAIN.with_padding(padding)


@pytest.mark.parametrize("seed", range(3))
def test_a_layer_of_an_input_is_the_layer_that_torch_makes(seed):
    """torch gives the size of G; of rows that no window sees, of the input or of its padding, we know nothing."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        like_torch(*(tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 13), (1, 5), (1, 4), (1, 4), (0, 3))))


def like_torch(size, window, stride, dilation, padding):
    torch = pytest.importorskip("torch")
    arguments = window, 2, 4, size, stride, padding, dilation
    x, K = torch.zeros(1, 2, *size), torch.zeros(4, 2, *window)
    try:
        G = torch.conv2d(x, K, None, stride, padding, dilation).shape[2:]
    except RuntimeError:  # the window does not fit
        with pytest.raises(ShapeError):
            ConvShape.of_input(*arguments)
        return
    try:
        shape = ConvShape.of_input(*arguments)
    except ShapeError as refused:  # every window sees padding alone, or it is wider than what is seen
        assert "leaves nothing of F" in str(refused)  # noqa: PT017
        return
    assert shape.G_map == tuple(G)
    assert all(seen <= there for seen, there in zip(shape.F_map, size, strict=True))


def test_same_padding_gives_the_size_that_tensorflow_does():
    for D_K, size, stride, dilation in itertools.product((1, 2, 3, 5), (1, 6, 7), (1, 2, 3), (1, 2)):
        shape = ConvShape.of_input(D_K, 2, 2, size, stride, "same", dilation)
        assert -(-size // stride) == shape.D_G
        assert shape.pad_bottom - shape.pad_top in (0, 1), "the odd one is below"


# ------------------------------------------------------------------------------------ theory


@pytest.mark.parametrize("shape", [PLAIN, *held_out(40, seed=1)], ids=str)
def test_the_promise_of_a_general_shape(shape):
    """multiplier x groups x (1/N + 1/(D_K D_K_w)), whatever the maps, the padding and the dilation."""
    taps = shape.window[0] * shape.window[1]
    assert cost_ratio(shape) == shape.multiplier * shape.groups * (Fraction(1, shape.N) + Fraction(1, taps))


def test_counts_and_bytes_by_hand():
    shape = ConvShape(3, 4, 6, 5, D_K_w=1, D_G_w=7, stride=2, stride_w=1, dilation=2, multiplier=3, groups=2, pad_top=1)
    pixels, F = 5 * 7, (13 - 1) * 7 * 4
    assert multiplications("standard", shape) == 3 * 2 * 6 * pixels
    assert multiplications("depthwise", shape) == 3 * 12 * pixels
    assert multiplications("pointwise", shape) == 12 * 6 * pixels
    assert bytes_moved(["standard"], shape) == 4 * (F + 3 * 2 * 6 + 6 * pixels), "padding is not moved"
    assert bytes_moved(["separable"], shape) == 4 * (F + 3 * 12 + 12 * 6 + 6 * pixels)
    two_passes = bytes_moved(["depthwise", "pointwise"], shape)
    assert two_passes - bytes_moved(["separable"], shape) == 2 * 4 * 12 * pixels


# ------------------------------------------------------------------------------------ the reference, and all kernels


def by_torch(problem: Problem) -> np.ndarray:
    """In float64, and by torch's own reading of weights, padding and groups."""
    import torch

    shape, x = problem.shape, torch.from_numpy(np.ascontiguousarray(problem.interior)).double().permute(0, 3, 1, 2)
    for operator, weight in zip(problem.operator.passes, problem.weights, strict=True):
        K = torch.from_numpy(weight).double()
        if operator == "pointwise":
            x = torch.conv2d(x, K.T[:, :, None, None])
            continue
        x = torch.nn.functional.pad(x, (shape.pad_left, shape.pad_right, shape.pad_top, shape.pad_bottom))
        if operator == "depthwise":
            K, groups = K.permute(2, 0, 1)[:, None], shape.M
        else:
            K, groups = K.permute(3, 2, 0, 1), shape.groups
        x = torch.conv2d(x, K, None, shape.strides, 0, shape.dilations, groups)
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_reference_is_what_torch_computes_in_float64(operator):
    pytest.importorskip("torch")
    for number, shape in enumerate(held_out(40, seed=2)):
        problem = Problem.draw(operator, shape, np.random.default_rng(number))
        reference = Reference(operator, shape, problem.interior, problem.weights)
        np.testing.assert_allclose(reference.G, by_torch(problem), rtol=1e-12, atol=1e-12, err_msg=str(shape))


# In the spirit of oneDNN's forward cases: shapes that no test was made for, all properties mixed.
HELD_OUT = held_out(24, seed=2026)
# Of kernels that compile for a shape's sizes a few will do.
HELD_OUT_OF = {"tiled": 8, "fused": 4}


@pytest.mark.parametrize(
    "variant", ["loops", "parallel", "tiled", "fused", "numpy", "torch", "onnxruntime", "openvino", "ncnn"]
)
def test_held_out_shapes_are_right_or_refused(variant):
    right = 0
    for name in [name for name in kernel_names(device="cpu") if name.endswith(f".{variant}")]:
        one = get_kernel(name)
        taken = [shape for shape in HELD_OUT if one.refuses(shape) is None]
        if set(one.takes) == set(PROPERTIES):
            assert taken == HELD_OUT
        for shape in taken[: HELD_OUT_OF.get(variant)]:
            problem = Problem.draw(one.operator, shape, np.random.default_rng(3))
            one.unpack(one.bind(problem)(), problem.G)
            error = Reference(one.operator, shape, problem.interior, problem.weights).error(problem.G)
            assert error <= 1, f"{name} on {shape}: {error} times what float32 rounding explains"
            right += 1
    assert right or not variant


@pytest.mark.parametrize("name", ["cpu.standard.tiled", "cpu.separable.fused", "cpu.pointwise.tiled", "cpu.depthwise.tiled"])
def test_fast_kernels_take_rectangular_padded_maps(name):
    one = get_kernel(name)
    for shape in (ConvShape(3, 17, 20, 5, D_G_w=9, pad_top=1, pad_right=1), ConvShape(3, 8, 16, 9, 2, 2, D_G_w=4)):
        problem = Problem.draw(one.operator, shape, np.random.default_rng(4))
        assert one.refuses(shape) is None
        one.bind(problem)()
        assert Reference(one.operator, shape, problem.interior, problem.weights).error(problem.G) <= 1, shape


# ------------------------------------------------------------------------------------ what a kernel takes


ONE_EACH = {
    "rectangular maps": ConvShape(3, 4, 6, 5, D_G_w=7),
    "padding": ConvShape(3, 4, 6, 5, pad_left=1),
    "dilation": ConvShape(3, 4, 6, 5, dilation=2),
    "groups": ConvShape(3, 4, 6, 5, groups=2),
    "channel multipliers": ConvShape(3, 4, 6, 5, multiplier=2),
    "rectangular windows": ConvShape(3, 4, 6, 5, D_K_w=1),
    "strides per axis": ConvShape(3, 4, 6, 5, stride_w=2),
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_kernel_that_does_not_know_a_property_is_not_offered_for_it(name, monkeypatch):
    kernel_names()
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))
    plain = kernel("cpu.separable.plain")(lambda problem: None)
    standard = kernel("cpu.standard.plain")(lambda problem: None)
    knowing = kernel("cpu.separable.knowing", takes=(name,))(lambda problem: None)
    shape = ONE_EACH[name]
    whom = standard if name == "groups" else plain
    assert whom.refuses(shape) == f"it takes no {name}"
    assert knowing.refuses(shape) is None
    assert plain.refuses(PLAIN) is None
    pointwise = kernel("cpu.pointwise.plain")(lambda problem: None)
    assert (pointwise.refuses(shape) is None) == (name != "rectangular maps"), "single pixels know no window"


def test_what_is_no_property_is_refused():
    with pytest.raises(
        KernelError, match=r"takes of cpu\.separable\.odd is .*; it must be a tuple of rectangular maps, padding"
    ):
        kernel("cpu.separable.odd", takes=("everything",))


def test_several_refusals_are_told_in_one_line():
    shape = ConvShape(3, 4, 6, 5, dilation=2, groups=2)
    assert get_kernel("cpu.standard.tiled").refuses(shape) == "it takes no dilation and no groups"


# ------------------------------------------------------------------------------------ the checked call


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_call_says_what_the_weights_cannot(operator):
    one = get_kernel(f"cpu.{operator}.numpy")
    for number, shape in enumerate(held_out(20, seed=5)):
        shape = dataclasses.replace(shape, **({} if operator == "standard" else {"groups": 1}))
        shape = dataclasses.replace(shape, **({"multiplier": 1} if operator in ("standard", "pointwise") else {}))
        problem = Problem.draw(operator, shape, np.random.default_rng(number))
        said = {"stride": shape.strides, "padding": shape.padding, "dilation": shape.dilations}
        said |= {"groups": shape.groups, "multiplier": shape.multiplier}
        G = one(problem.interior, *problem.weights, **(said if operator != "pointwise" else {}))
        assert Reference(operator, shape, problem.interior, problem.weights).error(G) <= 1, shape


def test_same_padding_of_a_call():
    F, K = np.ones((1, 6, 8, 4), np.float32), np.ones((3, 3, 4, 5), np.float32)
    for name in ("cpu.standard.loops", "cpu.standard.tiled", "cpu.standard.numpy"):
        G = get_kernel(name)(F, K, padding="same")
        assert G.shape == (1, 6, 8, 5)
        assert (G[0, 0, 0] == 16).all(), "four of nine taps in the corner"
        assert (G[0, 1:-1, 1:-1] == 36).all()


@pytest.mark.parametrize(
    ("operator", "shapes", "said", "told"),
    [
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"groups": 2}, r"K must be \(3, 3, 2, 6\), of groups 2, multiplier 1"),
        ("standard", ((6, 6, 4), (3, 3, 2, 6)), {}, r"K must be \(D_K, D_K, M, N\)"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"multiplier": 2}, "multiplier is 2; standard has none"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"groups": 3}, "groups is 3; it must divide M=4 and N=6"),
        ("depthwise", ((6, 6, 4), (3, 3, 8)), {}, r"K_hat must be \(D_K, D_K, M\)"),
        ("depthwise", ((6, 6, 4), (3, 3, 8)), {"groups": 4}, "groups is 4; depthwise has none"),
        (
            "separable",
            ((6, 6, 4), (3, 3, 8), (4, 6)),
            {"multiplier": 2},
            r"K_tilde must be \(8, 6\), of groups 1, multiplier 2",
        ),
        ("pointwise", ((6, 6, 4), (4, 6)), {"padding": 1}, "pointwise sees single pixels and takes none"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"dilation": 3}, "F is 6 wide and the kernel D_K=3 dilated to 7"),
        ("standard", ((1, 1, 4), (5, 5, 4, 6)), {"padding": 1}, "F is 1 wide with 2 of padding and the kernel D_K=5"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"dilation": 0}, "dilation is 0; it must be a whole number from 1"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"stride": (1, 2, 3)}, "stride is .*; it must be a whole number, or two"),
        ("standard", ((6, 6, 4), (3, 3, 4, 6)), {"padding": -1}, "padding is -1; it must be valid, same"),
    ],
)
def test_what_a_call_cannot_mean_is_refused(operator, shapes, said, told):
    with pytest.raises(ShapeError, match=told) as refused:
        get_kernel(f"cpu.{operator}.numpy")(*(np.ones(shape, np.float32) for shape in shapes), **said)
    assert "\n" not in str(refused.value)


def test_a_call_of_a_kernel_that_does_not_take_it_says_so():
    F, K = np.ones((6, 6, 4), np.float32), np.ones((3, 1, 4, 5), np.float32)
    with pytest.raises(
        KernelError, match=r"cpu\.standard\.tiled does not take .*: it takes no dilation and no rectangular windows"
    ):
        get_kernel("cpu.standard.tiled")(F, K, dilation=2)


def test_axes_and_general_fields_are_all_fields():
    assert tuple(field.name for field in dataclasses.fields(ConvShape)) == (*FIELDS, "dtype") == (*AXES, *GENERAL, "dtype")


# ------------------------------------------------------------------------------------ grids, and the way through


def test_a_grid_is_spelled_with_all_that_a_shape_says():
    shapes = grid_from_axes({"D_K": "3", "D_K_w": "1", "dilation": "1,2", "groups": "4", "padding": "same"}).shapes
    assert shapes == tuple(
        ConvShape(3, 64, 64, 28, D_K_w=1, dilation=dilation, groups=4, pad_top=dilation, pad_bottom=dilation)
        for dilation in (1, 2)
    )


def test_the_grid_of_layers_has_every_property():
    shapes = get_grid("layers").shapes
    found = {name for shape in shapes for operator in OPERATORS.values() for name in operator.properties(shape)}
    assert found == set(PROPERTIES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--padding half", "padding is 'half'"),
        ("--groups 3", "groups is 3; it must divide M=64 and N=64"),
        ("--dilation 0", "0"),
    ],
)
def test_wrong_words_get_one_line(words, told, door, tmp_path):
    done = door("run", *words.split(), "--output", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_a_general_shape_is_measured_and_told(door, tmp_path):
    words = "--D_K 3 --M 4 --N 8 --D_G 5 --D_G_w 6 --dilation 2 --padding same --multiplier 2"
    kernels = "cpu.*.loops,cpu.*.tiled,cpu.*.numpy"
    done = door("run", *words.split(), "--kernels", kernels, *QUICK, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    with store.open_results(tmp_path) as results:
        (cell,), timings, ratios = results.cells(), tables.timings(results), tables.ratios(results)
    shape = ConvShape(3, 4, 8, 5, D_G_w=6, dilation=2, multiplier=2).with_padding(2)
    assert cell.shape == shape
    refused = timings[timings.status != "ok"].set_index("kernel")
    assert refused.status.to_dict() == dict.fromkeys(
        ("cpu.standard.tiled", "cpu.depthwise.tiled", "cpu.separable.tiled"), "unsupported"
    )
    assert refused.reason["cpu.separable.tiled"] == "it takes no dilation and no channel multipliers"
    assert set(ratios.rung) >= {"loops", "numpy"}
    assert ratios.theory_ratio.unique() == pytest.approx([2 * (1 / 8 + 1 / 9)])
    page, report = ((tmp_path / name).read_text(encoding="utf-8") for name in ("index.html", "report.md"))
    assert "dilation" in page
    heading = next(line for line in report.splitlines() if line.startswith("|"))
    columns = [column.strip() for column in heading.split("|")]
    assert {"D_G_w", "dilation", "pad_top", "multiplier"} < set(columns)
    assert not {"stride_w", "dilation_w", "groups"} & set(columns), "which no shape here says"
