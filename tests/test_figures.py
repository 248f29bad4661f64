"""The registry of figures: each is there once, is said in words, and is drawn from what a page gives."""

from __future__ import annotations

from collections import Counter

import made
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report import drawn
from sepconv_bench.report.figures.crossover import crossover
from sepconv_bench.report.figures.headline import headline
from sepconv_bench.report.figures.machines import machines
from sepconv_bench.report.figures.over import over
from sepconv_bench.report.figures.registry import ENTRIES, OF_ALL_DTYPES, Entry
from sepconv_bench.results import store
from sepconv_bench.results.tables import TABLES, ratios

# Of each section what its page gives beside the tables.
GIVEN = {
    "sweep": {"run", OF_ALL_DTYPES},
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
    with store.create(tmp_path) as results:
        number = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        for cell in cells:
            results.add_cell(number, cell)
        figure = over(ratios(results), "D_K")
    assert names == (figure and [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")])


@pytest.mark.parametrize("seen", [True, False])
def test_the_legend_names_a_bound_where_one_is_on_the_axes(seen, committed):
    with store.open_results(committed) as results:
        table = ratios(results)
    if not seen:
        table["bound_speedup"] = 1e3
    (legend,) = headline(table).legends
    assert any("bound" in text.get_text() for text in legend.get_texts()) == seen
    plt.close("all")


def test_a_figure_of_a_slice_is_signed_with_the_shapes_in_it(committed):
    with store.open_results(committed) as results:
        table = ratios(results)
    (entry,) = (entry for entry in ENTRIES if entry.stem == "over_D_G")
    figure = entry.draw(table)
    drawn.sign(figure, "here", entry.shown(table))
    assert "n = 5 shapes; here" in figure.legends[0].get_title().get_text()
    plt.close("all")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["headline", "crossover", "over", "machines"])
def test_an_interval_that_is_open_to_one_side_runs_to_the_edge(name, committed):
    """As a noisy machine gives them: no logarithm is taken of what is not above 0, and the bar is there."""
    draw = {
        "headline": headline,
        "crossover": crossover,
        "over": lambda table: over(table, "N"),
        "machines": lambda table: machines(table[table.best].assign(machine="one")),
    }[name]
    with store.open_results(committed) as results:
        table = ratios(results)
    none, below, endless = table.index[table.best & (table.D_K == 3) & (table.M == 64) & (table.D_G == 28)][:3]
    table.loc[[none, below], "speedup_lo"] = 0.0, -0.3
    table.loc[endless, "speedup_hi"] = np.inf
    found = set()
    for axes in draw(table).axes:
        across = int(name != "machines")
        edges = (axes.get_xlim, axes.get_ylim)[across]()
        for lines in (one for one in axes.collections if isinstance(one, LineCollection)):
            for ends in (segment[:, across] for segment in lines.get_segments()):
                found |= {(end, edge) for end in ends for edge in ("low", "high") if edges[edge == "high"] in ends}
    assert {(table.speedup_hi[none], "low"), (table.speedup_hi[below], "low"), (table.speedup_lo[endless], "high")} <= found
    plt.close("all")
