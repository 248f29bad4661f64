"""The page in a real browser: it renders, in both colour schemes and at phone width, can be used by keyboard, and tells what a
point is; with scripts tables sort and filter, without them everything is there."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sqlite3
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageColor
from playwright.sync_api import Page

from sepconv_bench.report import drawn
from sepconv_bench.report import page as module
from sepconv_bench.report.figures import saving
from sepconv_bench.report.figures.crossover import crossover
from sepconv_bench.report.figures.efficiency import efficiency
from sepconv_bench.report.figures.headline import headline, places
from sepconv_bench.report.figures.ladder import rungs_to_the_peak
from sepconv_bench.report.figures.palette import of_widths
from sepconv_bench.report.figures.plane import plane
from sepconv_bench.report.figures.reasons import reasons
from sepconv_bench.report.sentences import describe_reasons
from sepconv_bench.results import store, tables

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def report(swept: Path) -> Path:
    return swept / "index.html"


def rows(page: Page) -> list[list[str]]:
    found = page.locator("[aria-label=Speedups] tbody tr:visible").all()
    return [row.locator("td").all_inner_texts() for row in found]


def column(page: Page, name: str) -> int:
    headings = page.locator("[aria-label=Speedups] thead th").all_inner_texts()
    return next(number for number, heading in enumerate(headings) if heading.split()[0] == name)


def test_every_picture_is_seen(page):
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 300)")
    assert page.locator("main img").count() == 8
    assert all(page.locator("main img").nth(number).get_attribute("alt") for number in range(page.locator("main img").count()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.get_by_text("one a kernel and shape").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_dark_is_dark(page):
    def brightness() -> float:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", ground)[:3])) / 3

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 60


def test_nothing_is_wider_than_a_phone(page):
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_column_sorts_both_ways(page):
    measured = column(page, "measured")
    heading = page.locator("[aria-label=Speedups] thead th").nth(measured)
    before = [row[measured] for row in rows(page)]
    heading.locator("button").click()
    upwards = [float(row[measured]) for row in rows(page)]
    assert upwards == sorted(map(float, before))
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert [float(row[measured]) for row in rows(page)] == upwards[::-1]
    name = page.locator("[aria-label=Speedups] thead th").nth(column(page, "separable"))
    name.locator("button").click()
    names = [row[column(page, "separable")] for row in rows(page)]
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") is None


def test_rows_are_filtered_by_words_and_by_numbers(page):
    everything = rows(page)
    page.get_by_label("Filter speedups").fill("loops n=16 promised>2")
    left = rows(page)
    expected = [
        row
        for row in everything
        if "loops" in " ".join(row) and row[column(page, "N")] == "16" and float(row[column(page, "promised")]) > 2
    ]
    assert left == expected
    assert 0 < len(left) < len(everything)
    assert f"{len(left)} of {len(everything)} rows" in page.locator("label.filter output").first.inner_text()
    page.get_by_label("Filter speedups").fill("nosuchkernel")
    assert rows(page) == []
    page.get_by_label("Filter speedups").fill("")
    assert len(rows(page)) == len(everything)


@pytest.fixture(scope="module")
def lists(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the name of each table that a page may have, a page that has it."""
    network = Path(__file__).parents[1] / "reports" / "mobilenet-v1-amd-epyc-2-threads"
    failed = tmp_path_factory.mktemp("failed")
    shutil.copy(swept / store.FILE_NAME, failed)
    with sqlite3.connect(failed / store.FILE_NAME) as connection:
        kernel, reason = "cpu.separable.numpy", 'no, "none"'
        connection.execute("UPDATE outcomes SET status = 'failed', reason = ? WHERE kernel = ?", (reason, kernel))
    connection.close()
    pages = dict.fromkeys(("Speedups", "Times"), swept / "index.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "ENTRIES", [entry for entry in drawn.ENTRIES if entry.stem == "latency"])
        for name, folder in (("Steps", network), ("Failures", failed)):
            with store.open_results(folder) as results:
                pages[name] = module.write_report(results, tmp_path_factory.mktemp(name))
    return pages


@pytest.mark.parametrize(("name", "word"), [("Speedups", "loops"), ("Times", "loops"), ("Steps", "512"), ("Failures", "32")])
def test_every_table_is_copied_and_downloaded_as_it_is_sorted_and_filtered(page, lists, name, word):
    page.goto(lists[name].as_uri())
    table = page.get_by_role("region", name=name, include_hidden=True)
    if name == "Times":
        page.get_by_text("one a kernel and shape").click()
    everything = table.locator("tbody tr").count()
    table.locator("th button").last.click()
    table.locator("th button").nth(1).click()
    page.get_by_label(f"Filter {name.lower()}").fill(word)
    seen = [row.locator("th, td").all_text_contents() for row in table.locator("tr:visible").all()]
    assert 1 < len(seen) < 1 + everything
    assert all(word in " ".join(row) for row in seen[1:])
    assert [float(row[1]) for row in seen[1:]] == sorted(float(row[1]) for row in seen[1:])
    tools = page.locator(".tools").filter(has=page.get_by_label(f"Filter {name.lower()}"))
    tools.get_by_role("button", name="Copy").click()
    tools.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert [line.split("\t") for line in copied.split("\n")] == seen
    with page.expect_download() as download:
        tools.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == f"{name.lower()}.csv"
    assert [*csv.reader(io.StringIO(download.value.path().read_text(encoding="utf-8")))] == seen


def test_the_command_beside_the_tables_writes_all_samples(page, swept, door, tmp_path):
    _, *words = page.locator("#speedups + p code").inner_text().split()
    written = tmp_path / "samples.parquet"
    done = door(*({"DIR": swept, "samples.parquet": written}.get(word, word) for word in words))
    assert done.returncode == 0, done.stderr
    with store.open_results(swept) as results:
        expected = tables.table(results, "samples")
    assert len(pd.read_parquet(written)) == len(expected) > 100


def test_a_point_says_which_shape_it_is_and_leads_to_its_row(page, swept):
    with store.open_results(swept) as results:
        table = tables.ratios(results)
    picture, hint = page.locator("img.live"), page.locator(".hint")
    for number, row in table[table.best].iloc[[0, -1]].iterrows():
        target = page.locator(f"tr#speedup-{number}")
        x, y = map(float, target.get_attribute("data-place").split())
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        at = (box["x"] + x * box["width"] + 3, box["y"] + y * box["height"] - 3)
        page.mouse.move(*at)
        assert f"measured {row.speedup:.2f}x" in hint.inner_text()
        assert f"M {row.M}, N {row.N}" in hint.inner_text()
    page.mouse.click(*at)
    assert page.evaluate("location.hash") == f"#speedup-{number}"
    assert f"{row.speedup:.2f}" in page.locator("tr:target").inner_text()
    page.mouse.move(2, 2)
    assert page.locator(".hint").is_hidden()


def test_a_place_is_where_its_point_was_drawn(committed):
    """The mark under it in the picture has the colour of its D_K, through which the ground can be seen."""
    with store.open_results(committed) as results:
        ratios = tables.ratios(results)
    figure = headline(ratios)
    figure.set_dpi(200)
    plt.close(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    picture = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    looks = {D_K: np.array(ImageColor.getrgb(look.colour)) for D_K, look in of_widths(ratios[ratios.best].D_K).items()}
    through = np.linspace(0.5, 1, 30)[:, None, None]
    found = places(figure, ratios)
    assert found.keys() == set(ratios.index[ratios.best])
    for number, (x, y) in found.items():
        down, across = round(y * picture.shape[0]), round(x * picture.shape[1])
        around = picture[down - 10 : down + 11, across - 10 : across + 11].reshape(-1, 3)
        seen = through * looks[ratios.D_K[number]] + (1 - through) * 255
        assert np.abs(around - seen).sum(axis=2).min() < 12


def test_of_thousands_of_rows_the_first_are_laid_out_and_the_others_found(swept, tmp_path, browser, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_FIRST", 3)
    monkeypatch.setattr(drawn, "ENTRIES", ())
    with store.open_results(swept) as results:
        report, ratios = module.write_report(results, tmp_path), tables.ratios(results)
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.goto(report.as_uri())
    assert len(rows(page)) == 3
    measured = column(page, "measured")
    page.locator("[aria-label=Speedups] thead th").nth(measured).locator("button").click()
    assert [float(row[measured]) for row in rows(page)] == [round(speedup, 2) for speedup in ratios.speedup.nsmallest(3)]
    page.get_by_label("Filter speedups").fill("n=16")
    count = int((ratios.N == 16).sum())
    assert len(rows(page)) == 3 < count
    assert f"{count} of {len(ratios)} rows" in page.locator("label.filter output").first.inner_text()
    hidden = ratios.index[ratios.best & (ratios.N != 16)][0]
    page.evaluate(f"location.hash = '#speedup-{hidden}'")
    assert page.locator("tr:target").is_visible()
    page.evaluate("location.hash = ''")
    page.get_by_role("button", name=f"Show all {count} rows").click()
    assert len(rows(page)) == count
    assert page.get_by_role("button", name="Show all").count() == 0
    page.get_by_label("Filter speedups").fill("")
    assert len(rows(page)) == len(ratios)
    context.close()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert len(rows(page)) == len(ratios), "without scripts it is all there"
    context.close()


def test_thousands_of_points_are_drawn_as_a_picture(committed, tmp_path, monkeypatch):
    with store.open_results(committed) as results:
        ratios = tables.ratios(results)
    few = saving.save(headline(ratios), tmp_path / "few")
    monkeypatch.setattr(saving, "CROWD", 50)
    many = saving.save(headline(ratios), tmp_path / "many")
    assert (few.count(b"<image "), many.count(b"<image ") > 0) == (0, True)
    drawn = [picture.count(b"<path ") + picture.count(b"<use ") for picture in (few, many)]
    assert drawn[0] - drawn[1] >= 3 * len(ratios[ratios.best]), "points, their bars and their bounds"


def test_it_can_be_used_by_keyboard(page):
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.closest('label, th, summary, .scroll')?.className ?? document.activeElement.tagName"
            )
        )
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            page.keyboard.press("Enter")
            if page.locator("th[aria-sort]").count():
                break
    assert {"filter", "scroll"} <= reached
    assert page.locator("th[aria-sort=ascending]").count() == 1


def test_without_scripts_it_is_all_there(report, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("[aria-label=Speedups] tbody tr").count() >= 12
    assert "Point at a shape" not in page.locator("figcaption").first.inner_text()
    assert page.locator("input, th button").count() == 0
    context.close()


def test_the_markdown_says_the_same(report):
    text = (report.parent / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# What separable convolution gains on ")
    assert text.count("\n| ") == 1 + 6
    for picture in re.findall(r"\]\((.+?)\)", text):
        assert (report.parent / picture).stat().st_size > 10_000


def test_factors_in_the_figure_end_at_the_dots(committed):
    with store.open_results(committed) as results:
        why = tables.why(results)
    axes = reasons(why).axes[0]
    (dots,) = (collection.get_offsets() for collection in axes.collections if len(collection.get_offsets()) > 2)
    ends: dict[int, float] = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = ends.get(row, 0.0) + bar.get_width()
    assert len(ends) == 30
    for x, y in dots:
        assert ends[round(y)] == pytest.approx(x, abs=1e-9)
    plt.close("all")


def test_reasons_are_counted_in_words(committed):
    with store.open_results(committed) as results:
        why = tables.why(results)
    best = why[why.best]
    text = " ".join(describe_reasons(why))
    below = best[(best.speedup < best.theory_speedup) & (best.dominant != "none")]
    assert f"The largest factor of the {len(below)} shapes below their promise" in text
    assert f"on {(below.dominant == 'separable').sum()} the separable kernel" in text
    assert describe_reasons(why.assign(dominant="unknown")) == []
    assert reasons(why.assign(dominant="unknown")) is None


def test_the_crossover_marks_who_loses(committed):
    with store.open_results(committed) as results:
        ratios = tables.ratios(results)
    figure = crossover(ratios)
    best = ratios[ratios.best]
    assert figure.axes[0].get_title(loc="left") == f"fastest of each: loses on {(best.speedup < 1).sum()} of {len(best)}"
    plt.close("all")
    assert crossover(ratios.iloc[:0]) is None


def test_maps_need_more_than_a_line(committed):
    with store.open_results(committed) as results:
        ratios, times = tables.ratios(results), tables.timings(results)
    assert plane(ratios[ratios.D_K == 3]) is None
    assert efficiency(times[(times.M == 64) & (times.N == 64)]) is None
    assert rungs_to_the_peak(times.iloc[:0]) is None
