"""Records of what was found: they come from a worker, go into the store and through a network, and are checked at each door."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct, field, structs

from sepconv_bench.measure.records import PEAK as PEAK  # it is in every cell's samples
from sepconv_bench.measure.records import Ceilings, Count, Fingerprint, Number, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.networks import PARTS, mobilenet_v1
from sepconv_bench.model.shapes import ConvShape

Status = Literal["ok", "unsupported", "wrong", "failed", "slow"]
Seconds = Annotated[float, Meta(ge=0, lt=2.5e11)]  # since 1970: for later ones a calendar has no day


class Outcome(Struct, frozen=True):
    """What became of one kernel of a cell. `error` is in units of what rounding explains, infinite where part of G was
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
    `slowed` the samples during which a GPU's clock was held down, `timed_s` the seconds inside samples; neither is stored.
    `visits`: how many of the blocks, in order, come from each visit to the cell; empty where that was not recorded.
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
    visits: tuple[Annotated[int, Meta(ge=0, lt=2**31)], ...] = ()
    timed_s: float = 0.0

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(outcome.kernel.name for outcome in self.outcomes)


def continued(before: CellMeasured, after: CellMeasured) -> CellMeasured:
    """A cell with the blocks of one more visit behind its own; a kernel that went wrong in either is wrong."""
    if not after.samples or not before.samples:
        return before if before.samples else after
    then, now = ({name: unpacked(blocks) for name, blocks in one.samples.items()} for one in (before, after))
    if PEAK in now and before.peak_flop and after.peak_flop:  # it need not have found the same loop the fastest
        now[PEAK] = [block * (before.peak_flop / after.peak_flop) for block in now[PEAK]]
    nothing = [[np.full(len(block), np.nan) for block in next(iter(side.values()))] for side in (then, now)]
    samples = {name: packed([*then.get(name, nothing[0]), *now.get(name, nothing[1])]) for name in then | now}
    later = {outcome.kernel.name: outcome for outcome in after.outcomes}
    outcomes = tuple(_worse(outcome, later.get(outcome.kernel.name, outcome)) for outcome in before.outcomes)
    return structs.replace(
        before,
        outcomes=outcomes,
        samples=samples,
        converged=before.converged and after.converged,
        seconds=(before.seconds or 0) + (after.seconds or 0),
        steal_s=(before.steal_s or 0) + (after.steal_s or 0),
        slowed=before.slowed + after.slowed,
        visits=(*before.visits, *after.visits),
    )


def _worse(first: Outcome, second: Outcome) -> Outcome:
    """Of what became of a kernel on two visits; what was right once and too slow then was right."""
    return second if first.status == "ok" and second.status in ("wrong", "failed") else first


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
