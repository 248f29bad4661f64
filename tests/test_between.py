"""What lies between visits: in the interval as a component that was measured, across the door, and in the file."""

from __future__ import annotations

import sys
from pathlib import Path

import made
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store, tables
from sepconv_bench.results.records import PEAK, continued, unpacked
from sepconv_bench.run.sweep import missing_shapes

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from between import NOISE, covered, grid

SHAPE = ConvShape(3, 4, 4, 5)
LOOPS, TILED = (made.declared(f"cpu.standard.{variant}") for variant in ("loops", "tiled"))


@pytest.mark.parametrize("noise", NOISE[1::2], ids=str)
def test_an_interval_over_visits_covers_95_percent(noise):
    with_it, without, _ = covered(np.random.default_rng(1), 20, *noise)
    assert 0.93 <= with_it <= 0.98, "420 cells tell it to a percent"
    if noise[0] >= 0.01:
        assert without < 0.85, "what it is for"


def test_a_cell_of_one_visit_has_no_such_component():
    (cell, *_) = grid(np.random.default_rng(0), 0.02, 0.02, (16,), False)
    assert cell.ratio("cpu.separable.tiled", "cpu.standard.tiled").half_width < 0.02


def test_a_cell_goes_on_in_another_visit():
    first = made.measured(SHAPE, {LOOPS: 2.0, TILED: 1.0}, blocks=2, visits=(2,))
    second = made.measured(SHAPE, {TILED: 3.0}, blocks=3, visits=(3,), failed=[LOOPS])
    second = replace(second, peak_flop=first.peak_flop * 2)  # another loop was the fastest there, of twice the work a launch
    whole = continued(first, second)
    assert whole.visits == (2, 3)
    assert {outcome.kernel.name: outcome.status for outcome in whole.outcomes} == {LOOPS.name: "failed", TILED.name: "ok"}
    samples = {name: unpacked(blocks) for name, blocks in whole.samples.items()}
    assert [float(block[0]) for block in samples[TILED.name]] == [1, 1, 3, 3, 3]
    assert np.isnan([block[0] for block in samples[LOOPS.name][2:]]).all()
    assert samples[PEAK][-1][0] == samples[PEAK][0][0] / 2
    assert continued(first, replace(second, samples={})) == first, "nothing was measured there"


def test_the_file_holds_one_cell_of_both_visits(tmp_path):
    kernels = [LOOPS.name, TILED.name]
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings(kernels), made.CEILINGS)
        first = made.measured(SHAPE, {LOOPS: 2.0, TILED: 1.0}, visits=(6,))
        results.add_cell(run, first)
        assert results.visits() == {(SHAPE, ",".join(kernels)): 1}
        assert missing_shapes([SHAPE], [LOOPS, TILED], results, visits=2) == [SHAPE], "one of two is to come"
        results.add_cell(run, continued(first, first))
        assert results.visits() == {(SHAPE, ",".join(kernels)): 2}
        assert missing_shapes([SHAPE], [LOOPS, TILED], results, visits=2) == []
        (cell,) = results.cells()
        assert cell.measured.visits == (6, 6)
        assert set(tables.timings(results).blocks) == {12}


@pytest.mark.parametrize("visits", ["[6, 5]", "[-1, 7]", "6", '["six"]'])
def test_visits_that_do_not_fit_the_blocks_are_damage(visits, tmp_path):
    import sqlite3

    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([TILED.name]), made.CEILINGS)
        results.add_cell(run, made.measured(SHAPE, {TILED: 1.0}, visits=(6,)))
    with sqlite3.connect(tmp_path / store.FILE_NAME) as connection:
        connection.execute("UPDATE cells SET processes = ?", (visits,))
    connection.close()
    with store.open_results(tmp_path) as results, pytest.raises(store.ResultsError, match="is damaged"):
        results.cells()
