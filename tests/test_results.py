"""Every number in a table can be computed again from the samples that stand beside it."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sepconv_bench.cli import main
from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store
from sepconv_bench.results.tables import TABLES

SHAPE = ["D_K", "M", "N", "D_G", "stride", "batch"]
TIMINGS = {
    *("machine", "kernel", "operator", "device", "variant", *SHAPE, "time_s", "time_lo_s", "time_hi_s", "samples"),
    *("multiplications", "gflops", "eta", "compile_s", "converged", "status", "reason"),
}
RATIOS = {
    *(*SHAPE, "standard_kernel", "separable_kernel", "ratio", "ratio_lo", "ratio_hi", "theory_ratio"),
    *("speedup", "theory_speedup", "eta_standard", "eta_separable", "converged"),
}


@pytest.fixture(scope="module")
def tables(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """As the command line writes them."""
    folder = tmp_path_factory.mktemp("tables")
    for name in TABLES:
        main(["export", str(swept), "--table", name, "--output", str(folder / f"{name}.csv")])
    return {name: pd.read_csv(folder / f"{name}.csv") for name in TABLES}


def test_the_tables_have_what_they_promise(tables):
    assert set(tables["timings"]) >= TIMINGS
    assert set(tables["ratios"]) >= RATIOS
    assert len(tables["timings"]) == 6 * 8, "six cells of eight kernels"
    assert tables["timings"].status.eq("ok").all()
    assert not tables["ratios"].duplicated([*SHAPE, "standard_kernel", "separable_kernel"]).any()


def test_export_reproduces_each_ratio_from_the_stored_samples(tables):
    """By the definition in the documentation, written down a second time here."""
    samples = tables["samples"]
    for _, row in tables["ratios"].iterrows():
        cell = samples[(samples[SHAPE] == row[SHAPE].astype(int)).all(axis=1)]
        wide = cell.pivot_table(index=["block", "round"], columns="kernel", values="time_s")
        within_round = wide[row.separable_kernel] / wide[row.standard_kernel]
        logs = np.log(within_round.groupby("block").median().dropna())
        reach = stats.sem(logs) * stats.t.ppf(0.975, len(logs) - 1)
        expected = [math.exp(logs.mean() + shift) for shift in (0, -reach, reach)]
        assert [row.ratio, row.ratio_lo, row.ratio_hi] == pytest.approx(expected, rel=1e-9)
        assert row.theory_ratio == pytest.approx(1 / row.N + 1 / row.D_K**2, rel=1e-12)
        assert row.speedup == pytest.approx(1 / row.ratio)


def test_eta_is_the_attained_share_of_the_peak_timed_beside_it(tables, swept):
    with store.open_results(swept) as results:
        flop = {cell.shape: cell.measured.peak_flop for cell in results.cells()}
    (flop,) = set(flop.values())
    samples = tables["samples"]
    timings = tables["timings"]
    for _, row in timings.iterrows():
        here = timings[(timings[SHAPE] == row[SHAPE].astype(int)).all(axis=1)].set_index("kernel")
        cell = samples[(samples[SHAPE] == row[SHAPE].astype(int)).all(axis=1)]
        times = {name: of.set_index(["block", "round"]).time_s for name, of in cell.groupby("kernel")}
        own = times[row.kernel]
        time_s = math.exp(np.log(own.groupby("block").median()).mean())
        assert row.time_s == pytest.approx(time_s)
        rates = {
            name: 2
            * here.multiplications[name]
            / flop
            * (times["ceiling.fma"] / times[name]).dropna().groupby("block").median()
            for name in here.index
        }
        # Nothing multiplies faster than the peak: where a kernel seems to, the peak was disturbed, and that block has none.
        disturbed = {block for rate in rates.values() for block in rate.index[rate > 1]}
        rate = rates[row.kernel]
        rate = rate[~rate.index.isin(disturbed)]
        assert row.eta == pytest.approx(math.exp(np.log(rate).mean()))
        assert row.samples == len(own)
    # One by one a noisy moment may lift it above 1; as a rule nothing is above the ceiling.
    assert 0 < tables["timings"].eta.median() < 1


def test_measured_speedup_is_promised_times_the_etas(tables):
    """An identity but for the difference between a median of ratios and a ratio of medians."""
    ratios = tables["ratios"]
    product = ratios.theory_speedup * ratios.eta_separable / ratios.eta_standard
    assert np.median(np.abs(np.log(product / ratios.speedup))) < 0.1


def test_peers_beside_ours_are_the_ratios_of_paired_samples(tables):
    """By the definition in the documentation: in each cell a ratio within the rounds, over the cells the geometric mean."""
    samples, rows = tables["samples"], tables["peers"]
    assert list(rows.kernel) == [f"cpu.{operator}.loops" for operator in OPERATORS for _ in range(2)]
    assert list(rows.peer) == ["numpy", "best"] * 4
    for _, row in rows.iterrows():
        found = {}
        for shape, cell in samples[samples.kernel.isin([row.kernel, f"cpu.{row.operator}.numpy"])].groupby(SHAPE):
            wide = cell.pivot_table(index=["block", "round"], columns="kernel", values="time_s")
            within_round = wide[f"cpu.{row.operator}.numpy"] / wide[row.kernel]
            found[shape] = math.exp(np.log(within_round.groupby("block").median().dropna()).mean())
        ratios = list(found.values())
        assert row.cells == len(ratios) == 6
        expected = [math.exp(np.log(ratios).mean()), min(ratios), max(ratios)]
        assert [row.geomean, row["min"], row["max"]] == pytest.approx(expected, rel=1e-9)
        D_K, M, N, D_G, stride, batch = min(found, key=found.get)
        assert row.least_at == str(ConvShape(D_K, M, N, D_G, stride, batch))


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("network", "layers", "sums")])
def test_the_formats_hold_the_same_table(swept, door, tables, tmp_path, name):
    as_json = door("export", swept, "--table", name, "--format", "json")
    records = json.loads(as_json.stdout)
    assert list(records[0]) == list(tables[name])
    file = tmp_path / "table.parquet"
    assert door("export", swept, "--table", name, "--format", "parquet", "--output", file).returncode == 0
    frame = pd.read_parquet(file)
    assert len(frame) == len(records) == len(tables[name])
    column = next(name for name in ("time_s", "ratio", "speedup", "geomean") if name in frame)
    np.testing.assert_allclose(frame[column], tables[name][column], rtol=1e-12)
    np.testing.assert_allclose([record[column] for record in records], tables[name][column], rtol=1e-9)


def test_the_reasons_add_up_to_the_gap(tables):
    why, gap = tables["why"], tables["ratios"]
    factors = ("roofline", "standard", "separable", "overhead")
    logs = sum(why[f"log2_{name}"] for name in factors)
    np.testing.assert_allclose(logs, np.log2(gap.speedup / gap.theory_speedup), atol=1e-12)
    np.testing.assert_allclose(why.theory_speedup * why[list(factors)].prod(axis=1), gap.speedup, rtol=1e-12)
    # No kernel is told to be faster than a perfect one because of the estimated cost of its launch.
    for side in ("standard", "separable"):
        assert (why[f"{side}_overhead_s"] >= 0).all()
    within = (gap.ratio_lo <= gap.theory_ratio) & (gap.theory_ratio <= gap.ratio_hi)
    assert (why.dominant.eq("none") == within).all()
    assert why.explanation.str.len().gt(10).all()


def test_a_number_carries_where_it_came_from(swept):
    with store.open_results(swept) as results:
        (run,) = results.runs()
    machine = run.machine
    assert machine.versions["numba"]
    assert all((machine.cpu, machine.threads, machine.threading_layer, machine.wait_policy, machine.commit, machine.python))
    assert run.settings.rules == Rules(target=0.1, seconds=0.4)
    assert run.ceilings.peak.value > 0
    assert all(level.bandwidth.value > 0 for level in run.ceilings.levels)


def _copy(swept: Path, folder: Path) -> Path:
    path = folder / store.FILE_NAME
    path.write_bytes((swept / store.FILE_NAME).read_bytes())
    return path


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:12288] = bytes(8192)
    path.write_bytes(data)


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _mangled(path: Path) -> None:
    _change(path, "UPDATE runs SET machine = '{'")


def _emptied(path: Path) -> None:
    _change(path, "UPDATE runs SET ceilings = '[]'")


def _cut(path: Path) -> None:
    _change(path, "UPDATE samples SET seconds = x'0011'")


def _change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def _foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE somebody_elses (x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "there is no results.sqlite"),
        (lambda path: path.write_text("not a database, but long enough to look at " * 99), "not a results file"),
        (lambda path: path.write_bytes(b""), "not one of sepconv-bench's"),
        (_truncate, "damaged|cannot be read|not a results file"),
        (_scramble, "damaged|cannot be read|not a results file"),
        (_newer, "version 99"),
        (_mangled, "damaged: machine of run 1 cannot be read"),
        (_emptied, "damaged: ceilings of run 1 is not what was written: Expected `object`, got `array`"),
        (_cut, "damaged: samples of"),
        (_foreign, "not one of sepconv-bench's"),
    ],
)
def test_a_file_that_is_not_sound_is_refused_in_one_line(swept, tmp_path, door, spoil, told):
    spoil(_copy(swept, tmp_path))
    for command in ("report", "export"):
        done = door(command, tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert pd.Series([done.stderr]).str.contains(told).all(), done.stderr


def test_create_never_overwrites(tmp_path):
    store.create(tmp_path).__exit__()
    with pytest.raises(ResultsError, match="there already"):
        store.create(tmp_path)
    assert store.set_aside(tmp_path) is not None
    store.create(tmp_path).__exit__()
    assert store.set_aside(tmp_path) is not None
    assert len(list(tmp_path.glob("results-*.sqlite"))) == 2
