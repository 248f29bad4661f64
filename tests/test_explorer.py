"""The explorer says what `predict` says, at each position of its sliders; with a keyboard, in a real browser."""

from __future__ import annotations

import json
from itertools import product
from math import prod
from pathlib import Path

import made as records
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.predict.prediction import Model
from sepconv_bench.report import drawn
from sepconv_bench.report import page as module
from sepconv_bench.report.explorer import Explorer, explorer
from sepconv_bench.results import store

AXES = ("D_K", "M", "N", "D_G")


@pytest.fixture(scope="module")
def model(committed: Path) -> Model:
    with store.open_results(committed) as results:
        return Model(results.cells())


@pytest.fixture(scope="module")
def made(committed: Path) -> Explorer:
    with store.open_results(committed) as results:
        return explorer(results.cells())


@pytest.fixture(scope="module")
def report(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a committed report, without figures."""
    folder = tmp_path_factory.mktemp("explored")
    with pytest.MonkeyPatch.context() as patch, store.open_results(committed) as results:
        patch.setattr(drawn, "ENTRIES", [entry for entry in drawn.ENTRIES if entry.stem == "speedup"])
        return module.write_report(results, folder)


def sizes(page: Page) -> dict[str, int]:
    return {axis: int(page.locator(f"#explorer-{axis}").inner_text()) for axis in AXES}


def test_every_position_holds_what_the_model_predicts(made, model):
    given = json.loads(made.given)
    shapes = [ConvShape(*each) for each in product(*made.sliders.values())]
    predicted, (device,) = model.predict(shapes), given["devices"].values()
    assert len(shapes) == prod(map(len, made.sliders.values())) == len(device["speedup"])
    for name in ("speedup", "speedup_lo", "speedup_hi", "theory_speedup"):
        assert device[name] == pytest.approx(predicted[name].to_list(), rel=6e-4)
    parts = [
        prod(each) for each in zip(*(device[name] for name in ("roofline", "overhead", "separable", "standard")), strict=True)
    ]
    kept = [speedup / promised for speedup, promised in zip(device["speedup"], device["theory_speedup"], strict=True)]
    assert parts == pytest.approx(kept, rel=3e-3), "what takes the rest takes all of it"


def test_the_same_results_give_the_same_page(made, committed):
    with store.open_results(committed) as results:
        assert explorer(results.cells()) == made


def test_few_cells_have_no_explorer(swept):
    with store.open_results(swept) as results:
        assert explorer(results.cells()) is None


def test_the_keyboard_moves_the_point(page, model):
    before = sizes(page)
    page.locator("#slider-N").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#slider-D_G").focus()
    page.keyboard.press("Home")
    now = sizes(page)
    assert now["N"] == 2 * before["N"]
    assert now["D_G"] == 7
    row = model.predict([ConvShape(**now)]).iloc[0]
    assert float(page.locator("#explorer-gain").inner_text().rstrip("x")) == pytest.approx(row.speedup, rel=6e-3)
    text = page.locator("#explorer-interval").inner_text()
    low, high = (float(word.strip().rstrip("x")) for word in text.split("(")[0].split(" to "))
    assert (low, high) == (pytest.approx(row.speedup_lo, rel=6e-3), pytest.approx(row.speedup_hi, rel=6e-3))
    assert page.locator("#explorer-why").inner_text().startswith("What takes most: ")
    assert page.locator("#explorer-factors li").count() == 4


def test_the_plot_shows_the_point_with_its_interval(page, model):
    page.locator("#explorer-plot").scroll_into_view_if_needed()
    page.locator("#explorer-plot[data-drawn]").wait_for()
    page.locator("#slider-D_K").press("End")
    asked = "Bokeh.documents[0].get_model_by_name('asked').data"
    row = model.predict([ConvShape(**sizes(page))]).iloc[0]
    for name, column in (("x", "theory_speedup"), ("y", "speedup"), ("low", "speedup_lo"), ("high", "speedup_hi")):
        assert page.evaluate(f"{asked}.{name}[0]") == pytest.approx(row[column], rel=6e-4)
    assert page.evaluate("Bokeh.documents[0].get_model_by_name('measured').data.x.length") == 30
    assert page.locator("#explorer-plot").bounding_box()["height"] > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.locator("#explorer-plot").scroll_into_view_if_needed()
    page.locator("#explorer-plot[data-drawn]").wait_for()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_phone_is_wide_enough(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#explorer-plot").scroll_into_view_if_needed()
    page.locator("#explorer-plot[data-drawn]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a file with kernels of a CPU and of a GPU, which gain unlike: separable ones keep 80 % and 40 %."""
    folder = tmp_path_factory.mktemp("devices")
    shapes = [ConvShape(D_K, M, N, 14) for D_K, M, N in product((3, 5), (32, 64), (16, 32, 64))]
    with pytest.MonkeyPatch.context() as patch, store.create(folder) as results:
        number = results.add_run(records.MACHINE, records.settings([]), records.CEILINGS)
        for shape, (device, rate, kept) in product(shapes, (("cpu", 100e9, 0.8), ("cuda", 150e9, 0.4))):
            standard = 2 * shape.D_K**2 * shape.M * shape.N * shape.D_G**2 / rate
            separable = standard * (1 / shape.N + 1 / shape.D_K**2) / kept
            kernels = {f"{device}.standard.tiled": standard, f"{device}.separable.fused": separable}
            cell = {records.declared(name): seconds for name, seconds in kernels.items()}
            results.add_cell(number, records.measured(shape, cell))
        patch.setattr(drawn, "ENTRIES", [entry for entry in drawn.ENTRIES if entry.stem == "speedup"])
        return module.write_report(results, folder)


def test_the_device_is_the_readers_choice(page, two_devices):
    page.goto(two_devices.as_uri())
    page.locator("#explorer-plot").scroll_into_view_if_needed()
    page.locator("#explorer-plot[data-drawn]").wait_for()
    choice = page.get_by_label("device")
    assert choice.locator("option").all_inner_texts() == ["cpu", "cuda"]
    sizes_before, gains, measured = sizes(page), {}, {}
    for device in ("cuda", "cpu"):
        choice.select_option(device)
        gains[device] = float(page.locator("#explorer-gain").inner_text().rstrip("x"))
        measured[device] = page.evaluate("Bokeh.documents[0].get_model_by_name('measured').data.y.length")
        assert page.evaluate("Bokeh.documents[0].get_model_by_name('asked').data.y[0]") == pytest.approx(
            gains[device], rel=6e-3
        )
    assert gains["cpu"] / gains["cuda"] == pytest.approx(2, rel=0.1)
    assert measured == {"cpu": 12, "cuda": 12}, "a device's own shapes alone"
    assert sizes(page) == sizes_before


def test_without_scripts_no_slider_waits_for_one(report, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#explore").is_hidden()
    context.close()
