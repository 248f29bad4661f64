"""What is written is what is read, and a cell is in the file whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import made
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench.errors import ResultsError
from sepconv_bench.model.shapes import GENERAL, ConvShape
from sepconv_bench.results import schema, store, tables
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


GENERAL_SHAPES = (
    ConvShape(3, 4, 8, 7),
    ConvShape(3, 4, 8, 7, dilation=2),
    ConvShape(3, 4, 8, 7, D_K_w=1, D_G_w=5, stride_w=2, dilation=2, dilation_w=1, multiplier=2, groups=4).with_padding(
        (1, 0, 0, 1)
    ),
)


def general_cells() -> list[CellMeasured]:
    return [made.measured(shape, dict.fromkeys(KERNELS, 1e-3)) for shape in GENERAL_SHAPES]


def test_general_shapes_are_cells_of_their_own(tmp_path: Path):
    cells = general_cells()
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        for cell in (*cells, *cells):
            results.add_cell(run, cell)
        assert [one.measured for one in results.cells()] == cells
        assert {shape for shape, _ in results.done()} == set(GENERAL_SHAPES)
        table = tables.ratios(results)
    assert [ConvShape(**{name: int(row[name]) for name in GENERAL_SHAPES[0].resolved}) for _, row in table.iterrows()] == [
        *GENERAL_SHAPES
    ]
    promised = 2 * 4 * (1 / 8 + 1 / 3)
    assert table.theory_ratio.tolist() == pytest.approx([1 / 8 + 1 / 9, 1 / 8 + 1 / 9, promised])


def test_a_file_of_version_4_takes_general_shapes_and_loses_nothing(tmp_path: Path):
    """Version 4 is made of today's: a table without the columns, in which a cell is one of a kind by its axes."""
    plain, *others = general_cells()
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        results.add_cell(run, plain)
    with closing(sqlite3.connect(tmp_path / store.FILE_NAME)) as connection, connection:
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(cells)") if name not in GENERAL]
        columns = ", ".join("id INTEGER PRIMARY KEY" if name == "id" else name for name in names)
        connection.execute(f"CREATE TABLE old ({columns}, UNIQUE (D_K, M, N, D_G, stride, batch, network, part, kernels))")
        connection.execute(f"INSERT INTO old SELECT {', '.join(names)} FROM cells")
        connection.execute("DROP TABLE cells")
        connection.execute("ALTER TABLE old RENAME TO cells")
        connection.execute("PRAGMA user_version = 4")
    with store.open_results(tmp_path) as results:
        assert [one.measured for one in results.cells()] == [plain], "it is read as it is"
    with store.open_results(tmp_path, write=True) as results:
        for cell in others:
            results.add_cell(run, cell)
        assert [one.measured for one in results.cells()] == [plain, *others]
    with closing(sqlite3.connect(tmp_path / store.FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


REPORTS = sorted((Path(__file__).parents[1]).glob("*/*/results.sqlite"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_committed_files_of_all_versions_become_todays_without_loss(path: Path, tmp_path: Path):
    (tmp_path / store.FILE_NAME).write_bytes(path.read_bytes())
    with store.open_results(tmp_path, write=True) as results:
        before = [one.measured for one in results._all_cells()]
        results.add_cell(results.runs()[-1].number, measured())
        *after, new = (one.measured for one in results._all_cells())
    assert new == measured()
    assert after == before
    with closing(sqlite3.connect(tmp_path / store.FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
