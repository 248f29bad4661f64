"""Shapes in TF32, bfloat16 and float16: what is drawn, stored and judged, and what torch is given to compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import made
import matplotlib.pyplot as plt
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.colors import to_hex

from sepconv_bench import ConvShape, Problem, ShapeError, get_kernel, kernel_names
from sepconv_bench.cli.run import run
from sepconv_bench.errors import InputError
from sepconv_bench.model import theory
from sepconv_bench.model.dtypes import DTYPES
from sepconv_bench.model.grids import GRIDS, in_dtypes
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.reference import Reference, convolve
from sepconv_bench.model.rounding import rounded, stored, widened
from sepconv_bench.report import drawn
from sepconv_bench.report.claims import claim_of_dtypes
from sepconv_bench.report.figures.dtypes import dtypes
from sepconv_bench.report.figures.palette import GROUND, of_dtypes
from sepconv_bench.report.page import write_report
from sepconv_bench.results import store, tables
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.rows import of_first_dtype, said
from sepconv_bench.results.store import Results

NARROW = ("bf16", "fp16")
SHAPE = ConvShape(3, 64, 5, 6)
BITS = {"f32": 23, "tf32": 10, "bf16": 7, "fp16": 10}  # of the mantissa, after the point


def of(dtype: str, shape: ConvShape = SHAPE) -> ConvShape:
    return replace(shape, dtype=dtype)


def test_a_shape_says_its_dtype_where_it_is_not_float32():
    assert (str(of("bf16")), repr(of("bf16"))) == (f"{SHAPE} dtype=bf16", f"{repr(SHAPE)[:-1]}, dtype='bf16')")
    assert "dtype" not in f"{of('f32')!r}{SHAPE}"
    assert len({of(dtype) for dtype in DTYPES}) == 4
    assert {of(dtype).key for dtype in DTYPES} == {SHAPE.key}, "all are drawn alike"
    assert [of(dtype).itemsize for dtype in DTYPES] == [4, 4, 2, 2]


@pytest.mark.parametrize("dtype", ["float32", "F32", "", 32, None, ["f32"], "f32\nf32"])
def test_another_dtype_is_refused_in_one_line(dtype):
    with pytest.raises(ShapeError, match=r"^dtype is .*; it must be f32, tf32, bf16 or fp16$"):
        of(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_those_of_the_dtype(dtype):
    for operator in OPERATORS.values():
        assert theory.bytes_moved([operator], of(dtype)) == of(dtype).itemsize * operator.elements(SHAPE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_rounded_to_the_nearest_and_halves_to_even(dtype):
    unit = 2.0 ** -BITS[dtype]
    given = np.array([1 + unit * 0.49, 1 + unit * 0.51, -1 - unit * 0.51, 0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(rounded(np.float32(given[:3]), "f32"), np.float32(given[:3]))
    if dtype == "f32":
        return
    halves = np.array([1 + unit / 2, 1 + unit * 1.5])
    expected = np.array([1, 1 + unit, -1 - unit, 0, np.inf, -np.inf, np.nan, 1, 1 + 2 * unit])
    np.testing.assert_array_equal(rounded(np.float32([*given, *halves]), dtype), np.float32(expected))
    np.testing.assert_array_equal(widened(stored(np.float32(expected), dtype)), np.float32(expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_drawn_is_of_the_dtype_and_else_the_same(dtype):
    drawn, exact = (Problem.draw("separable", of(one), np.random.default_rng(3)) for one in (dtype, "f32"))
    for array, before in zip((drawn.F, *drawn.weights), (exact.F, *exact.weights), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, rounded(before, dtype))
        np.testing.assert_array_equal(array, widened(stored(array, dtype)))


def emulated(problem: Problem, sums: str = "f32", maps: str | None = None) -> np.ndarray:
    """What a kernel gives that adds one product after the other in `sums`; the next multiplies what is rounded to `maps`."""
    G, maps = problem.F, maps or problem.shape.dtype
    for one, K in zip(problem.operator.convolutions, problem.weights, strict=True):
        rows, width = one.window(problem.shape)
        taps = [
            (G[:, i : i + problem.shape.D_G, j : j + problem.shape.D_G], K[i, j] if one.windowed else K)
            for i in range(rows)
            for j in range(width)
        ]
        added = np.zeros((), np.float32)
        for pixels, weights in taps:
            channels = [None] if one.depthwise else range(pixels.shape[-1])
            for m in channels:
                product = pixels * weights if m is None else pixels[..., m, None] * weights[m]
                added = rounded(np.asarray(added + product, np.float32), sums)
        G = rounded(added, maps)
    return added if problem.shape.itemsize == 4 else G


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_float32_sums_are_right_and_others_are_not(dtype, operator):
    problem = Problem.draw(operator, of(dtype, ConvShape(3, 256, 5, 6)), np.random.default_rng(4))
    reference = Reference(operator, problem.shape, problem.F, problem.weights)
    assert reference.error(emulated(problem)) <= 1
    assert reference.error(emulated(problem, maps="f32")) <= 1, "who keeps more than it must is right"
    for sums in NARROW:
        if BITS[sums] <= BITS[dtype] and operator != "depthwise":
            assert reference.error(emulated(problem, sums)) > 1


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_term_that_is_lost_is_found(dtype, operator):
    """One of the channels behind a pixel, or one tap of one channel."""
    problem = Problem.draw(operator, of(dtype), np.random.default_rng(5))
    reference = Reference(operator, problem.shape, problem.F, problem.weights)
    for number, weight in enumerate(problem.weights):
        lost = weight.copy()
        lost[(0,) * (weight.ndim - 1)] = 0
        weights = [lost if one == number else each for one, each in enumerate(problem.weights)]
        G = convolve(operator, problem.F, weights).astype(np.float32)
        assert reference.error(rounded(G, dtype)) > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_takes_what_it_declares(dtype):
    for name in kernel_names(missing=True):
        kernel = get_kernel(name)
        takes = kernel.refuses(of(dtype, ConvShape(3, 8, 8, 4))) is None
        if dtype not in kernel.declaration.dtypes:
            assert not takes
        assert kernel.device == "cuda" or kernel.declaration.dtypes == ("f32",)
    assert get_kernel("cpu.standard.tiled").refuses(of("bf16")) == "it computes in f32, not in bf16"


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_peak_is_a_roof_for_float32_alone(dtype):
    tiled, separable = made.declared("cuda.standard.tiled"), made.declared("cuda.separable.tiled")
    cell = Cell(made.measured(of(dtype), {tiled: 1e-2, separable: 1e-3}), made.run())
    roofs = cell.eta(tiled.name), cell.roofline_s(separable.name), cell.bound_speedup(*cell.compared[0])
    assert np.isnan(roofs).tolist() == [dtype != "f32"] * 3
    assert bool(cell.held_by_memory(separable.name)) == (dtype == "f32")
    beyond = Cell(made.measured(of(dtype), {tiled: 1e-9}), made.run())
    assert np.isnan(beyond.peak) == (dtype == "f32"), "only in float32 does it say that the peak was disturbed"


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_computes_in_the_dtype(dtype, operator):
    torch = pytest.importorskip("torch")
    from sepconv_bench.kernels.peers.cudnn import steps, written

    problem = Problem.draw(operator, of(dtype), np.random.default_rng(6))
    for layout in (torch.channels_last, torch.contiguous_format):
        given = steps(problem, layout, device="cpu")()
        assert given.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
        written(given, problem.G)
        assert Reference(operator, problem.shape, problem.F, problem.weights).error(problem.G) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_may_use_tf32_for_tf32_alone(dtype, monkeypatch):
    torch = pytest.importorskip("torch")
    from sepconv_bench.kernels.peers.cudnn import steps

    allowed = []
    real = torch.conv2d
    monkeypatch.setattr(torch, "conv2d", lambda *given: (allowed.append(torch.backends.cudnn.allow_tf32), real(*given))[1])
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    steps(Problem.draw("separable", of(dtype), np.random.default_rng(7)), torch.channels_last, device="cpu")()
    assert allowed == [dtype == "tf32"] * 2
    assert torch.backends.cudnn.allow_tf32 is False


def test_a_launch_allows_tf32_and_the_next_does_not():
    torch = pytest.importorskip("torch")
    from sepconv_bench.kernels.peers.cudnn import allowing_tf32

    def fails():
        raise RuntimeError("no algorithm")

    for before in (False, True):
        torch.backends.cudnn.allow_tf32 = before
        assert allowing_tf32(lambda: torch.backends.cudnn.allow_tf32)() is True
        assert torch.backends.cudnn.allow_tf32 is before
        with pytest.raises(RuntimeError, match="no algorithm"):
            allowing_tf32(fails)()
        assert torch.backends.cudnn.allow_tf32 is before


def test_a_dtype_makes_a_cell_of_its_own_and_a_row_says_it(tmp_path):
    kernels = [made.declared("cuda.standard.tiled"), made.declared("cuda.separable.fused")]
    cells = [made.measured(of(dtype), dict.fromkeys(kernels, 1e-3)) for dtype in DTYPES]
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        for cell in (*cells, *cells):
            results.add_cell(run, cell)
        assert [one.measured for one in results.cells()] == cells
        assert {shape for shape, _ in results.done()} == {of(dtype) for dtype in DTYPES}
        ratios, samples = tables.ratios(results), tables.samples(results)
    assert [ConvShape.of_row(row.to_dict()) for _, row in ratios.iterrows()] == [of(dtype) for dtype in DTYPES]
    assert samples.groupby("dtype").size().to_dict() == dict.fromkeys(DTYPES, 54)
    assert said(ratios) == ("dtype",)
    assert said(ratios[:1]) == ()
    assert of_first_dtype(ratios[::-1])["dtype"].item() == "f32"
    assert of_first_dtype(ratios[2:])["dtype"].item() == "bf16"


def test_a_grid_in_several_dtypes():
    smoke = GRIDS["smoke"]
    assert in_dtypes(smoke, "f32") == smoke
    assert in_dtypes(smoke, "fp16, bf16").shapes == tuple(
        of(dtype, shape) for dtype in ("fp16", "bf16") for shape in smoke.shapes
    )
    with pytest.raises(ShapeError, match="dtype is 'half'"):
        in_dtypes(smoke, "f32,half")


def test_a_run_in_a_dtype_that_no_kernel_takes_is_refused(tmp_path):
    command = ["--grid", "smoke", "--dtype", "f32,bf16", "--kernels", "cpu.*.tiled", "--output", str(tmp_path / "new")]
    refused = CliRunner().invoke(run, command)
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception) == "none of the chosen kernels of cpu computes in bf16; they take f32"
    assert not (tmp_path / "new").exists()


def timed(folder: Path, gains: Mapping[str, Sequence[float]], wide: Sequence[str] = ()) -> Results:
    """Results in which separable is so many times as fast, by dtype and shape; of those in `wide` no interval is closed."""
    results = store.create(folder)
    run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
    sides = [made.declared(f"cuda.{side}.tiled") for side in ("standard", "separable")]
    for dtype, speedups in gains.items():
        for number, speedup in enumerate(speedups):
            spread = np.linspace(0.4, 1.6, 6)[:, None] if dtype in wide else 1.0
            shape = ConvShape(3, 64, 64, 7 * (number + 1), dtype=dtype)
            results.add_cell(run, made.measured(shape, dict(zip(sides, (1e-2 * spread, 1e-2 / speedup), strict=True))))
    return results


def test_the_gain_is_drawn_in_each_dtype_at_its_promise(tmp_path):
    with timed(tmp_path, {"f32": (4, 5, 3), "bf16": (1.25, 0.8, 1.0)}, wide=["bf16"]) as results:
        ratios = tables.ratios(results)
    figure = dtypes(ratios)
    (axes,) = figure.axes
    marks = [one for one in axes.collections if len(one.get_offsets()) == 3]
    looks = of_dtypes(DTYPES)
    for one, dtype in zip(marks, ("f32", "bf16"), strict=True):
        there = ratios[ratios["dtype"] == dtype]
        np.testing.assert_allclose(one.get_offsets(), there[["theory_speedup", "speedup"]])
        assert to_hex(one.get_edgecolor()[0]) == looks[dtype].colour
        assert (to_hex(one.get_facecolor()[0]) == GROUND) == (dtype == "bf16"), "hollow: grade C"
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["f32", "bf16", "as promised", "hollow: interval not closed (grade C)"]
    plt.close(figure)
    assert dtypes(ratios[ratios["dtype"] == "bf16"]) is None


@pytest.mark.parametrize(
    ("gains", "claim"),
    [
        ({"f32": (4, 5, 3)}, ""),
        (
            {"bf16": (1.25, 0.8, 1.0), "f32": (4, 5, 3)},
            "Median gain of 3 shapes, the same in each: f32 4.0x of 7.9x promised, bf16 1.0x",
        ),
        ({"f32": (4, 5, 9), "bf16": (2,)}, "Median gain of 1 shape, the same in each: f32 4.0x of 7.9x promised, bf16 2.0x"),
    ],
)
def test_the_claim_has_the_medians_over_the_same_shapes(gains, claim, tmp_path):
    with timed(tmp_path, gains) as results:
        assert claim_of_dtypes(tables.ratios(results)) == claim


def test_where_no_shape_is_in_all_dtypes_the_claim_says_so(tmp_path):
    with timed(tmp_path, {"f32": (4, 5), "bf16": (2, 2)}) as results:
        ratios = tables.ratios(results)
    others = ratios[(ratios["dtype"] == "f32") == (ratios.D_G == 7)]
    assert claim_of_dtypes(others) == "Median gain of other shapes in each: f32 4.0x of 7.9x promised, bf16 2.0x of 7.9x"


@pytest.mark.parametrize("chosen", [("f32",), ("bf16",), ("f32", "bf16")])
def test_a_page_draws_the_dtypes_where_there_are_several_and_captions_name_theirs(chosen, tmp_path, monkeypatch):
    kept = [entry for entry in drawn.ENTRIES if entry.stem in ("speedup", "dtypes")]
    monkeypatch.setattr(drawn, "ENTRIES", kept)
    with timed(tmp_path, {dtype: (4.0, 3.0) if dtype == "f32" else (2.0, 1.0) for dtype in chosen}) as results:
        text = write_report(results, tmp_path).read_text(encoding="utf-8")
    several = len(chosen) > 1
    captions = [caption.split("</figcaption>")[0] for caption in text.split("<figcaption>")[1:]]
    assert len(captions) == 1 + several
    assert (tmp_path / "figures" / "dtypes.svg").exists() == several
    assert ("Median gain of 2 shapes, the same in each: f32 3.5x of 7.9x promised, bf16 1.5x" in text) == several
    named = f"In {chosen[0]}." if chosen != ("f32",) else "In "
    assert [named in caption for caption in captions] == [chosen != ("f32",)] + [False] * several
    assert f"Measured 2026-01-01, {PAGE_SAYS[chosen]}." in text


PAGE_SAYS = {
    ("f32",): "float32",
    ("bf16",): "bf16",
    ("f32", "bf16"): "f32, bf16; where no dtype is named, f32 is meant",
}
