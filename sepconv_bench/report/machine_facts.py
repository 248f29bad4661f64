"""The machine in words, for the page."""

from __future__ import annotations

from collections.abc import Sequence

from sepconv_bench.measure.records import Ceilings, Fingerprint
from sepconv_bench.report.plain import size
from sepconv_bench.results.records import Run


def cache_sizes(machine: Fingerprint) -> str:
    """Level and size of each, which Linux gives as "32K"."""
    return ", ".join(f"{level} {_size(text)}" for level, text in machine.caches.items())


def _size(text: str) -> str:
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:])
    return size(int(text[:-1]) * unit) if unit and text[:-1].isdecimal() else text


def _ceilings(ceilings: Ceilings) -> list[tuple[str, str]]:
    peak = ceilings.peak
    copies = (f"{size(level.footprint)}: {level.bandwidth.value / 1e9:.0f} GB/s" for level in ceilings.levels)
    return [
        (
            "FMA peak",
            f"{peak.value / 1e9:.0f} GFLOP/s (95% interval {peak.lo / 1e9:.0f} to {peak.hi / 1e9:.0f}),"
            f" vectors of {ceilings.lanes} floats",
        ),
        ("Copy", ", ".join(copies)),
    ]


def machine_facts(machine: Fingerprint, runs: Sequence[Run]) -> list[tuple[str, str]]:
    settings = runs[-1].settings
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    blas = ", ".join(f"{pool.internal_api} {pool.version} ({pool.num_threads:g} threads)" for pool in machine.blas)
    device = [("CPU", f"{machine.cpu} (LLVM says {machine.llvm_cpu})")]
    if gpu := machine.gpu:
        named = f"{gpu.name}, {gpu.multiprocessors} multiprocessors of compute capability {gpu.compute_capability}"
        device = [("GPU", f"{named}, {gpu.memory_bytes / 2**30:.0f} GiB, driver {gpu.driver}")]
    limits = (
        f", {len(machine.allowed_cpus)} of them allowed" if 0 < len(machine.allowed_cpus) < (machine.logical_cpus or 0) else ""
    )
    if machine.cpu_quota is not None:
        limits += f", a quota of {machine.cpu_quota:g}"
    return [
        *device,
        (
            "Threads",
            f"{machine.threads} of {machine.logical_cpus} logical CPUs{limits}, Numba's {machine.threading_layer} layer",
        ),
        ("Caches", cache_sizes(machine) or "unknown"),
        ("Launches find their data", "in memory" if settings.cold else "in the caches, as far as it fits"),
        ("Memory", f"{machine.memory_bytes / 2**30:.0f} GiB"),
        ("Idle pools", ", ".join(f"{name}={value}" for name, value in machine.wait_policy.items())),
        ("System", f"{machine.system}, Python {machine.python}"),
        ("Versions", versions),
        ("BLAS", blas or "unknown"),
        ("Commit", machine.commit or "not from a checkout"),
        (
            "Grid",
            f"{settings.grid}; interval target ±{settings.rules.target:.1%}, "
            f"at most {settings.rules.seconds:g} s of sampling a cell",
        ),
        ("Measured", " and ".join(run.machine.time for run in runs)),
        *_ceilings(runs[-1].ceilings),
    ]
