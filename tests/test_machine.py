"""What a number carries about the machine that it comes from."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from sepconv_bench.measure import cpus, machine
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


# ---------------------------------------------------------------------------------------------- quotas


def system(tmp_path: Path, **written: str) -> Path:
    """A file system with what control groups say of themselves, as Linux lays it out."""
    for name, text in written.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),  # of a container, whose own group is the mount
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),  # of a group above
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n", "sys/fs/cgroup/b/cpu.max": "1 9\n"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
    ],
)
def test_the_quota_of_a_container_is_found(written, expected, tmp_path):
    root = system(tmp_path, **written)
    assert cpus.quota(root) == expected
    threads = cpus.default_threads(root)
    assert threads == (cpus.allowed_cores(root) if expected is None else max(1, min(cpus.allowed_cores(root), int(expected))))
    assert cpus.usable(root) == min(len(cpus.allowed()), expected or math.inf)


@pytest.mark.parametrize(
    ("file", "line", "seconds"),
    [
        ("sys/fs/cgroup/cpu.stat", "throttled_usec 2500000", 2.5),
        ("sys/fs/cgroup/cpu/cpu.stat", "throttled_time 1500000000", 1.5),
    ],
)
def test_time_for_which_a_quota_held_back_is_counted(file, line, seconds, tmp_path):
    assert cpus.throttled_seconds(tmp_path) == 0
    assert cpus.throttled_seconds(system(tmp_path, **{file: f"nr_periods 7\n{line}\n"})) == seconds


def test_two_threads_of_a_core_are_one(tmp_path):
    """As a cpuset with both siblings of one core in it."""
    if len(cpus.allowed()) < 2:
        pytest.skip("needs two CPUs")
    for cpu in cpus.allowed():
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
        system(tmp_path, **{f"{topology}/physical_package_id": "0\n", f"{topology}/core_id": f"{cpu // 2}\n"})
    assert cpus.allowed_cores(tmp_path) == len({cpu // 2 for cpu in cpus.allowed()})
