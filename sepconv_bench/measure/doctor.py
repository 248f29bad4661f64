"""What this machine does to measurements, and what would help: looked at for a second, told in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from sepconv_bench.measure import cpus

_LOOK_SECONDS = 1.0
_BUSY = 0.05  # of the CPUs, by others
_STOLEN = 0.02
_WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENBLAS_THREAD_TIMEOUT")


def diagnose(threads: int) -> list[str]:
    """A sentence for everything that makes numbers worse than they need be; none on a quiet machine that is set up well."""
    return [*_crowded(threads), *_clocked(), *_waiting(), *_disturbed()]


def _crowded(threads: int) -> Iterator[str]:
    cores, usable = psutil.cpu_count(logical=False) or 1, cpus.usable()
    if threads > usable:
        yield (
            f"{threads} threads were asked for and {usable:g} CPUs may be used here: threads wait for each other's turn,"
            f" and samples have two modes; --threads {max(int(usable), 1)}"
        )
    elif threads > cores:
        yield (
            f"{threads} threads share {cores} cores: two threads of a core have its multiply-add units between them;"
            f" --threads {cores}"
        )


def _clocked() -> Iterator[str]:
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = {file.read_text().strip() for file in files} - {"performance"}
    if governors:
        yield (
            f"the clock's governor is {' and '.join(sorted(governors))}: cores start slow and speed up while they are timed;"
            " `cpupower frequency-set -g performance`"
        )
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None and not battery.power_plugged:
        yield "the machine runs on its battery, which holds the clock down; plug it in"


def _waiting() -> Iterator[str]:
    own = [f"{name}={os.environ[name]}" for name in _WAITS if name in os.environ]
    if own:
        yield (
            f"{' '.join(own)} in your environment overrides how idle thread pools wait: a pool that spins slows whoever is"
            " timed next, one that sleeps at once is slow to wake; unset it, unless you mean it"
        )


def _disturbed() -> Iterator[str]:
    mine = psutil.Process()
    others = [process for process in psutil.process_iter(["name"]) if process.pid != mine.pid]
    for process in others:
        _percent(process)
    total = psutil.cpu_times_percent(_LOOK_SECONDS)
    busiest = max(others, key=_percent, default=None)
    busy = (100 - total.idle - getattr(total, "iowait", 0)) / 100
    stolen = getattr(total, "steal", 0) / 100
    if busy - stolen > _BUSY:
        who = f", most by {busiest.info['name']} ({busiest.pid})" if busiest is not None else ""
        yield f"other processes used {busy - stolen:.0%} of the CPUs in the last second{who}: stop them, or measure later"
    if stolen > _STOLEN:
        yield (
            f"the hypervisor gave {stolen:.0%} of the CPUs to its other guests in the last second: only ratios within a round"
            " can be believed; measure at another hour, or on a machine of your own"
        )


def _percent(process: psutil.Process) -> float:
    """Of a CPU since the last call; 0 of one that is gone."""
    try:
        return process.cpu_percent()
    except psutil.Error:
        return 0.0
