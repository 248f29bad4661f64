"""The registry of figures: each is there once, is said in words, and is drawn from what a page gives."""

from __future__ import annotations

from collections import Counter

import made
import pytest

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report import drawn
from sepconv_bench.report.figures.over import over
from sepconv_bench.report.figures.registry import ENTRIES, Entry
from sepconv_bench.results.store import create
from sepconv_bench.results.tables import TABLES, ratios

# Of each section what its page gives beside the tables.
GIVEN = {
    "sweep": {"run"},
    "network": set(),
    "history": {"history", "labels", "newest"},
    "machines": {"machines"},
    "scan": {"scanned"},
}


def test_every_figure_is_registered_once_with_what_it_shows():
    assert max(Counter((entry.section, entry.stem) for entry in ENTRIES).values()) == 1
    for entry in ENTRIES:
        assert len(entry.caption) > 40
        assert set(entry.needs) <= GIVEN[entry.section] | {*TABLES}


def test_a_figure_with_nothing_to_show_leaves_no_file_of_an_earlier_report(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.png").write_bytes(b"old")
    monkeypatch.setattr(drawn, "ENTRIES", (Entry("sweep", "mine", "Mine", "Mine", "nothing", lambda table: None, ("ratios",)),))
    assert drawn.drawn("sweep", {"ratios": None}, tmp_path) == []
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("widths", "names"), [((3, 5), None), ((1, 3, 5), ["fastest of each", "tiled"])])
def test_a_course_is_drawn_through_three_values_and_a_panel_needs_two(widths, names, tmp_path):
    kernels = {made.declared(f"cpu.{side}.tiled"): 1e-4 for side in ("standard", "separable")}
    other = {made.declared("cpu.standard.other"): 2e-4}  # of one width alone
    cells = [made.measured(ConvShape(D_K, 16, 64, 14), kernels | (other if D_K == 3 else {})) for D_K in widths]
    with create(tmp_path) as results:
        number = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        for cell in cells:
            results.add_cell(number, cell)
        figure = over(ratios(results), "D_K")
    assert names == (figure and [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")])
