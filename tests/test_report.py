"""The report stands by itself, shows every figure, says what the numbers say, and trusts nothing that it prints."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sepconv_bench.errors import ResultsError
from sepconv_bench.model.shapes import AXES, ConvShape
from sepconv_bench.report.figures.headline import headline
from sepconv_bench.report.figures.over import over
from sepconv_bench.report.page import write_report
from sepconv_bench.report.sentences import describe_ratios
from sepconv_bench.results import store, tables
from sepconv_bench.results.rows import sizes


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(swept: Path) -> Page:
    return Page((swept / "index.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_but_itself(page):
    assert not page.all("link")
    assert [attributes.get("src") for attributes in page.all("script")] == [None]
    sources = [attributes["src"] for attributes in page.all("img")]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    for source in sources:
        svg = base64.b64decode(source.partition(",")[2]).decode()
        assert not re.search(r'(?:href|src)="(?!#|data:)', svg), "a picture refers to something outside"


def test_every_figure_is_on_the_page_and_in_files(page, swept):
    stems = {"speedup", "why", "plane", "crossover", "rungs", "over_N", "ladder", "roofline"}
    for kind in ("png", "svg", "pdf"):
        assert {file.stem for file in (swept / "figures").glob(f"*.{kind}")} == stems
    assert len(page.all("img")) == len(stems)
    assert all(len(image["alt"]) > 40 for image in page.all("img"))
    for file in (swept / "figures").glob("*.png"):
        pixels = matplotlib.image.imread(file)
        assert min(pixels.shape[:2]) > 500
        assert pixels[..., :3].std() > 0.01, f"{file} is blank"


def test_the_page_has_the_numbers_of_the_table(page, swept):
    with store.open_results(swept) as results:
        ratios = tables.ratios(results)
    for _, row in ratios.iterrows():
        assert f"{row.speedup:.2f}" in page.text
        assert f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f}" in page.text
    best = ratios[ratios.best]
    assert f"{best.speedup.median():.1f} times as fast" in page.text


def test_what_came_from_outside_is_escaped(swept, tmp_path, svg_alone):
    path = tmp_path / store.FILE_NAME
    path.write_bytes((swept / store.FILE_NAME).read_bytes())
    evil = "<script>alert(1)</script>"
    connection = sqlite3.connect(path)
    with connection:
        (text,) = connection.execute("SELECT machine FROM runs").fetchone()
        machine = json.loads(text) | {"machine": evil, "cpu": evil, "commit": evil}
        connection.execute("UPDATE runs SET machine = ?", [json.dumps(machine)])
        connection.execute("UPDATE outcomes SET status = 'failed', reason = ? WHERE kernel = 'cpu.standard.loops'", [evil])
    connection.close()
    with store.open_results(tmp_path) as results:
        text = write_report(results, tmp_path).read_text()
    assert text.count("<script>") == 1, "only ours"
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in (tmp_path / "report.md").read_text()


def test_a_file_without_cells_has_no_report_yet(tmp_path):
    with store.create(tmp_path) as results, pytest.raises(ResultsError, match="no measured cell yet"):
        write_report(results, tmp_path)


def test_results_without_a_pair_still_have_a_report(tmp_path, door):
    done = door(
        *("run", "--M", "2", "--N", "2", "--D_G", "3", "--kernels", "cpu.pointwise.numpy"),
        *("--time-limit", "0.05", "--target", "0.5", "--output", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "no speedup to speak of" in (tmp_path / "index.html").read_text()
    assert {file.stem for file in (tmp_path / "figures").glob("*.svg")} == {"ladder", "roofline"}


def made_up(speedup: float = 4.0, **more: object) -> pd.DataFrame:
    """Ratios of six shapes, of which nothing was measured: for what depends on values alone."""
    rows = [
        {
            **{"D_K": D_K, "M": 64, "N": N, "D_G": 28, "stride": 1, "batch": 1},
            **{"standard_kernel": "cpu.standard.x", "separable_kernel": "cpu.separable.x", "rung": "x", "best": True},
            **{"standard_variant": "x", "standard_library": "ours", "separable_variant": "x", "separable_library": "ours"},
            **{"speedup": speedup, "speedup_lo": speedup * 0.98, "speedup_hi": speedup * 1.02, "grade": "A", "remark": ""},
            **{"theory_speedup": 1 / (1 / N + 1 / D_K**2), "roofline_speedup": 0.9 / (1 / N + 1 / D_K**2)},
            "bound_speedup": 2 * speedup,
            **{"eta_standard": 0.5, "eta_separable": 0.25},
            **more,
        }
        for D_K in (3, 5)
        for N in (16, 64, 256)
    ]
    return pd.DataFrame([sizes(ConvShape(**{axis: row[axis] for axis in AXES})) | row for row in rows])


def test_the_verdict_says_what_the_numbers_say():
    text = " ".join(describe_ratios(made_up()))
    assert "4.0 times as fast" in text
    assert "promises 9.2 times (median of the same shapes)" in text
    assert "keeps 44% of its promise (median of measured / promised)" in text, "a median of shares, of 4 / 8.69 and 4 / 9.76"
    assert "the standard kernels reach 50%" in text
    assert "slower one" not in text
    assert "Of 6 ratios 6 closed and clean (A). Of the 6 between the fastest kernels 6 A." in text
    assert "6 of 6 shapes separable is the slower one" in " ".join(describe_ratios(made_up(speedup=0.5)))
    assert describe_ratios(made_up(grade="C", remark="x"))[0].startswith("Of 6 ratios 6 not closed (C).")
    assert "6 closed with a remark (B: of few blocks 6)." in describe_ratios(made_up(grade="B", remark="of few blocks"))[0]


def test_the_headline_puts_each_measured_point_where_it_belongs():
    ratios = made_up()
    panels = headline(ratios).axes
    marks = [collection.get_offsets() for axes in panels for collection in axes.collections if len(collection.get_offsets())]
    points = np.concatenate(marks)
    measured = points[points[:, 1] == 4.0]
    assert sorted(measured[:, 0]) == sorted(ratios.theory_speedup), "no point is moved along x"
    assert len(panels) == 2
    for axes in panels:
        lines = [line for line in axes.lines if np.array_equal(line.get_xdata(), line.get_ydata())]
        assert len(lines) == 1, "the line on which the formula is right"
    plt.close("all")


def test_theory_curves_are_the_formula():
    axes = over(made_up(), "N").axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 10]
    assert len(curves) == 2
    for line, D_K in zip(curves, (3, 5), strict=True):
        np.testing.assert_allclose(line.get_ydata(), 1 / (1 / line.get_xdata() + 1 / D_K**2))
    plt.close("all")


def test_an_axis_that_does_not_vary_has_no_figure():
    assert over(made_up(), "M") is None
    assert over(made_up().iloc[:0], "N") is None
    assert headline(made_up().iloc[:0]) is None


def test_hollow_markers_are_explained_only_where_there_are_any():
    def legend(ratios):
        labels = [text.get_text() for text in headline(ratios).legends[0].get_texts()]
        plt.close("all")
        return " ".join(labels)

    assert "hollow" not in legend(made_up())
    assert "hollow" not in legend(made_up(grade="B"))
    assert "hollow" in legend(made_up(grade="C"))
