"""The report of several machines shows what each folder's tables say, on the shapes that all of them have."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sepconv_bench.errors import ResultsError
from sepconv_bench.model.shapes import AXES
from sepconv_bench.report.figures.machines import machines
from sepconv_bench.report.machines import describe_machines, side_by_side, write_comparison
from sepconv_bench.results import store, tables


@pytest.fixture
def folders(swept: Path, tmp_path: Path) -> list[Path]:
    """The swept results as they are; and again without D_K = 1, separable kernels taking twice their time."""
    made = [tmp_path / "here", tmp_path / "there<b>"]
    for folder in made:
        folder.mkdir()
        (folder / store.FILE_NAME).write_bytes((swept / store.FILE_NAME).read_bytes())
    connection = sqlite3.connect(made[1] / store.FILE_NAME)
    with connection:
        cells_of = "SELECT id FROM cells WHERE D_K = 1"
        for table, column in (("samples", "cell"), ("outcomes", "cell"), ("cells", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({cells_of})")
        for *key, seconds in connection.execute(
            "SELECT cell, kernel, block, seconds FROM samples WHERE kernel LIKE '%.separable.%'"
        ).fetchall():
            twice = (np.frombuffer(seconds, "<f8") * 2).tobytes()
            connection.execute("UPDATE samples SET seconds = ? WHERE cell = ? AND kernel = ? AND block = ?", [twice, *key])
    connection.close()
    return made


def compared(folders: list[Path]) -> pd.DataFrame:
    with ExitStack() as stack:
        opened = [stack.enter_context(store.open_results(folder)) for folder in folders]
        return side_by_side(opened, [folder.name for folder in folders])


def test_the_table_has_the_common_shapes_as_each_folder_has_them(folders):
    table = compared(folders)
    with store.open_results(folders[0]) as results:
        ratios, timings = tables.ratios(results), tables.timings(results)
    expected = ratios[ratios.best & (ratios.D_K == 3)].set_index([*AXES])
    here, there = (table[table.machine == folder.name].set_index([*AXES]) for folder in folders)
    assert len(here) == len(there) == len(expected) == 3
    for columns in ("speedup", "speedup_lo", "speedup_hi", "eta_standard", "eta_separable", "theory_speedup"):
        pd.testing.assert_series_equal(here[columns], expected[columns], check_like=True)
    times = timings.set_index([*AXES, "kernel"]).time_s
    for shape, row in here.iterrows():
        assert row.separable_s == times[(*shape, row.separable_kernel)]
        assert row.standard_s == times[(*shape, row.standard_kernel)]
    pd.testing.assert_series_equal(there.separable_s, here.separable_s * 2)
    pd.testing.assert_series_equal(there.speedup, here.speedup / 2)


def test_the_sentences_say_what_the_table_says(folders):
    table = compared(folders)
    told = describe_machines(table)
    assert told[0].startswith("3 shapes were measured on all 2 machines")
    for line, folder in zip(told[1:3], folders, strict=True):
        rows = table[table.machine == folder.name]
        assert line.startswith(f"{folder.name}: separable is {rows.speedup.median():.1f} times as fast")
        assert f"{(rows.speedup / rows.theory_speedup).median():.0%} of the promise" in line
    assert "least time on here. " in told[3]
    assert told[3].endswith("(geometric mean over the shapes): there<b> 2.00.")
    assert "by a factor of 2.00 in the speedup" in told[4]


def test_each_machine_has_its_marks_in_the_figure_and_the_promise_stands_beside_them(folders):
    table = compared(folders)
    panels = machines(table).axes
    for panel, column in zip(panels, ("speedup", "eta_standard", "eta_separable"), strict=True):
        drawn = [sorted(marks.get_offsets()[:, 0]) for marks in panel.collections if len(marks.get_offsets()) == 3]
        for folder in folders:
            assert any(drawn_ == pytest.approx(sorted(table[table.machine == folder.name][column])) for drawn_ in drawn)
    promised = sorted(table.drop_duplicates([*AXES]).theory_speedup)
    assert any(
        sorted(marks.get_offsets()[:, 0]) == pytest.approx(promised)
        for marks in panels[0].collections
        if len(marks.get_offsets()) == 3
    )
    plt.close("all")


def test_report_takes_several_folders(folders, tmp_path: Path, door: Callable):
    done = door("report", *folders, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert "machines.svg" in {file.name for file in (tmp_path / "out" / "figures").iterdir()}
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert re.findall(r'href="#(\w+)"', page) == re.findall(r'<h2 id="(\w+)"', page), "the contents are all sections, in order"
    assert "there&lt;b&gt;" in page
    assert "there<b>" not in page
    for row in compared(folders).itertuples():
        assert f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f}" in page


def test_machines_without_a_shape_in_common_are_refused(folders, tmp_path: Path):
    with store.create(tmp_path) as empty, store.open_results(folders[0]) as here:
        with pytest.raises(ResultsError, match="have no kernel on a shape in common"):
            write_comparison([here, empty], tmp_path / "out")
        with pytest.raises(ResultsError, match="came twice"):
            write_comparison([here, here], tmp_path / "out")
    assert not (tmp_path / "out").exists()
