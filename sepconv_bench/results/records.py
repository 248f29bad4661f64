"""Records of what was found: they come from a worker, go into the store and through a network, and are checked at each door."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct, field

from sepconv_bench.measure.records import PEAK as PEAK  # it is in every cell's samples
from sepconv_bench.measure.records import Ceilings, Count, Fingerprint, Number, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.networks import PARTS, mobilenet_v1
from sepconv_bench.model.shapes import ConvShape

Status = Literal["ok", "unsupported", "wrong", "failed", "slow"]
Seconds = Annotated[float, Meta(ge=0, lt=2.5e11)]  # since 1970: for later ones a calendar has no day


class Outcome(Struct, frozen=True):
    """What became of one kernel of a cell. `error` is in units of what float32 rounding explains, infinite where part of G was
    not written; `launches` of a sample; `compile_s` None where it was never compiled."""

    kernel: Declaration
    status: Status = "ok"
    reason: str = ""
    compile_s: Number | None = None
    launches: int | None = 0
    error: float | None = None


class NetworkPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of which MobileNet-V1; ShapeError, a ValueError, where there is no such network or part."""

    alpha: float
    resolution: int
    batch: int
    part: str

    def __post_init__(self) -> None:
        mobilenet_v1(self.alpha, self.resolution, self.batch)
        if self.part not in PARTS:
            raise ValueError(f"no part of a network is called {self.part!r}")


class CellMeasured(Struct, frozen=True):
    """A shape, or a part of a network, and what the kernels compared on it did.

    `samples`: seconds a launch by kernel, and of the peak, an array of little-endian float64 a block, NaN where it sat a round
    out. `peak_flop` is the FLOP of one launch of the peak, `steal_s` the CPU seconds that the hypervisor took meanwhile,
    `slowed` the samples during which a GPU's clock was held down.
    """

    shape: ConvShape
    outcomes: tuple[Outcome, ...]
    samples: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    converged: bool = False
    started: Seconds | None = None
    seconds: Number | None = None
    steal_s: float | None = None
    peak_flop: Count | None = None
    slowed: int = 0
    network: NetworkPart | None = None

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(outcome.kernel.name for outcome in self.outcomes)


class RunSettings(Struct, frozen=True):
    """What a run was asked for: the grid's name, the kernels by name, and how long it might take."""

    grid: str
    kernels: tuple[str, ...]
    rules: Rules
    threads: int | None = None
    seed: int = 0
    timeout: float | None = None
    device: str = "cpu"
    cold: bool = False
    plugins: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    resolutions: tuple[int, ...] = ()
    batch: int = 1
    weights: str | None = None


class Run(Struct, frozen=True):
    """Under what conditions cells were measured; `number` is theirs in the file."""

    number: int
    machine: Fingerprint
    settings: RunSettings
    ceilings: Ceilings


def packed(blocks: list[np.ndarray] | tuple[np.ndarray, ...]) -> tuple[bytes, ...]:
    """Samples as they cross doors: float64, little endian, an array a block."""
    return tuple(np.asarray(block, "<f8").tobytes() for block in blocks)


def unpacked(blocks: tuple[bytes, ...]) -> list[np.ndarray]:
    """What `packed` was given. ValueError where the bytes are no whole numbers of float64."""
    return [np.frombuffer(block, "<f8") for block in blocks]


def plain(record: Any) -> Any:
    """A record as dicts and lists, for JSON."""
    import msgspec

    return msgspec.to_builtins(record)
