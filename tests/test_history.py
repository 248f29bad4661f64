"""asv's results as this suite reads them: as asv itself does, and without harm where they are broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepconv_bench.report.history import write_history
from sepconv_bench.report.history_series import THEORY, found_steps, numbered, steps
from sepconv_bench.results import history

pytest.importorskip("asv", reason="asv is not installed: pip install '.[asv]'")

SHAPES = ("D_K=3 M=32 N=64 D_G=112", "D_K=3 M=512 N=512 D_G=14")
# A suite with all that results may hold: samples, parameters, a failure, a skip, no parameters, no unit.
SUITE = f"""
import json, os, random
LEVEL = float(open(os.path.join(os.path.dirname(__file__), "level")).read())
class Separable:
    params = (["fused", "parallel"], {SHAPES!r})
    param_names = ("kernel", "shape")
    def setup(self, kernel, shape):
        if kernel == "parallel" and "512" in shape:
            raise NotImplementedError
    def track_time(self, kernel, shape):
        return {{"samples": [LEVEL * (1 + k / 1000) for k in range(9)], "number": 1}}
    track_time.unit = "seconds"
    track_time.version = "1"
class Ratio:
    params = (["fused / tiled", {THEORY!r}], {SHAPES!r})
    param_names = ("pair", "shape")
    def track_cost_ratio(self, pair, shape):
        if pair == "fused / tiled" and "512" in shape and LEVEL == 2:
            raise RuntimeError("broken")
        return LEVEL / 10 if pair == "fused / tiled" else 0.1267
    track_cost_ratio.version = "1"
def track_plain():
    return 7
