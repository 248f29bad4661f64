"""scan, explain and the Python API: what they say follows from the cells, and each refusal is one line."""

from __future__ import annotations

import doctest
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import architectures
import made
import matplotlib.pyplot as plt
import msgspec
import pandas as pd
import pytest
from markupsafe import escape
from msgspec.structs import replace
from torch import nn

import sepconv_bench as sb
from sepconv_bench.api import explain as explaining
from sepconv_bench.api import load as loading
from sepconv_bench.api.scan import shapes_to_measure
from sepconv_bench.errors import InputError
from sepconv_bench.model import scanned, shapes, theory
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.readers import read
from sepconv_bench.predict import knowledge as knowing
from sepconv_bench.predict.advice import Case, advise
from sepconv_bench.predict.knowledge import Knowledge, Sides, Value
from sepconv_bench.predict.prediction import Model
from sepconv_bench.results import columns, store
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import CellMeasured

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def fitted_once() -> Iterator[None]:
    """Whoever predicts from the same cells takes the same model: a fit takes seconds, and test_prediction.py is about it."""
    models: dict[bytes, Model] = {}

    def fitted(cells: Sequence[Cell], device: str = "cpu") -> Model:
        key = msgspec.msgpack.encode((device, [cell.measured for cell in cells]))
        if key not in models:
            models[key] = Model(cells, device)
        return models[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (knowing, loading):
            patch.setattr(module, "Model", fitted)
        yield


@pytest.fixture(scope="module")
def resnet(committed) -> sb.Scan:
    return sb.scan(architectures.without_weights(architectures.resnet_50), results=committed)


def test_a_scan_adds_up(resnet):
    table, total = resnet.table, resnet.total
    assert [*table] == [column.name for column in columns.SCAN.columns]
    assert (table.times * table.multiply_adds).sum() == total.multiply_adds == 4089184256
    covered = table[table.now_s.notna()]
    assert (covered.times * covered.now_s).sum() == pytest.approx(total.now_s)
    assert covered.share.sum() == pytest.approx(1)
    assert covered.times.sum() == total.convolutions == 53
    chosen = table[table.worth_replacing == "yes"]
    assert chosen.times.sum() == total.replaced == 16
    assert ((chosen.kernel_height == 3) & (chosen.gain_lo > 1)).all()
    saved = (chosen.times * chosen.now_s * (1 - 1 / chosen.gain)).sum()
    assert total.replaced_s == pytest.approx(total.now_s - saved)
    assert total.replaced_lo_s < total.replaced_s < total.replaced_hi_s
    assert total.staying_s == pytest.approx(total.now_s - (chosen.times * chosen.now_s).sum())
    assert 1 < total.speedup < total.limit
    assert total.uncovered == 2048 * 1000


def test_a_shape_that_was_measured_is_not_predicted(committed):
    """64 -> 64 channels, 3 x 3 on 28 x 28 is a cell of the grid; the other is none."""
    with store.open_results(committed) as results:
        knowledge = Knowledge(results.cells())
        (cell,) = (one for one in sb.load(committed).ratios.query("best").itertuples() if one[2:6] == (3, 64, 64, 28))
        known, other = knowledge.sides([ConvShape(3, 64, 64, 28), ConvShape(3, 72, 72, 28)])
    assert known.speedup.measured
    assert known.speedup.value == pytest.approx(cell.speedup)
    assert not other.speedup.measured
    assert other.speedup.lo < other.speedup.value < other.speedup.hi


def test_both_libraries_times_are_of_measured_layers_alone(resnet, committed):
    """And the gain is over the fastest standard kernel, whose library it names."""
    table = resnet.table
    known = table[table.ours_s.notna() | table.peer_s.notna()]
    assert known.layer.tolist() == ["body.2.deep.0", "body.2.deep.1"], "which are in the grid"
    assert known[["ours_s", "peer_s"]].min(axis=1).tolist() == pytest.approx(known.now_s.tolist())
    timings = sb.load(committed).timings.query("D_K == 3 and M == 64 and N == 64 and D_G == 28")
    found = sb.scan(nn.Sequential(nn.Conv2d(64, 64, 3)), (1, 64, 30, 30), committed)
    (row,) = found.table.itertuples()
    standard = timings[(timings.operator == "standard") & (timings.status == "ok")].sort_values("time_s")
    assert row.ours_s == pytest.approx(standard[standard.library == "ours"].time_s.iloc[0])
    peer = standard[standard.library != "ours"].iloc[0]
    assert (row.peer_s, row.peer) == (pytest.approx(peer.time_s), peer.library)
    assert row.gain_over == standard.library.iloc[0]
    assert "gain over" in str(found)
    predicted = table[~table.index.isin(known.index)]
    assert (predicted.peer == "").all()
    assert set(predicted[predicted.gain.notna()].gain_over) == {"direct"}


def cell_of(shape: ConvShape, **milliseconds: float) -> CellMeasured:
    """Kernels of ours that took so long, by operator; `winograd` is standard, too."""
    kernels = {name: made.declared(f"cpu.{name}.tiled") for name in ("standard", "separable")}
    kernels["winograd"] = replace(made.declared("cpu.standard.winograd-4x4"), algorithm="winograd")
    return made.measured(shape, {kernels[name]: time / 1e3 for name, time in milliseconds.items()})


@pytest.mark.parametrize("apart", [False, True])
def test_a_gain_is_over_the_kernel_that_now_is_of(tmp_path, apart):
    """Direct 8 ms, Winograd's 2, separable 1: to replace it gains 2 times; also where Winograd's was timed apart."""
    shape = ConvShape(3, 64, 64, 28)
    cells = [cell_of(shape, standard=8, winograd=2, separable=1)]
    if apart:
        cells = [cell_of(shape, standard=8, separable=1), cell_of(shape, winograd=2)]
    with store.create(tmp_path) as results:
        for cell in cells:
            names = [outcome.kernel.name for outcome in cell.outcomes]
            results.add_cell(results.add_run(made.MACHINE, made.settings(names), made.CEILINGS), cell)
    found = sb.scan(nn.Sequential(nn.Conv2d(64, 64, 3)), (1, 64, 30, 30), tmp_path)
    (row,) = found.table.itertuples()
    assert (row.now_s, row.standard_s, row.separable_s) == pytest.approx((2e-3, 2e-3, 1e-3))
    assert (row.gain, row.gain_lo, row.gain_hi) == pytest.approx((2, 2, 2))
    assert row.gain_over == "ours, Winograd"
    assert row.reason == "saves 50% of the time"
    assert found.total.replaced_s == pytest.approx(1e-3), "what the separable one takes"
    assert "2.00 ms now, and would take 1.00 ms with those replaced: 2.00x as fast" in str(found)
    with store.open_results(tmp_path) as results:
        (sides,) = Knowledge(results.cells()).sides([shape])
    assert sides.speedup.value == pytest.approx(8), "the promise counts every multiplication, and explain holds it against that"


def test_what_winograd_gains_is_no_gain_of_separable(tmp_path):
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings(["cpu.standard.tiled"]), made.CEILINGS)
        results.add_cell(run, cell_of(ConvShape(3, 64, 64, 28), standard=8, winograd=0.9, separable=1))
    found = sb.scan(nn.Sequential(nn.Conv2d(64, 64, 3)), (1, 64, 30, 30), tmp_path)
    (row,) = found.table.itertuples()
    assert (row.worth_replacing, row.gain) == ("no", pytest.approx(0.9))
    assert row.reason == "the standard one is by Winograd's algorithm, which multiplies less"
    assert found.total.replaced_s == found.total.now_s


