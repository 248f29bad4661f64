"""What is written is what is read, and a cell is in the file whole or not at all."""

from __future__ import annotations

from pathlib import Path

import made
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench.errors import ResultsError
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store
from sepconv_bench.results.records import CellMeasured

KERNELS = (made.declared("cpu.standard.tiled"), made.declared("cpu.separable.fused"))


def measured() -> CellMeasured:
    """A cell in which each sample is another number, and some rounds were sat out."""
    rng = np.random.default_rng(0)
    seconds = {kernel: rng.uniform(1e-4, 1e-3, (7, 5)) for kernel in KERNELS}
    seconds[KERNELS[1]][2:, 3:] = np.nan
    failed = [made.declared("cpu.separable.mine")]
    return made.measured(ConvShape(3, 4, 8, 7, stride=2), seconds, failed, blocks=7, rounds=5)


def test_a_cell_is_read_as_it_was_written(tmp_path: Path):
    with store.create(tmp_path) as results:
        results.add_cell(results.add_run(made.MACHINE, made.settings([]), made.CEILINGS), measured())
    with store.open_results(tmp_path) as results:
        (cell,) = results.cells()
        assert cell.measured == measured()
        assert (cell.run.machine, cell.run.settings, cell.run.ceilings) == (made.MACHINE, made.settings([]), made.CEILINGS)


def test_a_cell_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path):
    cell = measured()
    twice = replace(cell, outcomes=(*cell.outcomes, cell.outcomes[0]))
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        with pytest.raises(ResultsError, match="cannot be written"):
            results.add_cell(run, twice)
    with store.open_results(tmp_path, write=True) as results:
        assert results.cells() == []
        results.add_cell(run, cell)
        assert [one.measured for one in results.cells()] == [cell]
