"""Noise is marked where it is, and not where it is not; the doctor says what makes it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import psutil
import pytest

from sepconv_bench.measure.doctor import diagnose
from sepconv_bench.measure.grades import FLAGS, GRADES, flags, grade, remark
from sepconv_bench.results import store, tables

TARGET = 0.02


def quiet(rng: np.random.Generator, blocks: int = 20, rounds: int = 12) -> np.ndarray:
    return np.exp(rng.normal(0, 0.01, (blocks, 1)) + rng.normal(0, 0.03, (blocks, rounds)))


def signs(blocks: np.ndarray, half_width: float = 0.01, stolen: float = 0.0) -> list[str]:
    return flags(list(blocks), half_width, TARGET, stolen)


def test_what_is_quiet_is_not_marked():
    rng = np.random.default_rng(0)
    marked = [sign for _ in range(500) for sign in signs(quiet(rng))]
    assert len(marked) <= 2, "one in a thousand trends is chance"


@pytest.mark.parametrize("kind", ["exponential", "uniform", "outliers"])
def test_one_mode_of_any_form_is_not_two(kind):
    rng = np.random.default_rng(1)
    for _ in range(200):
        more = {
            "exponential": rng.exponential(0.1, (20, 12)),
            "uniform": rng.uniform(0, 0.3, (20, 12)),
            "outliers": 1.5 * (rng.random((20, 12)) < 0.05),
        }[kind]
        assert "bimodal" not in signs(quiet(rng) * np.exp(more))


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("step", [0.2, 1.5])
def test_two_modes_are_found(share, step):
    rng = np.random.default_rng(2)
    found = [signs(quiet(rng) * np.exp(step * (rng.random((20, 12)) < share))) for _ in range(100)]
    assert sum("bimodal" in one for one in found) >= 95


def test_a_drift_is_found_and_a_small_one_let_be():
    rng = np.random.default_rng(3)
    slope = np.linspace(0, 1, 20)[:, None]
    assert sum("drift" in signs(quiet(rng) * np.exp(0.15 * slope)) for _ in range(100)) >= 95
    assert sum("drift" in signs(quiet(rng) * np.exp(0.01 * slope)) for _ in range(100)) <= 3


def test_the_plain_signs():
    rng = np.random.default_rng(4)
    assert signs(quiet(rng), half_width=0.05) == ["wide"]
    assert signs(quiet(rng), half_width=np.inf) == ["wide"]
    assert signs(quiet(rng), stolen=0.1) == ["steal"]
    assert signs(quiet(rng), stolen=np.nan) == []
    assert signs(quiet(rng, blocks=4), half_width=0.1) == ["wide", "few"]
    assert flags([], np.inf, TARGET) == ["wide", "few"]
    assert flags([np.array([np.nan, np.nan])], np.nan, TARGET) == ["wide", "few"]


def test_a_grade_is_free_for_nobody():
    rng = np.random.default_rng(5)
    assert (grade(signs(quiet(rng))), remark(signs(quiet(rng)))) == ("A", "")
    two_modes = quiet(rng) * np.exp(0.3 * (rng.random((20, 12)) < 0.5))
    assert (grade(signs(two_modes)), remark(signs(two_modes))) == ("B", "its rounds have two modes")
    assert grade(signs(quiet(rng, blocks=5))) == "B"
    assert grade(signs(quiet(rng), stolen=0.1)) == "B"
    assert grade(signs(two_modes, half_width=0.021)) == grade(signs(quiet(rng), half_width=np.nan)) == "C"
    assert remark(signs(two_modes, half_width=0.021, stolen=0.1)) == "its interval did not close in its time"


def test_the_tables_carry_grade_remark_and_flags(swept):
    with store.open_results(swept) as results:
        pairs, times = tables.ratios(results), tables.timings(results)
    for table in (pairs, times):
        assert {sign for listed in table["flags"] for sign in listed.split()} <= set(FLAGS)
        assert set(table.grade) <= {*GRADES, ""}
        assert ((table.remark == "") == (table["flags"] == "")).all()
    assert ((pairs.grade == "C") == ~pairs.converged).all()
    assert ((pairs.grade == "A") == (pairs["flags"] == "")).all()


def test_strict_makes_an_error_of_it(door, tmp_path):
    arguments = ("run", "--D_K", "3", "--M", "4", "--N", "4", "--D_G", "5", "--kernels", "cpu.*.numpy", "--time-limit", "0.3")
    # So narrow an interval closes for nobody in so short a time.
    done = door(*arguments, "--target", "0.0001", "--strict", "--output", tmp_path / "strict")
    assert done.returncode == 1, done.stderr
    assert "Of 1 ratios 1 not closed (C)" in done.stderr
    assert "machine --doctor" in done.stderr
    assert (tmp_path / "strict" / "index.html").exists(), "nothing is lost"
    done = door(*arguments, "--target", "0.0001", "--output", tmp_path / "lenient")
    assert done.returncode == 0
    assert "machine --doctor" in done.stdout


def test_the_doctor_sees_threads_that_do_not_fit(door):
    cpus = psutil.cpu_count()
    done = door("machine", "--doctor", "--threads", 4 * cpus)
    assert done.returncode == 0
    assert f"BAD   {4 * cpus} threads were asked for" in done.stdout
    told = door("machine", "--doctor", "--threads", 1).stdout.splitlines()
    assert any(line.startswith("good  every thread has a core: 1 to measure with") for line in told)
    found = json.loads(door("machine", "--doctor", "--threads", 1, "--json").stdout)
    assert [one["good"] for one in found] == sorted(one["good"] for one in found), "the bad first"
    assert told[-1] == f"{sum(line.startswith('good') for line in told)} of {len(told) - 1} are good for measuring"


def test_the_doctor_sees_a_neighbour_and_a_wait_policy(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        told = [finding.says for finding in diagnose(1) if not finding.good]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert any("OMP_WAIT_POLICY=active" in says for says in told)
    assert any("other processes used" in says for says in told)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert any(finding.good and "idle thread pools" in finding.says for finding in diagnose(1))
