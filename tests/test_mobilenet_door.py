"""`sepconv-bench mobilenet`: the networks timed for real, a library that is wrong, weights and photographs from files."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
from functools import partial

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from PIL import Image
from safetensors.numpy import save_file

from sepconv_bench import InputError, ResultsError
from sepconv_bench.cli import main
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.networks import mobilenet_v1, multiply_adds
from sepconv_bench.network.image import read_image
from sepconv_bench.network.plan import Plan
from sepconv_bench.network.weights import random_weights, read_weights
from sepconv_bench.report.figures import saving
from sepconv_bench.report.network import layer_view
from sepconv_bench.results.store import open_results
from sepconv_bench.results.tables import layers, network, ratios
from sepconv_bench.run import network_contenders
from sepconv_bench.run.contest import Contest
from sepconv_bench.run.network_sweep import NetworkSettings, Visit, visits_left

SMALL = ("--alpha", "0.25", "--resolution", "128")
LIBRARIES = {"plan", "torch", "torch-prepacked", "torch-compiled", "onnxruntime", "openvino", "xnnpack", "ncnn"}
ALGORITHMS = {"separable": {"ncnn": "direct"}, "standard": {"ncnn": "winograd", "ncnn-direct": "im2col"}}


def refused(capfd, *words):
    with pytest.raises(SystemExit) as stopped:
        main(["mobilenet", *words])
    assert stopped.value.code == 2
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 1
    return told[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, everything):
    """Of a sample of the tests torch.compile is no part: it takes minutes, and says so where it finds no compiler. On a loaded
    machine a launch of the whole takes a tenth of a second, which is a quarter of the time limit."""
    folder, tools = tmp_path_factory.mktemp("mobilenet") / "here", tmp_path_factory.mktemp("tools")
    (tools / "git").symlink_to(shutil.which("git"))
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(saving, "KINDS", {kind: saving.KINDS[kind] for kind in ("png", "svg")})
        if not everything:
            changed.setenv("PATH", str(tools))
            changed.delenv("CXX", raising=False)
        main(["mobilenet", *SMALL, "--time-limit", "0.4", "--threads", "2", "--output", str(folder)])
    return folder


def test_every_library_is_right_on_every_part(folder, everything):
    with open_results(folder) as results:
        found, steps = network(results), layers(results)
        assert ratios(results).empty, "the parts of a network are no cells of a grid"
    bad = found[~found.status.isin(["ok", "unsupported", "slow"])]
    assert bad.empty, bad[["part", "kernel", "reason"]].to_string()
    whole = found[found.part == "whole"]
    assert everything or set(found.reason[found.status == "unsupported"]) == {
        "torch.compile needs a C++ compiler; there is none"
    }
    for operator, rows in whole.groupby("operator"):
        assert set(rows.variant) == LIBRARIES | set(ALGORITHMS[operator])
        declared = rows.set_index("variant").algorithm
        assert {name: declared[name] for name in ALGORITHMS[operator]} == ALGORITHMS[operator]
        assert set(rows.multiply_adds) == {multiply_adds(mobilenet_v1(0.25, 128, 1, operator == "separable"))}
    assert list(steps.part) == ["conv", *(f"block{number}" for number in range(1, 14)), "classifier", "whole"]
    blocks = steps[steps.part.str.startswith("block")]
    assert (blocks.standard_multiply_adds / blocks.separable_multiply_adds).tolist() == blocks.theory_speedup.tolist()
    assert (steps.separable_peer != "").all()
    assert steps.separable_multiply_adds[:-1].sum() == steps.separable_multiply_adds.iloc[-1]


def test_the_report_shows_the_network(folder):
    page = (folder / "index.html").read_text()
    assert "times as fast as its all-standard counterpart" in page
    assert {"network.png", "layers.png", "layers.svg"} <= {path.name for path in (folder / "figures").iterdir()}
    with open_results(folder) as results:
        view = layer_view(layers(results))
    assert len(view.rows) == 16
    assert all(len(row) == len(view.headings) for row in view.rows)
    assert view.rows[0][view.headings.index("standard ms")] == "", "the first convolution is that of both networks"


@pytest.mark.parametrize(("table", "column"), [("network", "time_s"), ("layers", "speedup")])
def test_its_tables_are_exported(table, column, folder, tmp_path):
    main(["export", str(folder), "--table", table, "--format", "parquet", "--output", str(tmp_path / "table.parquet")])
    with open_results(folder) as results:
        expected = {"network": network, "layers": layers}[table](results)
    frame = pd.read_parquet(tmp_path / "table.parquet")
    assert list(frame) == list(expected)
    np.testing.assert_allclose(frame[column], expected[column], rtol=1e-12)


def test_timing_it_again_takes_the_place_of_what_was_there(folder):
    with open_results(folder) as results:
        before = len(results.parts())
    with open_results(folder, write=True) as results:
        measured = results.parts()[-1].measured
        assert measured.network.part == "whole"
        results.add_cell(1, replace(measured, converged=True))
        assert len(results.parts()) == before
        assert results.parts()[-1].measured.converged


def test_interrupted_it_draws_what_is_there_and_says_how_to_go_on(folder, quickly, tmp_path):
    """From the results of all parts but two: the first is measured, and the other is left."""
    shutil.copytree(folder, tmp_path / "half", ignore=shutil.ignore_patterns("index.html"))
    with sqlite3.connect(tmp_path / "half" / "results.sqlite") as connection:
        connection.execute("DELETE FROM cells WHERE part IN ('conv', 'whole')")
        for table in ("samples", "outcomes"):
            connection.execute(f"DELETE FROM {table} WHERE cell NOT IN (SELECT id FROM cells)")
    words = ["mobilenet", *SMALL, "--time-limit", "0.4", "--threads", "2", "--output", str(tmp_path / "half")]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [*quickly, *words, "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("[15/16]"):
            break
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert lines[0].startswith("[14/16]")
    assert re.search(r"then about \d s for the parts", lines[0]), "0.4 s of sampling for each of two, and some beside"
    (told,) = [line for line in errors.splitlines() if line.startswith("sepconv-bench:")]
    assert f"15 of 16 parts are in {tmp_path / 'half'}; `sepconv-bench {' '.join(words)} --resume` goes on" in told
    assert "block13" in shown
    assert "MobileNet-V1" in (tmp_path / "half" / "index.html").read_text()


def test_several_visits_go_round_the_steps_in_two_processes_and_resume_where_they_were_stopped():
    settings = NetworkSettings((0.25, 0.5), (128,))
    small, *steps = settings.parts
    assert (small.part, len(steps)) == ("whole", 16)
    all_visits = visits_left(settings, {})
    assert all_visits[:17] == [Visit(0, small, 0), *(Visit(0, step, 0) for step in steps)]
    assert [(one.process, one.number) for one in all_visits if one.part == steps[0]] == [
        *((0, number) for number in range(3)),
        *((1, number) for number in range(3, 6)),
    ]
    assert [(one.process, one.number) for one in all_visits if one.part == small] == [(0, 0), (1, 1)]
    for made in (1, 18, 60, len(all_visits)):
        there = {part: sum(one.part == part for one in all_visits[:made]) for part in settings.parts}
        made_of = {part: count for part, count in there.items() if count}
        assert visits_left(settings, made_of) == all_visits[made:]


def test_a_library_that_gives_other_probabilities_is_wrong_and_not_timed(monkeypatch):
    def other_image(convolutions, image):
        layers = mobilenet_v1(0.25, 128)
        plan = Plan(layers, random_weights(layers))
        return lambda: plan(image[:, ::-1].copy())

    libraries = {"cpu": {"onnxruntime": network_contenders._Library("onnxruntime", other_image)}}
    monkeypatch.setattr(network_contenders, "_LIBRARIES", libraries)
    contenders = network_contenders.NetworkContenders(0.25, 128, 1, None, 0).contenders("whole")
    chosen = {name: contenders[name] for name in ("cpu.separable.plan", "cpu.separable.onnxruntime")}
    rules = Rules(target=0.5, seconds=20)  # few samples, and on a loaded machine the first launch is not yet slow
    outcomes, samples = Contest(chosen, np.random.default_rng(0), lambda name: None).timed(lambda: None, rules)
    assert [outcome.status for outcome in outcomes] == ["ok", "wrong"]
    assert outcomes[0].error < 0.5
    assert outcomes[1].error > 3
    assert "cpu.separable.onnxruntime" not in samples.blocks


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_weights_come_from_a_file(suffix, tmp_path):
    weights = random_weights(mobilenet_v1(0.25, 128))
    path = tmp_path / f"weights.{suffix}"
    if suffix == "npz":
        np.savez(path, **weights)
    else:
        save_file(weights, path)
    found = read_weights(path)
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors", "weights.pt"])
def test_a_file_that_holds_no_weights_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"there is no file|come as \.npz or \.safetensors"):
        read_weights(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(InputError, match=name):
        read_weights(tmp_path / name)


def test_no_pickle_is_read(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"conv.weight": np.array([{"an": "object"}])})
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_weights(tmp_path / "weights.npz")


@pytest.fixture
def photograph(tmp_path):
    """A picture with a red upper half, wider than it is high."""
    pixels = np.random.default_rng(0).integers(0, 90, (180, 300, 3), np.uint8)
    pixels[:90, :, 0] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_a_photograph_goes_in_and_1000_probabilities_come_out(form, photograph, tmp_path, capfd):
    photograph.save(tmp_path / f"photo.{form}")
    main(["mobilenet", *SMALL, "--image", str(tmp_path / f"photo.{form}")])
    shown = capfd.readouterr()
    table = pd.read_csv(pd.io.common.StringIO(shown.out))
    assert sorted(table["class"]) == list(range(1000))
    assert table.probability.is_monotonic_decreasing
    assert table.probability.sum() == pytest.approx(1, rel=1e-4)
    assert "the weights are random" in shown.err


def test_a_picture_is_turned_as_the_camera_says_and_its_middle_is_taken(photograph, tmp_path):
    photograph.save(tmp_path / "photo.png")
    pixels = read_image(tmp_path / "photo.png", 64)
    assert pixels.shape == (1, 64, 64, 3)
    assert pixels.dtype == np.float32
    assert -1 <= pixels.min() < pixels.max() <= 1
    red = pixels[0, :, :, 0]
    assert red[:30].mean() > 0.9 > -0.2 > red[34:].mean()
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    photograph.save(tmp_path / "photo.jpg", exif=upside_down)
    red = read_image(tmp_path / "photo.jpg", 64)[0, :, :, 0]
    assert red[:30].mean() < -0.2 < 0.9 < red[34:].mean()


def test_the_same_photograph_and_weights_give_what_the_plan_gives(photograph, tmp_path, capfd):
    photograph.save(tmp_path / "photo.png")
    layers = mobilenet_v1(0.25, 128)
    weights = random_weights(layers, 7)
    save_file(weights, tmp_path / "weights.safetensors")
    main(["mobilenet", *SMALL, "--image", str(tmp_path / "photo.png"), "--weights", str(tmp_path / "weights.safetensors")])
    shown = capfd.readouterr()
    assert shown.err == ""
    (expected,) = Plan(layers, weights)(read_image(tmp_path / "photo.png", 128))
    likeliest, probability = shown.out.splitlines()[1].split(",")
    assert int(likeliest) == expected.argmax()
    assert float(probability) == pytest.approx(expected.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--alpha", "0.3"], "--alpha is '0.3'; it takes one or more of 0.25,0.5,0.75,1"),
        (["--resolution", "224,x"], "--resolution is '224,x'; it takes one or more of 128,160,192,224"),
        (["--alpha", ""], "--alpha is ''"),
        (["--image", "nowhere.png"], "there is no file nowhere.png"),
        (["--image", "nowhere.png", "--alpha", "0.25,1"], "--image takes one alpha and one resolution"),
        (["--weights", "nowhere.npz"], "there is no file nowhere.npz"),
        (["--weights", "nowhere.npz", "--alpha", "0.5,1"], "--weights are those of one alpha; --alpha is '0.5,1'"),
        (["--image", __file__], "cannot be read as a picture"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(words, told, capfd, tmp_path):
    assert told in refused(capfd, *words, *(() if "--image" in words else ("--output", str(tmp_path / "results"))))
    assert not (tmp_path / "results").exists(), "nothing was measured, and nothing is left behind"


def test_weights_of_another_width_are_refused_before_anything_is_timed(capfd, tmp_path):
    np.savez(tmp_path / "half.npz", **random_weights(mobilenet_v1(0.5, 128)))
    told = refused(capfd, *SMALL, "--weights", str(tmp_path / "half.npz"), "--output", str(tmp_path / "results"))
    assert "conv.weight is (16, 3, 3, 3); it must be (8, 3, 3, 3)" in told
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"alpha": 1}'])
def test_a_damaged_network_is_told(text, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "damaged")
    with sqlite3.connect(tmp_path / "damaged" / "results.sqlite") as connection:
        connection.execute("UPDATE cells SET network = ?", (text,))
    with open_results(tmp_path / "damaged") as results, pytest.raises(ResultsError, match="damaged: the network"):
        results.parts()