def test_layers_stand_in_the_models_order(resnet):
    model = read(architectures.without_weights(architectures.resnet_50))
    assert resnet.layers.layer.tolist() == [layer.name for layer in model.layers]
    assert resnet.layers.multiply_adds.tolist() == [layer.multiply_adds for layer in model.layers]


def test_its_words_say_which_layers_to_replace(resnet):
    told = str(resnet)
    chosen = resnet.table[resnet.table.worth_replacing == "yes"]
    (line,) = re.findall(r"^Replace 16 of 53 layers, the most rewarding first: (.*)\.$", told, re.M)
    assert {re.sub(r" \(\d+ alike\)", "", name) for name in line.split(", ")} == set(chosen.layer)
    assert f"{resnet.total.speedup:.2f}x as fast" in told
    assert "must be trained again" in told
    assert "Amdahl" in told
    assert re.search(r"^classifier\.0 +1 +Linear +2.05 M multiply-adds +not covered: fully connected$", told, re.M)
    assert "Not covered: 0.05% of multiply-adds." in told
    assert "the speedup was off by" in told
    for row in resnet.table.itertuples():
        assert row.reason in told
    page = resnet._repr_html_()
    assert "<table" in page
    assert "must be trained again" in page


def test_what_is_separable_already_says_what_a_standard_one_would_cost(committed):
    table = sb.scan(architectures.without_weights(architectures.mobilenet_v1), results=committed).table
    deep = table[table.operator == "depthwise"]
    assert deep.reason.str.contains(
        r"already separable, with body\.\d+\.1: a standard one for both would take .* times as long"
    ).all()
    assert (deep.standard_s > deep.separable_s).all()
    assert (deep.worth_replacing == "").all()
    assert (table.worth_replacing == "yes").sum() == 0