track_plain.version = "1"
"""
LEVELS = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0)


def git(folder: Path, *words: str, day: int = 1) -> str:
    when = {"GIT_AUTHOR_DATE": f"2026-01-0{day}T00:00:00Z", "GIT_COMMITTER_DATE": f"2026-01-0{day}T00:00:00Z"}
    command = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(command, env=os.environ | when, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """The results of six commits; the fourth doubles every time. Those of a commit that changes nothing are what asv wrote for
    the one before, under its name and date."""
    folder, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    config = {"version": 1, "project": "tiny", "repo": ".", "branches": ["main"], "environment_type": "virtualenv"}
    (folder / "asv.conf.json").write_text(json.dumps(config | {"results_dir": "results"}))
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "__init__.py").write_text("")
    (folder / "benchmarks" / "suite.py").write_text(SUITE)
    environment = os.environ | {"HOME": str(home)}
    here = ("--machine", "here|<b>")
    written: dict[float, Path] = {}
    for day, level in enumerate(LEVELS, start=1):
        (folder / "benchmarks" / "level").write_text(str(level))
        (folder / "NOTE").write_text(str(day))
        git(folder, "add", "--all", day=day)
        git(folder, "commit", "--quiet", "--message", f"day {day}", day=day)
        commit = git(folder, "rev-parse", "HEAD")
        if level in written:
            _as_of(written[level], commit, git(folder, "show", "--no-patch", "--format=%ct", "HEAD"))
            continue
        run = ("run", "--environment", f"existing:{sys.executable}", "--set-commit-hash", commit, *here)
        for words in (("machine", "--yes", *here), run) if not written else (run,):
            command = [sys.executable, "-m", "asv", *words]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode in (0, 2), done.stdout + done.stderr  # 2: a benchmark failed, as one here does
        (written[level],) = (folder / "results" / "here|<b>").glob(f"{commit[:8]}-*.json")
    return folder / "results"


def _as_of(written: Path, commit: str, seconds: str) -> None:
    text = written.read_text()
    stored = json.loads(text)
    commit_line = '"commit_hash": "{}"'.format
    for old, new in ((commit_line(stored["commit_hash"]), commit_line(commit)), (str(stored["date"]), f"{seconds}000")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    written.with_name(written.name.replace(stored["commit_hash"][:8], commit[:8])).write_text(text)


@pytest.fixture(scope="module")
def read(recorded) -> history.History:
    return history.read(recorded)


def test_it_reads_what_asv_itself_reads(recorded, read):
    from asv.benchmarks import Benchmarks
    from asv.config import Config
    from asv.results import iter_results

    config = Config.load(str(recorded.parent / "asv.conf.json"))
    config.results_dir = str(recorded)
    benchmarks = Benchmarks.load(config)
    expected = {}
    for result in iter_results(str(recorded)):
        for name in result.get_all_result_keys():
            params = result.get_result_params(name)
            stats = result.get_result_stats(name, params)
            samples = result.get_result_samples(name, params)
            for number, (values, value) in enumerate(zip(product(*params), result.get_result_value(name, params), strict=True)):
                interval = (stats[number]["ci_99_a"], stats[number]["ci_99_b"]) if stats and stats[number] else (None, None)
                expected[result.commit_hash, name, values] = (value, *interval, samples[number], benchmarks[name]["unit"])
    assert not read.unread
    assert len(read.table) == len(expected) == len(LEVELS) * 9
    for row in read.table.itertuples():
        values = tuple(repr(value) for value in row.parameters.values())
        value, lo, hi, samples, unit = expected[row.commit, row.benchmark, values]
        np.testing.assert_equal([row.value, row.lo, row.hi], [np.nan if x is None else x for x in (value, lo, hi)])
        np.testing.assert_array_equal(row.samples, samples or [])
        assert row.unit == unit
        assert row.status == ("failed" if value is None else "skipped" if np.isnan(value) else "ok")


def test_failed_and_skipped_are_told_apart(read):
    table = read.table
    assert (table.status == "skipped").sum() == len(LEVELS)
    assert (table.status == "failed").sum() == LEVELS.count(2.0)
    assert set(table[table.status == "failed"].benchmark) == {"suite.Ratio.track_cost_ratio"}
    assert list(dict.fromkeys(table.date)) == [pd.Timestamp(f"2026-01-0{day}", tz="UTC") for day in range(1, 7)]


def test_a_step_is_found_where_it_is(read):
    table, labels = numbered(read.table)
    assert labels == [commit[:8] for commit in dict.fromkeys(table.commit)]
    found = [step for step in found_steps(table) if step.series == f"Separable fused {SHAPES[0]}"]
    assert [(step.run, round(step.change, 6)) for step in found] == [(3, 1.0)]
    assert steps(np.ones(6)) == [(0, 6, 1.0)]


def test_the_page_says_it_and_escapes_what_came_from_outside(recorded, door, tmp_path):
    done = door("report", "--asv", recorded, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert "here|<b>" not in page
    assert "here|&lt;b&gt;" in page
    assert "+100%" in page
    assert "skipped" in page
    figures = sorted(path.name for path in (tmp_path / "out" / "figures").glob("*.svg"))
    assert figures == [f"here__b_-{stem}.svg" for stem in ("cost_ratio", "speedup", "times")]
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "the page needs nothing but itself"
    linked, sections = re.findall(r'href="#([\w-]+)"', page), re.findall(r'<h[23] id="([\w-]+)"', page)
    assert len(linked) == 5
    assert linked == sections, "the contents are all sections, in order"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: text.replace('"version": 2', '"version": 1'), "has version 1 of asv's results"),
        (lambda text: text.replace('"version": 2', '"version": 3'), "has version 3 of asv's results"),
        (lambda text: "[]", "has version None"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: text.replace('"commit_hash"', '"other"'), "KeyError"),
        (lambda text: text.replace('"results": {', '"results": {"x": 3, '), "TypeError"),
    ],
)
def test_a_broken_file_is_left_out_and_said(damage, told, recorded, tmp_path):
    copied = _copy(recorded, tmp_path)
    files = sorted(path for path in (copied / "here|<b>").glob("*.json") if path.name != "machine.json")
    files[0].write_text(damage(files[0].read_text()))
    found = history.read(copied)
    assert len(found.unread) == 1
    assert str(files[0]) in found.unread[0]
    assert told in found.unread[0]
    assert len(found.table) == (len(LEVELS) - 1) * 9
    assert write_history(found, tmp_path / "page").read_text().count("Left out: ") == 1


def test_without_anything_to_read_it_ends_in_one_line(recorded, door, tmp_path):
    copied = _copy(recorded, tmp_path)
    for path in (copied / "here|<b>").glob("*.json"):
        path.write_text("{")
    for folder, told in ((copied, "holds no result that can be read"), (tmp_path / "nosuch", "there is no")):
        done = door("report", "--asv", folder, "--output", tmp_path / "out")
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"), [(("x", "--asv", "y"), "both came"), (("x", "--output", "y"), "no results.sqlite in x")]
)
def test_a_report_is_of_one_thing(words, told, door):
    done = door("report", *words)
    assert done.returncode == 2
    assert told in done.stderr


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 20_000), what=st.binary(max_size=12), drop=st.integers(0, 40))
def test_whatever_is_in_a_file_there_is_no_traceback(where, what, drop, recorded, tmp_path):
    copied = tmp_path / "fuzzed"
    if not copied.exists():
        _copy(recorded, copied.parent, "fuzzed")
    file = min(path for path in (copied / "here|<b>").glob("*.json") if path.name != "machine.json")
    whole = min(path for path in (recorded / "here|<b>").glob("*.json") if path.name == file.name).read_bytes()
    where %= len(whole)
    file.write_bytes(whole[:where] + what + whole[where + drop :])
    found = history.read(copied)
    assert len(found.table) >= (len(LEVELS) - 1) * 9


def _copy(recorded: Path, folder: Path, name: str = "results") -> Path:
    for path in recorded.rglob("*.json"):
        target = folder / name / path.relative_to(recorded)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder / name
