"""What the pages of the committed reports say and draw is what their tables hold: no point is moved, every aggregate is the one
that it is called, and every colour has its counterpart in the dark."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from sepconv_bench.report.claims import claims, claims_of_network, reason, tiles
from sepconv_bench.report.figures import palette, saving
from sepconv_bench.report.figures.crossover import crossover
from sepconv_bench.report.figures.headline import headline, places
from sepconv_bench.report.figures.over import over
from sepconv_bench.report.figures.reasons import reasons
from sepconv_bench.report.figures.rungs import rungs
from sepconv_bench.report.sentences import describe_ratios
from sepconv_bench.results import store, tables

ROOT = Path(__file__).parents[1]
SWEPT = ("amd-epyc-2-threads", "intel-xeon-2-threads", "nvidia-h100-80gb-hbm3", "vgg-and-inception-amd-epyc-2-threads")
NETWORKS = ("mobilenet-v1-amd-epyc-2-threads", "mobilenet-v1-intel-xeon-2-threads")


@pytest.fixture(scope="module", params=SWEPT)
def swept_tables(request) -> dict[str, pd.DataFrame]:
    with store.open_results(ROOT / "reports" / request.param) as results:
        return {name: tables.table(results, name) for name in ("ratios", "timings", "why", "layers")}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def offsets(figure) -> list[tuple[float, float]]:
    marks = [one for axes in figure.axes for one in axes.collections if isinstance(one, PathCollection)]
    return [(float(x), float(y)) for one in marks for x, y in one.get_offsets()]


def test_no_x_is_moved(swept_tables):
    ratios = swept_tables["ratios"]
    best = ratios[ratios.best]
    drawn = Counter(offsets(headline(ratios)))
    measured = Counter(zip(best.theory_speedup, best.speedup, strict=True))
    bounds = Counter(zip(best.theory_speedup, best.bound_speedup, strict=True))
    assert not measured - drawn, "each shape is where its promise and its measurement put it"
    assert not drawn - measured - bounds, "and there is nothing else"
    pairs = {*zip(ratios.theory_speedup, ratios.speedup, strict=True)}
    assert {*offsets(rungs(ratios))} <= pairs
    for axis in ("N", "M", "D_G", "D_K"):
        figure = over(ratios, axis)
        if figure is not None:
            assert {*offsets(figure)} <= {*zip(ratios[axis].astype(float), ratios.speedup, strict=True)}


def test_no_line_goes_through_measured_points(swept_tables):
    ratios = swept_tables["ratios"]
    for figure in (headline(ratios), crossover(ratios), rungs(ratios), over(ratios, "N"), over(ratios, "D_G")):
        for axes in figure.axes if figure else ():
            for line in axes.lines:
                assert not {*map(float, np.atleast_1d(line.get_ydata()))} & {*ratios.speedup}


def test_the_bound_is_above_each_point_that_is_drawn(swept_tables):
    best = swept_tables["ratios"].query("best")
    assert (best.speedup_lo <= best.bound_speedup).all()


def test_the_tiles_are_the_tables_aggregates(swept_tables):
    best = swept_tables["ratios"].query("best")
    gain, promise, share, grades = tiles(swept_tables["ratios"], swept_tables["layers"])
    assert gain.value == f"{np.median(best.speedup):.1f}x"
    assert f"{np.median(best.speedup_lo):.2f} to {np.median(best.speedup_hi):.2f} at 95%" in gain.note
    assert f"median of {len(best)} shapes" in gain.note
    assert promise.value == f"{np.median(best.theory_speedup):.1f}x"
    assert f"measured / promised: {np.median(best.speedup / best.theory_speedup):.0%} (median)" in promise.note
    assert share.value == f"{np.median(best.eta_standard):.0%} and {np.median(best.eta_separable):.0%}"
    assert sum(int(count) for count in re.findall(r"(\d+) [ABC]", grades.value)) == len(best)


def test_words_hold_no_aggregate_that_the_table_does_not(swept_tables):
    ratios = swept_tables["ratios"]
    best = ratios[ratios.best]
    text = " ".join(describe_ratios(ratios))
    (fast,) = re.findall(r"is ([\d.]+) times as fast as standard \(median of (\d+) shapes", text)
    assert fast == (f"{np.median(best.speedup):.1f}", str(len(best)))
    (kept,) = re.findall(r"keeps (\d+)% of its promise \(median of measured / promised\)", text)
    assert int(kept) == round(100 * np.median(best.speedup / best.theory_speedup))
    for words in (
        "times as fast as standard (median of",
        "(median of the same shapes)",
        "on this machine (median)",
        "(medians)",
    ):
        assert words in text
    said = claims(ratios, swept_tables["why"], swept_tables["timings"])
    assert f"{np.median(best.speedup):.1f} times as fast; {np.median(best.theory_speedup):.1f} times" in said["speedup"]
    slower = (best.speedup < 1).sum()
    lost = f"slower one on {slower} of {len(best)} shapes" if slower else f"faster one on all {len(best)} shapes"
    assert lost in said["crossover"]
    kept_shares = best.speedup / best.theory_speedup
    assert said["plane"] == f"Shapes keep {kept_shares.min():.0%} to {kept_shares.max():.0%} of their promise"


def test_the_reason_is_what_moves_most_shapes(swept_tables):
    why = swept_tables["why"].query("best")
    below = why[(why.speedup < why.theory_speedup) & ~why.dominant.isin(["none", "unknown"])]
    (most, count), *_ = Counter(below.dominant).most_common()
    sentence = reason(swept_tables["why"], swept_tables["layers"])
    assert f"On {count} of the {len(below)} shapes" in sentence
    factor = np.median(below[below.dominant == most][most])
    assert factor < 1
    assert f"it cuts the gain by {1 - factor:.0%} (median)" in sentence


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_by_itself_opens_with_its_own_numbers(name):
    with store.open_results(ROOT / "reports" / name) as results:
        layers, ratios, why = (tables.table(results, table) for table in ("layers", "ratios", "why"))
    row = layers[layers.part == "whole"].sort_values(["alpha", "resolution"]).iloc[-1]
    gain, promise, share, _ = tiles(ratios, layers)
    assert gain.value == f"{row.speedup:.2f}x"
    assert promise.value == f"{row.theory_speedup:.2f}x"
    assert share.value == f"{row.standard_eta:.0%} and {row.separable_eta:.0%}"
    assert "keep" in reason(why, layers)
    said = claims_of_network(layers)
    assert f"{row.speedup:.2f} times as fast as its all-standard counterpart; {row.theory_speedup:.2f} times" in said["network"]
    blocks = layers[layers.part.str.startswith("block") & (layers.alpha == row.alpha) & (layers.resolution == row.resolution)]
    kept = blocks.speedup / blocks.theory_speedup
    assert said["layers"] == f"The blocks keep {kept.min():.0%} to {kept.max():.0%} of their promise"
    assert said["latency"].endswith(f"to {row.speedup:.1f}x")


def test_a_D_K_has_one_colour_in_every_file():
    assert palette.of_widths([3, 5, 7])[5] == palette.of_widths([5])[5] == palette.of_widths([1, 5])[5]
    several = palette.of_widths([1, 3, 5, 7, 9])
    assert len({look.colour for look in several.values()}) == len({look.marker for look in several.values()}) == 5


def test_every_colour_of_a_figure_has_a_dark_one_and_the_same_results_give_the_same_bytes(committed, tmp_path, svg_alone):
    with store.open_results(committed) as results:
        ratios, why = tables.ratios(results), tables.why(results)
    for number, draw in enumerate((lambda: headline(ratios), lambda: reasons(why), lambda: over(ratios, "N"))):
        once, again = (saving.save(draw(), tmp_path / f"{number}{copy}") for copy in "ab")
        assert once == again
        text = once.decode()
        style, _, body = text.partition("</style>")
        assert "prefers-color-scheme:dark" in style
        colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body))
        assert colours <= palette.DARK.keys(), colours - palette.DARK.keys()
        assert len(colours) > 5


def test_places_hold_every_shape_once(swept_tables):
    ratios = swept_tables["ratios"]
    figure = headline(ratios)
    figure.canvas.draw()
    assert places(figure, ratios).keys() == {*ratios.index[ratios.best]}
