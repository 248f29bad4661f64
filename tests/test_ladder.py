"""The table of rungs: its numbers are those of the tables, and it goes between its markers and nowhere else."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout

import made
import numpy as np
import pandas as pd
import pytest

from sepconv_bench.cli import main
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import multiplications
from sepconv_bench.report.ladder import ladder, markdown
from sepconv_bench.results import store

PAGE = "# Mine\n\nbefore\n<!-- ladder: drawn by a command -->\nold\n<!-- end of ladder -->\nafter <!-- end of ladder -->\n"


@pytest.fixture(scope="module")
def table(swept) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed):
        main(["ladder", str(swept)])
    return printed.getvalue()


def test_its_numbers_are_those_of_the_tables(table, swept, door):
    timings, peers = (pd.read_csv(io.StringIO(door("export", swept, "--table", name).stdout)) for name in ("timings", "peers"))
    rows = {cells[0]: cells[1:] for line in table.splitlines() if (cells := [cell.strip() for cell in line.split("|")[1:-1]])}
    assert rows[""] == ["GFLOP/s", "% of peak", "vs numpy"]
    for operator in ("standard", "depthwise", "pointwise", "separable"):
        ours = timings[timings.kernel == f"cpu.{operator}.loops"]
        beside = peers[(peers.kernel == f"cpu.{operator}.loops") & (peers.peer == "numpy")].iloc[0]
        assert rows[f"`cpu.{operator}.loops`"] == [
            f"{ours.gflops.median():.0f}",
            f"{100 * ours.eta.median():.0f} ({100 * ours.eta.max():.0f})",
            f"{beside.geomean:.2g}x ({beside['min']:.2g} to {beside['max']:.2g})",
        ]
        theirs = timings[timings.kernel == f"cpu.{operator}.numpy"]
        assert rows[f"*{operator}, numpy*"][:2] == [
            f"{theirs.gflops.median():.0f}",
            f"{100 * theirs.eta.median():.0f} ({100 * theirs.eta.max():.0f})",
        ]
    assert "Medians over 6 shapes" in table


def test_of_a_peers_ways_the_fastest_on_each_shape_counts(tmp_path):
    """One way is the faster on two shapes, the other on the third."""
    shapes = [ConvShape(3, 8, N, 7) for N in (8, 16, 32)]
    ours = made.declared("cpu.standard.loops")
    one, other = (made.declared(f"cpu.standard.{way}", library="torch") for way in ("torch", "torch-other"))
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        for shape, seconds in zip(shapes, ((1e-4, 9e-4), (2e-4, 9e-4), (9e-4, 3e-4)), strict=True):
            results.add_cell(run, made.measured(shape, {ours: 1e-3, one: seconds[0], other: seconds[1]}))
        (row,) = (line for line in markdown(ladder(results)).splitlines() if "*standard, torch, the best of 2 ways*" in line)
    rates = [
        2 * multiplications("standard", shape) / best / 1e9 for shape, best in zip(shapes, (1e-4, 2e-4, 3e-4), strict=True)
    ]
    assert row.split("|")[2].strip() == f"{np.median(rates):.0f}"


def test_it_goes_between_its_markers_as_often_as_it_is_asked(table, swept, door, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    for _ in range(2):
        assert door("ladder", swept, "--into", page).returncode == 0
        before, after = PAGE.split("old\n")
        assert page.read_text() == f"{before}\n{table}\n{after}"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("no markers\n", "needs one line <!-- ladder -->"),
        ("<!-- end of ladder -->\n<!-- ladder -->\n", "needs one line <!-- ladder -->"),
        (PAGE + PAGE, "needs one line <!-- ladder -->"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_page_without_its_markers_is_left_as_it_is(page, told, swept, door, tmp_path):
    path = tmp_path / "page.md"
    before = page if isinstance(page, bytes) else page.encode()
    path.write_bytes(before)
    done = door("ladder", swept, "--into", path)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(("name", "told"), [("nosuch.md", "nosuch.md cannot be read"), (".", "is a directory")])
def test_a_page_that_is_not_there_or_is_a_folder(name, told, swept, door, tmp_path):
    done = door("ladder", swept, "--into", tmp_path / name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_page_that_may_not_be_written(swept, door, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    path.chmod(0o444)
    done = door("ladder", swept, "--into", path)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
