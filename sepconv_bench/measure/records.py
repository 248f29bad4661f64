"""What measuring gives, as records: they cross processes, files and networks, and are checked at each door by msgspec.

A NaN or an infinity is no `Positive`; the ends of an interval may be either.
"""

from __future__ import annotations

from math import inf
from typing import Annotated

from msgspec import Meta, Struct, field

PEAK = "ceiling.fma"  # the name of the machine's peak among the samples

# Numbers that may be calculated with: none of their squares overflows.
Positive = Annotated[float, Meta(gt=0, lt=1e30)]
Number = Annotated[float, Meta(gt=-1e30, lt=1e30)]
Count = Annotated[int, Meta(gt=0, lt=2**62)]


class Estimate(Struct, frozen=True, array_like=True):
    """A positive number and the ends of its 95 % interval; NaN where nothing was sampled, infinite from one block."""

    value: float
    lo: float
    hi: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval relative to the value, 0.02 for +- 2 %; infinite where there is none."""
        return self.hi / self.value - 1 if self.value > 0 and self.hi < inf else inf


class Measured(Struct, frozen=True, array_like=True):
    """An Estimate of something that was measured: its value is known."""

    value: Positive
    lo: float
    hi: float


class Rules(Struct, frozen=True):
    """When a cell is done: every ratio's half-width at `target` (relative), or `seconds` are up.

    `evenly`: only the latter, and all contenders take part all the time.
    """

    target: Positive = 0.03
    seconds: Positive = 5.0
    evenly: bool = False


class Level(Struct, frozen=True):
    """What a copy within `footprint` bytes moves: bytes/s, and bytes for each FLOP at the peak timed in the same rounds."""

    footprint: Count
    bandwidth: Measured
    bytes_per_flop: Positive


class Ceilings(Struct, frozen=True):
    """What the machine can do at best: FLOP/s of multiply-adds on vectors of `lanes` floats, and copies by footprint."""

    peak: Measured
    lanes: Count
    levels: Annotated[tuple[Level, ...], Meta(min_length=1)]
    threads: int | None = None


class Blas(Struct, frozen=True):
    """A pool of BLAS threads, as threadpoolctl describes it."""

    internal_api: str
    version: str | None
    num_threads: Number


class Gpu(Struct, frozen=True):
    name: str
    compute_capability: str
    multiprocessors: Count
    memory_bytes: Count
    driver: str
    l2_bytes: int | None = None


class Fingerprint(Struct, frozen=True):
    """What a number must carry to be understood later: hardware, system, versions, threads and how idle pools wait.

    `machine` is a folder name for its reports, `host` the name of a fleet's host. With a `gpu`, `machine` and `cpu` name it.
    `allowed_cpus`: by number, those that the process could run on; `cpu_quota`: CPUs' worth of time that its control group
    left it, None where there was no limit.
    """

    machine: str
    cpu: str
    llvm_cpu: str
    system: str
    python: str
    threading_layer: str
    time: str
    caches: dict[str, str]
    versions: dict[str, str]
    wait_policy: dict[str, str]
    memory_bytes: Count
    threads: Count
    blas: tuple[Blas, ...]
    logical_cpus: Count | None
    commit: str | None
    cores: int | None = None
    vector_features: tuple[str, ...] = field(default_factory=tuple)
    gpu: Gpu | None = None
    host: str | None = None
    allowed_cpus: tuple[int, ...] = ()
    cpu_quota: float | None = None

    def describe(self) -> str:
        """What runs the kernels, in a few words."""
        return self.cpu if self.gpu else f"{self.cpu}, {self.threads} threads"