def test_what_no_measured_shape_has_is_told(committed):
    found = sb.scan(architectures.without_weights(architectures.deeplab_v3), (1, 3, 520, 520), committed)
    dilated = found.table[found.table.dilation_height > 1]
    assert len(dilated) >= 5
    assert dilated.now_s.notna().all()
    assert dilated[dilated.operator == "standard"].basis.str.contains("beyond what was measured.*dilation").all()
    assert found.total.uncovered == 0


def test_groups_are_not_replaced_by_more_multiply_adds(committed):
    found = sb.scan(nn.Sequential(nn.Conv2d(64, 64, 3, groups=16)), (1, 64, 30, 30), committed)
    row = found.table.iloc[0]
    assert (row.operator, row.worth_replacing) == ("grouped", "no")
    assert row.reason == "in 16 groups already: by multiply-adds a separable one would be 0.5x"


def test_a_model_of_uncovered_layers_alone_is_told(committed):
    found = sb.scan(nn.Sequential(nn.Conv1d(4, 8, 3)), (1, 4, 16), committed)
    assert "No time is known of any convolution of it." in str(found)
    assert "Not covered: 100.00% of multiply-adds." in str(found)
    with pytest.raises(InputError, match="has no convolution"):
        sb.scan(nn.Sequential(nn.Linear(4, 8)), (1, 4), committed)


def case(speedup: tuple[float, float, float], **more: object) -> Case:
    sides = Sides(1e-3, 1e-3 / speedup[0], Value(*speedup))
    usual = {
        "in_channels": 64,
        "out_channels": 64,
        "promised": 7.9,
        "groups": 1,
        "perfect": 7.0,
        "launch_share": 0.05,
        "times": 1,
        "model_s": 1e-2,
    }
    return Case(sides=sides, **(usual | more))


@pytest.mark.parametrize(
    ("given", "replace", "reason"),
    [
        (case((5, 4, 6)), "yes", "saves 8% of the time"),
        (case((5, 4, 6), in_channels=3), "no", "too few channels: only 3 go in"),
        (case((1.2, 1.1, 1.3), out_channels=1, promised=0.9), "no", "too few channels: only 1 come out"),
        (case((1.1, 0.8, 1.5)), "unclear", "slower here"),
        (case((0.5, 0.4, 0.6), perfect=1.1), "no", "memory-bound: even perfect kernels would gain 1.1x"),
        (case((0.5, 0.4, 0.6), launch_share=0.6), "no", "too small: 60% of a separable launch is the launching"),
        (case((5, 4, 6), model_s=1.0), "no", "too little: it would save 0.1% of the time"),
    ],
)
def test_each_advice_has_its_one_reason(given, replace, reason):
    advice = advise(given)
    assert advice.replace == replace
    assert advice.reason.startswith(reason)


# ---------------------------------------------------------------------------------------- the command line

