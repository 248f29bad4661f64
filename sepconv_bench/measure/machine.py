"""The machine that a number comes from: its fingerprint, and the time that others took from it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_info

from sepconv_bench import git
from sepconv_bench.errors import InputError
from sepconv_bench.measure.clocks import MOST_THREADS, wait_policy
from sepconv_bench.measure.cpus import allowed, default_threads, quota, throttled_seconds
from sepconv_bench.measure.records import Blas, Fingerprint

_PACKAGES = ("sepconv-bench", "numba", "llvmlite", "numpy", "scipy")


def allowed_threads(asked: int | None) -> int:
    """Threads to work with, unless asked the physical cores that may be used; InputError for so many that they would only
    hinder each other."""
    if asked is not None and asked > MOST_THREADS:
        raise InputError(
            f"{asked} threads are too many for the {os.cpu_count()} CPUs of this machine; at most {MOST_THREADS} are started"
        )
    return asked or default_threads()


def cpu_model() -> str:
    """The CPU's name as the system gives it."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return asked.stdout.strip() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def machine_name(threads: int) -> str:
    """A folder name for reports of this machine: its CPU and the thread count, no host name."""
    model = re.sub(r"\((R|TM)\)|@.*|\bCPU\b|\bProcessor\b|\d+-Core", " ", cpu_model(), flags=re.I)
    return "-".join([*re.findall(r"[a-z0-9]+", model.lower()), f"{threads}-threads"])


def fingerprint(libraries: Iterable[str] = ()) -> Fingerprint:
    """What a number must carry to be understood later: hardware, system, versions, threads and how idle pools wait.

    `libraries`: packages whose versions matter beside our own, those of the peers; they may be missing.
    """
    import numba  # more than a second to load, and the door only asks for the CPU's name and its cores
    from llvmlite import binding

    threads = _threads()
    features = (name for name, there in binding.get_host_cpu_features().items() if there)
    return Fingerprint(
        machine=machine_name(threads),
        cpu=cpu_model(),
        llvm_cpu=numba.config.CPU_NAME or binding.get_host_cpu_name(),  # type: ignore[attr-defined] # what Numba compiles for
        vector_features=tuple(sorted(name for name in features if re.match(r"avx|fma|neon|sve|amx", name))),
        cores=psutil.cpu_count(logical=False),
        logical_cpus=psutil.cpu_count(),
        allowed_cpus=allowed(),
        cpu_quota=quota(),
        memory_bytes=psutil.virtual_memory().total,
        caches=_caches(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=_versions(libraries),
        blas=tuple(
            Blas(pool["internal_api"], pool.get("version"), pool["num_threads"])
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ),
        threads=threads,
        threading_layer=_threading_layer(),
        wait_policy=wait_policy(),
        commit=commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def steal_seconds() -> float:
    """CPU seconds that were taken from here since boot, all CPUs together: given to others by the hypervisor, or held back by
    the quota of the control group; NaN where the system does not say."""
    return getattr(psutil.cpu_times(), "steal", float("nan")) + throttled_seconds()


def _threads() -> int:
    """Those of Numba's pool, which starts with this; InputError where NUMBA_THREADING_LAYER names none that there is."""
    import numba

    try:
        return numba.get_num_threads()
    except ValueError as error:
        asked, said = os.environ.get("NUMBA_THREADING_LAYER", ""), " ".join(str(error).split())
        raise InputError(
            f"NUMBA_THREADING_LAYER is {asked!r} in the environment, and Numba refuses: {said}; unset it"
        ) from error


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in (*_PACKAGES, *libraries):  # our own, too, may have none: a checkout that was put on the path and not installed
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _caches() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    caches = {}
    for index in sorted(folder.glob("index*")) if folder.exists() else ():
        if not (index / "size").exists():  # firmware that does not say
            continue
        level, kind, size = ((index / what).read_text().strip() for what in ("level", "type", "size"))
        caches[f"L{level}{'i' if kind == 'Instruction' else 'd' if kind == 'Data' else ''}"] = size
    return caches


def _threading_layer() -> str:
    """Numba knows its layer only once a parallel kernel has run."""
    import numba

    from sepconv_bench.compile_once import compile_once

    @compile_once
    @numba.njit(parallel=True)
    def touch(array: np.ndarray) -> None:
        for index in numba.prange(len(array)):
            array[index] += 1

    touch(np.zeros(64, np.float32))
    return numba.threading_layer()


def commit() -> str | None:
    """Commit of the source this package runs from, with `+changes` if files differ from it; None outside a checkout."""
    package = Path(__file__).parents[1]

    if git.said(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = git.said(package, "rev-parse", "HEAD")
    return head and head + "+changes" * bool(git.said(package, "status", "--porcelain", "--untracked-files=no", "--", "."))


def own_version() -> str | None:
    """Of this package; None of a checkout that was put on the path and not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("sepconv-bench")
    return None
