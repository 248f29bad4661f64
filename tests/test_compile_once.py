"""Machine code is compiled once, and never taken for another's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

INNER = "from numba import njit\n\n@njit\ndef inner(x):\n    return x + {number}\n"
OUTER = """
import sys
from functools import cache
import numba.core.event as event
from numba import njit, prange
from sepconv_bench.compile_once import compile_once, seconds_saved
from inner import inner

@compile_once
def make(factor, parallel):
    @njit(parallel=parallel)
    def outer(x):
        total = 0
        for i in prange(4):
            total += factor * inner(x)
        return total
    return outer

@compile_once
@njit
def plain(x):
    return inner(x) + 1

if __name__ == "__main__":
    with event.install_recorder("numba:compile") as recorder:
        print(make(1, False)(1), make(2, False)(1), make(1, True)(1), plain(1), plain(1.5))
    print(len(recorder.buffer))
    print(seconds_saved())
"""


TWO_KERNELS = """
import sys
import numpy as np
from sepconv_bench.kernels.cpu.product import bind_standard

F, K, G = np.ones((1, 3, 3, 8), np.float32), np.ones((3, 3, 8, 8), np.float32), np.zeros((1, 1, 1, 8), np.float32)
biases = {"none": None, "bias": np.ones(8, np.float32)}
for name in sys.argv[1:]:
    bind_standard(F, K, G, 1, biases[name])()
    print(G.max())
"""


@pytest.fixture
def started(tmp_path: Path):
    """Runs the two modules in a process of its own: what they computed, how often numba compiled, and what that saved."""
    (tmp_path / "inner.py").write_text(INNER.format(number=1))
    (tmp_path / "outer.py").write_text(OUTER)

    def run(**environment: str) -> tuple[list[str], int, float]:
        where = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, tmp_path / "outer.py"],
            env=os.environ | where | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        values, compiled, saved = done.stdout.splitlines()
        return values.split(), int(compiled), float(saved)

    return run


def test_a_second_process_compiles_nothing(started):
    values, compiled, saved = started()
    assert (values, saved) == (["8", "16", "8", "3", "3.5"], 0)
    assert compiled > 0
    values, compiled, saved = started()
    assert (values, compiled) == (["8", "16", "8", "3", "3.5"], 0)
    assert saved > 0


def test_code_of_two_processes_does_not_mix(tmp_path):
    """Numba numbers the functions of a process, and the number is part of their names in machine code: of two functions of one
    name, the one loaded first was called for both."""

    def sums(*names: str) -> list[str]:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", TWO_KERNELS, *names]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout.split()

    assert (sums("none"), sums("bias")) == (["72.0"], ["6.0"])
    assert sums("none", "bias") == ["72.0", "6.0"]
    assert sums("bias", "none") == ["6.0", "72.0"]


def test_a_change_in_an_imported_module_is_seen(started, tmp_path):
    started()
    (tmp_path / "inner.py").write_text(INNER.format(number=2))
    values, compiled, _ = started()
    assert (values, compiled > 0) == (["12", "24", "12", "4", "4.5"], True)


@pytest.mark.exhaustive
def test_other_settings_of_the_compiler_are_other_code(started):
    started()
    assert started(NUMBA_OPT="1")[1] > 0


def test_code_that_is_damaged_is_compiled_again(started, tmp_path):
    started()
    kept = list((tmp_path / "cache").rglob("*.code"))
    assert len(kept) == 5
    for number, file in enumerate(kept):
        whole = file.read_bytes()
        file.write_bytes((whole[:100], b"", whole[:-1], whole[:500] + b"x" + whole[501:], whole)[number])
    values, compiled, _ = started()
    assert (values, compiled > 0) == (["8", "16", "8", "3", "3.5"], True)


@pytest.mark.exhaustive
def test_where_nothing_can_be_written_it_is_compiled_every_time(started):
    assert started(NUMBA_CACHE_DIR="/dev/full")[0] == ["8", "16", "8", "3", "3.5"]