NET = """from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 24, 1), nn.Conv2d(24, 8, 1))
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_scan.py").write_text(NET)
    sys.modules.pop("net_scan", None)
    return tmp_path


def test_the_table_goes_where_it_is_asked_to(here, door, committed):
    words = ("scan", "net_scan:net", "--input", "1,16,16,16", "--from", committed)
    frame = pd.read_csv(io.StringIO(door(*words, "--format", "csv").stdout))
    assert [*frame] == [column.name for column in columns.SCAN.columns]
    assert frame.layer.tolist() == ["0", "1", "2", "3"] or frame.layer.tolist() == [0, 1, 2, 3]
    rows = json.loads(door(*words, "--format", "json").stdout)
    assert [row["operator"] for row in rows] == ["standard", "depthwise", "pointwise", "pointwise"]
    assert door(*words, "--format", "markdown", "--output", "t.md").stdout == ""
    done = door(*words, "--output", "t.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("net_scan:net, input 1 x 16 x 16 x 16: 4 convolutions, 4 of them different;")
    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), frame)
    assert door(*words, "--output", "t.html").stdout == done.stdout
    page = Path("t.html").read_text()
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 1
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "nothing beside it"
    assert all(str(escape(line)) in page for line in done.stdout.splitlines() if line.startswith(("Replace", "All", "Nothing")))
    assert page.count("<tr") == 1 + len(frame)
    assert sorted(Path().glob("*.svg")) == []
    assert "| layer" in Path("t.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("scan", "net_scan:net"), "fails on an input of 1,3,224,224"),
        (("scan", "net_scan:net", "--input", "1,x"), "--input is '1,x'"),
        (("scan", "gone.onnx"), "there is no file gone.onnx"),
        (("scan", "net_scan:net", "--input", "1,16,16,16"), "no DIR was given"),
        (("scan", "net_scan:net", "--input", "1,16,16,16", "--from", "gone"), "there is no results.sqlite in gone"),
        (("explain", "--D_K", "3", "--M", "8"), r"explain lacks --N \(--out-channels\), --D_G \(--output-size\)"),
        (("explain", "--D_K", "3", "--M", "8", "--N", "8", "--D_G", "7", "--input-size", "7"), "one of them says how large"),
    ],
)
def test_refusals_are_one_line(words, told, here, door):
    done = door(*words)
    assert done.returncode == 2
    assert re.match(f"sepconv-bench: .*{told}", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_scan_that_measures_predicts_nothing(here, door, monkeypatch):
    """Few kernels, so that it takes seconds; the second time nothing is left to do."""
    from sepconv_bench.api import run as running

    monkeypatch.setattr(running, "worth_timing", lambda operators, device: ",".join(f"cpu.{one}.numpy" for one in operators))
    words = ("scan", "net_scan:net", "--input", "1,16,16,16", "--measure", "--time-limit", "0.2", "--from", "mine")
    done = door(*words)
    assert done.returncode == 0, done.stderr
    assert "All times are measured (mine)." in done.stdout
    assert "[1/2]" in done.stdout
    again = door(*words)
    assert again.stdout.count("are there already; nothing to measure") == 2
    table = sb.scan("net_scan:net", (1, 16, 16, 16), "mine").table
    assert set(table.basis) == {"measured"}
    assert table.now_s.gt(0).all()


def test_what_is_measured_is_what_a_scan_asks_for():
    model = read(architectures.without_weights(architectures.mobilenet_v1))
    (operators, whole), (_, deep), (_, point) = shapes_to_measure(model)
    assert operators == ("standard", "depthwise", "pointwise", "separable")
    assert len(whole) == 10, "the first convolution, and nine pairs"
    assert (deep, point) == ([], []), "a pair's cell has both of its parts"


# ---------------------------------------------------------------------------------------- explain


def test_an_explanation_adds_up(committed):
    for shape in (ConvShape(3, 64, 64, 28), ConvShape(5, 40, 24, 20), ConvShape(1, 64, 64, 28)):
        told = sb.explain(shape, committed)
        factors = told.factors
        product = told.promised * factors.roofline * factors.standard * factors.separable * factors.overhead
        assert product == pytest.approx(told.speedup.value)
        for side, parts in told.parts.items():
            assert parts.multiplying == pytest.approx(2 * theory.multiplications(side, shape) / told.peak_flops)
            assert parts.seconds == pytest.approx(told.times[side].value, rel=0.05)
        assert 28 <= str(told).count("\n") + 1 <= 32
        assert told.remedy in str(told)
        assert "\n".join(told.chosen) in str(told)


def test_tiles_are_explained_where_our_kernels_take_the_shape():
    lines = explaining.chosen_tiles(ConvShape(3, 64, 128, 56))
    assert [line.partition(":")[0] for line in lines if line.startswith("cpu.")] == [
        *("cpu.standard.tiled", "cpu.pointwise.tiled", "cpu.separable.fused"),
        "cpu.depthwise.tiled, and the filter of both separable kernels",
    ]
    assert explaining.chosen_tiles(ConvShape(3, 64, 128, 56, dilation=2)) == ()


def test_explain_takes_both_names_of_a_size(door, committed):
    ours = ["--D_K", "3", "--M", "64", "--N", "128", "--D_G", "28", "--stride", "2"]
    theirs = ["--kernel-size", "3", "--in-channels", "64", "--out-channels", "128", "--input-size", "55", "--stride", "2"]
    one, other = (door("explain", *words, "--from", committed) for words in (ours, theirs))
    assert one.returncode == 0, one.stderr
    assert one.stdout == other.stdout
    assert "64 -> 128 channels, output map 28 x 28, stride 2" in one.stdout
    assert "8.41x promised" in one.stdout


# ---------------------------------------------------------------------------------------- Python


def test_results_load_as_tables(committed):
    results = sb.load(str(committed))
    assert len(results.ratios.query("best")) == 30
    for name in ("ratios", "timings", "layers"):
        frame = getattr(results, name)
        assert [*frame] == [column.name for column in columns.TABLES[name].columns]
    mine = results.ratios
    mine["speedup"] = 0
    assert results.ratios.speedup.gt(0).all(), "a caller's change is the caller's own"
    assert repr(results).startswith(f"results in {committed}: 30 shapes on ")
    assert 10 < results._repr_html_().count("<tr") < 16, "a table of thousands of rows would fill the notebook"


def test_figures_take_axes_and_give_them(committed):
    results = sb.load(committed)
    figure, (left, right) = plt.subplots(1, 2)
    assert results.plot.speedup(left) is left
    assert results.plot.roofline(ax=right) is right
    assert left.get_title(loc="left") or left.get_title()
    points = sum(len(one.get_offsets()) for one in left.collections if hasattr(one, "get_offsets"))
    assert points >= 30
    assert right.get_legend() is not None
    own = results.plot.speedup()
    assert own.figure is not figure
    plt.close("all")


def test_predictions_keep_what_the_table_says(committed):
    layers = pd.DataFrame(
        {
            "layer": ["a", "b"],
            "kernel_size": [3, 3],
            "in_channels": [64, 48],
            "out_channels": [64.0, 40.0],
            "output_size": [28, 20],
        },
        index=[7, 9],
    )
    predicted = sb.load(committed).predict(layers)
    assert predicted.layer.tolist() == ["a", "b"]
    assert [*predicted.index] == [7, 9]
    assert (predicted.speedup_lo < predicted.speedup).all()
    with pytest.raises(InputError, match=r"row 1 of the table: N is 0\.5|row 1 of the table: N is '0\.5'"):
        sb.load(committed).predict(layers.assign(out_channels=[64, 0.5]))
    with pytest.raises(InputError, match="the table lacks D_K"):
        sb.load(committed).predict(layers.drop(columns="kernel_size"))


def test_a_run_from_python_goes_on(tmp_path):
    lines: list[str] = []
    layers = pd.DataFrame({"D_K": [3, 3], "M": [4, 4], "N": [4, 8], "D_G": [5, 5]})
    settings = {"kernels": "cpu.*.numpy", "time_limit": 1, "target": 0.5, "progress": lines.append}
    results = sb.run(layers, tmp_path, **settings)
    assert set(results.ratios.N) == {4, 8}
    assert lines[-1].startswith("[2/2]")
    sb.run([ConvShape(3, 4, 4, 5)], tmp_path, **settings)
    assert "nothing to measure" in lines[-1]


@pytest.mark.parametrize("module", [loading, explaining, shapes, scanned])
def test_examples_in_docstrings_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(module).failed == 0


def test_the_package_opens_before_anything_heavy():
    code = (
        "import sys, sepconv_bench as sb\n"
        "heavy = {'numpy', 'numba', 'pandas', 'torch', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'load', 'scan', 'run', 'explain'} <= set(dir(sb))\n"
        "import sepconv_bench.run.folders\n"
        "assert callable(sb.run) and callable(sb.scan)\n"
        "try:\n    sb.gone\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "module 'sepconv_bench' has no attribute 'gone'\n"
