"""Which CPUs this process may use: its affinity, the cores behind it, and the quota of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import floor
from pathlib import Path, PurePosixPath

import psutil

_SYSTEM = Path("/")
_UNKNOWN_CACHES = 64 << 20


def allowed() -> tuple[int, ...]:
    """CPUs that this process may run on, by number."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def allowed_cores(root: Path = _SYSTEM) -> int:
    """Physical cores behind the CPUs that this process may run on: two threads of a core count once."""
    cpus, found = allowed(), set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        try:
            found.add(tuple((topology / name).read_text().strip() for name in ("physical_package_id", "core_id")))
        except OSError:  # a system that does not say
            return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))
    return min(len(found), psutil.cpu_count(logical=False) or len(found))


def cache_bytes(root: Path = _SYSTEM) -> int:
    """Bytes that all caches hold which the allowed CPUs reach, those that several share once; 64 MiB where the system does not
    say."""
    found = {}
    for cpu in allowed():
        for cache in (root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index*"):
            level, kind, shared, size = (_read(cache / name) for name in ("level", "type", "shared_cpu_list", "size"))
            if kind != "Instruction" and size.endswith("K") and size[:-1].isdecimal():
                found[level, shared] = int(size[:-1]) << 10
    return sum(found.values()) or _UNKNOWN_CACHES


def quota(root: Path = _SYSTEM) -> float | None:
    """CPUs' worth of time that the control groups around this process leave it; None where they set no limit.

    Of version 2 `cpu.max`, of version 1 `cpu.cfs_quota_us`, in the process's own group and in all above it.
    """
    limits = [*_limits_v2(root), *_limits_v1(root)]
    return min(limits, default=None)


def usable(root: Path = _SYSTEM) -> float:
    """CPUs that this process may use at a time, by affinity and quota."""
    limit = quota(root)
    return len(allowed()) if limit is None else min(len(allowed()), limit)


def default_threads(root: Path = _SYSTEM) -> int:
    """Physical cores that this process may run on, and no more than its quota, rounded down; one at least."""
    limit = quota(root)
    cores = allowed_cores(root)
    return cores if limit is None else max(1, min(cores, floor(limit)))


def throttled_seconds(root: Path = _SYSTEM) -> float:
    """CPU seconds for which the control group of this process was held back since it began; 0 where nothing limits it."""
    for folder in _folders(root, "", "sys/fs/cgroup"):
        if found := _stat(folder, "throttled_usec"):
            return found / 1e6
    for folder in _folders(root, "cpu", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"):
        if found := _stat(folder, "throttled_time"):
            return found / 1e9
    return 0.0


def _limits_v2(root: Path) -> Iterator[float]:
    for folder in _folders(root, "", "sys/fs/cgroup"):
        limit, _, period = _read(folder / "cpu.max").partition(" ")
        if limit.isdecimal() and period.isdecimal():
            yield int(limit) / int(period)


def _limits_v1(root: Path) -> Iterator[float]:
    for folder in _folders(root, "cpu", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"):
        limit, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if limit.isdecimal() and period.isdecimal():  # -1 is no limit
            yield int(limit) / int(period)


def _folders(root: Path, controller: str, *mounts: str) -> Iterator[Path]:
    """Of the control group that this process is in, as far as it is visible here, and of all above it.

    `controller` is that of version 1; version 2 has none.
    """
    inside = PurePosixPath("/")
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            inside = PurePosixPath(path)
    for mount in mounts:
        # Within a container the group that the system names may not be there; its own is the mount itself.
        for group in (inside, *inside.parents):
            folder = root / mount / group.relative_to("/")
            if folder.is_dir():
                yield folder


def _stat(folder: Path, name: str) -> int:
    for line in _read(folder / "cpu.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
