"""A file may hold a shape twice, with two lists of kernels, as a sweep does that was resumed with other --kernels: nothing of
the first is lost, and a slower kernel of the second is not taken for the fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import made
import numpy as np
import pytest

from sepconv_bench.model.grids import GRIDS
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.predict.prediction import Model
from sepconv_bench.report.figures.points import panels
from sepconv_bench.report.ladder import ladder, markdown
from sepconv_bench.report.machines import side_by_side
from sepconv_bench.results import store, tables
from sepconv_bench.results.comparison import compare_files
from sepconv_bench.results.sums import BEST_PAIR

FAST = {"cpu.standard.tiled": 1e-3, "cpu.separable.fused": 2e-4}
SLOW = {"cpu.standard.loops": 9e-3, "cpu.separable.loops": 4e-3}
SHAPE = ConvShape(3, 16, 32, 14)


def written(folder: Path, lists: Sequence[Mapping[str, float]], shapes: Sequence[ConvShape] = (SHAPE,)) -> Path:
    """Results in which the shapes were measured with one list of kernels after the other, each in a run of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with store.create(folder) as results:
        for seconds in lists:
            run = results.add_run(made.MACHINE, made.settings(list(seconds)), made.CEILINGS)
            for shape in shapes:
                results.add_cell(run, made.measured(shape, {made.declared(name): value for name, value in seconds.items()}))
    return folder


def test_a_kernel_that_became_slower_is_found_behind_another_list(tmp_path):
    slower = FAST | {"cpu.standard.tiled": 3e-3}
    with (
        store.open_results(written(tmp_path / "old", [FAST, SLOW])) as old,
        store.open_results(written(tmp_path / "new", [slower, SLOW])) as new,
    ):
        found = compare_files(old, new)
    assert not found.left_out
    words = {verdict.name: verdict.word for verdict in found.verdicts}
    assert words == {f"{name} {SHAPE}": "slower" if name == "cpu.standard.tiled" else "same" for name in FAST | SLOW}


def test_what_one_file_lacks_is_named_whichever_list_it_was_in(tmp_path):
    with (
        store.open_results(written(tmp_path / "old", [FAST, SLOW])) as old,
        store.open_results(written(tmp_path / "new", [SLOW])) as new,
    ):
        found = compare_files(old, new)
    assert found.left_out == {f"{name} {SHAPE}": "the new results have no time of it" for name in FAST}


def test_of_a_kernel_in_both_lists_the_last_measurement_counts(tmp_path):
    again = SLOW | {"cpu.standard.tiled": 3e-3}
    with (
        store.open_results(written(tmp_path / "old", [FAST])) as old,
        store.open_results(written(tmp_path / "new", [FAST, again])) as new,
    ):
        (verdict,) = (one for one in compare_files(old, new).verdicts if one.name.startswith("cpu.standard.tiled"))
    assert verdict.ratio.value == pytest.approx(3)


@pytest.mark.parametrize("lists", [(FAST, SLOW), (SLOW, FAST)])
def test_one_pair_a_shape_is_the_best_and_it_is_the_fastest(tmp_path, lists):
    with store.open_results(written(tmp_path, lists)) as results:
        for table in (tables.ratios(results), tables.why(results)):
            (best,) = table[table.best].itertuples()
            assert (best.standard_kernel, best.separable_kernel) == tuple(FAST)
            assert len(table) == 2


def test_of_the_same_pair_in_both_lists_the_last_counts(tmp_path):
    again = FAST | {"cpu.separable.fused": 4e-4, "cpu.depthwise.tiled": 1e-4}
    with store.open_results(written(tmp_path, [FAST, again])) as results:
        ratios = tables.ratios(results)
    assert ratios[ratios.best].speedup.tolist() == pytest.approx([2.5])
    ((_, points), (_, rung)) = panels(ratios, best=True)
    assert len(points) == len(rung) == 1
    assert rung.speedup.tolist() == pytest.approx([2.5])


@pytest.mark.parametrize("lists", [(FAST, SLOW), (SLOW, FAST)])
def test_machines_are_compared_by_their_fastest_kernels(tmp_path, lists):
    with (
        store.open_results(written(tmp_path / "here", lists)) as here,
        store.open_results(written(tmp_path / "there", [FAST])) as there,
    ):
        table = side_by_side([here, there], ["here", "there"])
    assert table.machine.tolist() == ["here", "there"]
    assert table.speedup.tolist() == pytest.approx([5, 5])
    assert table.separable_s.tolist() == pytest.approx([2e-4, 2e-4])


@pytest.mark.parametrize("lists", [(FAST, SLOW), (SLOW, FAST)])
def test_a_network_adds_up_its_fastest_kernels(tmp_path, lists):
    with store.open_results(written(tmp_path, lists, GRIDS["vgg16"].shapes)) as results:
        sums = tables.sums(results).set_index("comparison")
    assert sums.speedup[BEST_PAIR] == pytest.approx(5)
    assert sums.standard_kernels[BEST_PAIR] == "cpu.standard.tiled"
    assert sums.speedup["loops"] == pytest.approx(9 / 4)


def test_the_ladder_counts_a_kernel_once_a_shape(tmp_path):
    shapes = (SHAPE, ConvShape(3, 16, 64, 14), ConvShape(3, 16, 128, 14))
    once = written(tmp_path / "once", [FAST], shapes)
    twice = written(tmp_path / "twice", [FAST | {"cpu.pointwise.tiled": 1e-3}], shapes)
    with store.open_results(twice, write=True) as results:
        run = results.add_run(made.MACHINE, made.settings([*FAST]), made.CEILINGS)
        seconds = {made.declared(name): value for name, value in FAST.items()}
        results.add_cell(run, made.measured(shapes[0], seconds))
    with store.open_results(once) as first, store.open_results(twice) as second:
        rows = [
            {line for line in markdown(ladder(results)).splitlines() if line.startswith("| `")} for results in (first, second)
        ]
    assert rows[0] < rows[1]


def test_predictions_are_made_from_the_fastest_kernels(tmp_path):
    shapes = [ConvShape(D_K, M, N, 14) for D_K in (3, 5) for M in (16, 32, 64) for N in (16, 64)]
    folders = [written(tmp_path / name, lists, shapes) for name, lists in (("alone", [FAST]), ("both", [FAST, SLOW]))]
    predicted = []
    for folder in folders:
        with store.open_results(folder) as results:
            predicted.append(Model(results.cells()).predict(shapes[:3]))
    np.testing.assert_allclose(predicted[1].standard_s, predicted[0].standard_s)
    assert asdict(shapes[0])["N"] == predicted[0].N[0]
