"""What this machine does to measurements: looked at for a second, told in words, with what would help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from sepconv_bench import git
from sepconv_bench.measure import cpus

_LOOK_SECONDS = 1.0
_BUSY = 0.05  # of the CPUs, by others
_STOLEN = 0.02
_WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENBLAS_THREAD_TIMEOUT")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is good for measuring, and a sentence that says why and what would help."""

    good: bool
    says: str


def diagnose(threads: int) -> list[Finding]:
    """What was looked at, the bad first. What this system does not tell is not among it."""
    found = [_crowded(threads), _clocked(), _powered(), _waiting(), _versioned(), *_disturbed()]
    return sorted((one for one in found if one is not None), key=lambda finding: finding.good)


def _crowded(threads: int) -> Finding:
    cores, usable = psutil.cpu_count(logical=False) or 1, cpus.usable()
    if threads > usable:
        return Finding(
            False,
            f"{threads} threads were asked for and {usable:g} CPUs may be used here: threads wait for each other's turn,"
            f" and samples have two modes; --threads {max(int(usable), 1)}",
        )
    if threads > cores:
        return Finding(
            False,
            f"{threads} threads share {cores} cores: two threads of a core have its multiply-add units between them;"
            f" --threads {cores}",
        )
    return Finding(True, f"every thread has a core: {threads} to measure with, {cores} cores, {usable:g} CPUs that may be used")


def _versioned() -> Finding | None:
    package = Path(__file__).parents[1]
    if not git.owned_by_another(package):
        return None
    return Finding(
        False,
        f"{package.parent} belongs to another user, and git does not read it: results do not know their commit;"
        f" `git config --global --add safe.directory {package.parent}`",
    )


def _clocked() -> Finding | None:
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = {file.read_text().strip() for file in files}
    slow = governors - {"performance"}
    if slow:
        return Finding(
            False,
            f"the clock's governor is {' and '.join(sorted(slow))}: cores start slow and speed up while they are timed;"
            " `cpupower frequency-set -g performance`",
        )
    return Finding(True, "the clock's governor is performance: cores do not start slow") if governors else None


def _powered() -> Finding | None:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None:
        return None
    if battery.power_plugged:
        return Finding(True, "the machine is plugged in")
    return Finding(False, "the machine runs on its battery, which holds the clock down; plug it in")


def _waiting() -> Finding:
    own = [f"{name}={os.environ[name]}" for name in _WAITS if name in os.environ]
    if own:
        return Finding(
            False,
            f"{' '.join(own)} in your environment overrides how idle thread pools wait: a pool that spins slows whoever is"
            " timed next, one that sleeps at once is slow to wake; unset it, unless you mean it",
        )
    return Finding(True, "nothing in the environment changes how idle thread pools wait")


def _disturbed() -> list[Finding]:
    """What others took of the CPUs while they were watched."""
    mine = psutil.Process()
    others = [process for process in psutil.process_iter(["name"]) if process.pid != mine.pid]
    for process in others:
        _percent(process)
    total = psutil.cpu_times_percent(_LOOK_SECONDS)
    busiest = max(others, key=_percent, default=None)
    stolen = getattr(total, "steal", 0) / 100
    busy = (100 - total.idle - getattr(total, "iowait", 0)) / 100 - stolen
    used = f"other processes used {max(busy, 0):.0%} of the CPUs in the last second"
    if busy > _BUSY:
        who = f", most by {busiest.info['name']} ({busiest.pid})" if busiest is not None else ""
        found = [Finding(False, f"{used}{who}: stop them, or measure later")]
    else:
        found = [Finding(True, used)]
    if stolen > _STOLEN:
        found.append(
            Finding(
                False,
                f"the hypervisor gave {stolen:.0%} of the CPUs to its other guests in the last second: only ratios within a"
                " round can be believed; measure at another hour, or on a machine of your own",
            )
        )
    elif hasattr(total, "steal"):
        found.append(Finding(True, f"the hypervisor gave {stolen:.0%} of the CPUs to other guests in the last second"))
    return found


def _percent(process: psutil.Process) -> float:
    """Of a CPU since the last call; 0 of one that is gone."""
    try:
        return process.cpu_percent()
    except psutil.Error:
        return 0.0
