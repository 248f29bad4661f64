"""What a number carries about the machine that it comes from."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from sepconv_bench.measure import machine
from sepconv_bench.measure.records import Fingerprint


def test_the_fingerprint_has_what_a_number_must_carry():
    found = machine.fingerprint()
    assert msgspec.json.decode(msgspec.json.encode(found), type=Fingerprint) == found
    assert found.cpu
    assert found.threads >= 1
    assert found.threading_layer in ("omp", "tbb", "workqueue")
    assert found.versions["numba"].count(".") == 2
    assert found.blas, "numpy brings a BLAS"
    assert {"sepconv-bench", "llvmlite", "numpy", "scipy"} < set(found.versions)
    assert found.logical_cpus >= found.threads
    assert found.memory_bytes > 1 << 28
    assert found.machine == machine.machine_name(found.threads)
    assert found.wait_policy == {name: os.environ[name] for name in found.wait_policy}
    assert datetime.fromisoformat(found.time).tzinfo is not None
    assert found.commit is None or len(found.commit.removesuffix("+changes")) == 40


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "intel-core-i7-9750h-4-threads"),
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-4-threads"),
        ("Apple M2 Pro", "apple-m2-pro-4-threads"),
        ("../../etc <b>x</b>", "etc-b-x-b-4-threads"),
        ("", "4-threads"),
    ],
)
def test_a_machines_name_is_a_safe_folder(monkeypatch, cpu, name):
    monkeypatch.setattr(machine, "cpu_model", lambda: cpu)
    assert machine.machine_name(4) == name


def test_this_machines_name_is_a_safe_folder():
    name = machine.machine_name(2)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-2-threads", name)


def test_a_cache_whose_size_is_not_told_is_no_obstacle(monkeypatch, tmp_path):
    """Linux leaves the file `size` out where the firmware does not tell it, as many ARM boards and virtual machines."""
    for index, (level, kind, size) in enumerate([("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", None)]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "type").write_text(f"{kind}\n")
        if size:
            (folder / "size").write_text(f"{size}\n")
    cpu0 = "/sys/devices/system/cpu/cpu0/cache"
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path if path == cpu0 else Path(path))
    caches = machine.fingerprint().caches
    assert caches["L1d"] == caches["L1i"] == "32K"


def test_stolen_time_only_grows():
    first, second = machine.steal_seconds(), machine.steal_seconds()
    assert first <= second or first != first, "NaN where the system does not tell"


def test_default_threads_are_cores_that_there_are():
    assert 1 <= machine.default_threads() <= (os.cpu_count() or 1)
