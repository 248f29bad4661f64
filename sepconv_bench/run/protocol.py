"""What a worker is asked and what it answers: a record each, msgpack on the way, checked where it arrives."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Ceilings, Fingerprint, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured, NetworkPart, Outcome

# ---------------------------------------------------------------------------------------- jobs


class Start(Struct, frozen=True, tag=True):
    """Load the plug-ins and choose kernels: comma-separated patterns, None for all of the device.

    `cold`: a launch finds nothing of its own in the caches, on a GPU in L2.
    """

    plugins: tuple[bytes, ...]  # paths, which need not be text
    kernels: str | None
    device: str
    cold: bool


class MeasureCeilings(Struct, frozen=True, tag=True):
    seed: int
    seconds: float


class Check(Struct, frozen=True, tag=True):
    """One kernel against the reference on one shape."""

    kernel: str
    shape: ConvShape
    seed: int


class MeasureCell(Struct, frozen=True, tag=True):
    """Check, then time, these kernels on a shape: one of so many visits of this process, which share the time of `rules`."""

    shape: ConvShape
    kernels: tuple[str, ...]
    rules: Rules
    seed: int
    visits: int = 1


class OpenNetwork(Struct, frozen=True, tag=True):
    """Which parts a MobileNet-V1 has, and who runs them. `weights` is a file's path; None for random ones."""

    alpha: float
    resolution: int
    batch: int
    weights: bytes | None
    seed: int


class MeasureNetworkPart(Struct, frozen=True, tag=True):
    """Check, then time, these contenders on a part of a network; `visits` as of a cell, `visit` says which of all it is."""

    part: NetworkPart
    weights: bytes | None
    contenders: tuple[str, ...]
    rules: Rules
    seed: int
    visit: int = 0
    visits: int = 1


Job = Start | MeasureCeilings | Check | MeasureCell | OpenNetwork | MeasureNetworkPart

# ---------------------------------------------------------------------------------------- answers


class Started(Struct, frozen=True, tag=True):
    """The machine, and the kernels that were chosen."""

    machine: Fingerprint
    kernels: tuple[Declaration, ...]


class CeilingsMeasured(Struct, frozen=True, tag=True):
    ceilings: Ceilings


class Checked(Struct, frozen=True, tag=True):
    outcome: Outcome


class CellTimed(Struct, frozen=True, tag=True):
    """Of MeasureCell and of MeasureNetworkPart."""

    cell: CellMeasured


class PartContenders(Struct, frozen=True):
    part: str
    contenders: tuple[Declaration, ...]


class NetworkOpened(Struct, frozen=True, tag=True):
    """The parts in order, the whole last; `missing` names extras that would bring more libraries."""

    parts: tuple[PartContenders, ...]
    missing: tuple[str, ...] = ()


class Refused(Struct, frozen=True, tag=True):
    """The request does not fit; nothing is broken."""

    reason: str


class Failed(Struct, frozen=True, tag=True):
    """The worker's own part went wrong, and no kernel's."""

    reason: str


Answer = Started | CeilingsMeasured | Checked | CellTimed | NetworkOpened | Refused | Failed

# ---------------------------------------------------------------------------------------- on the wire

_jobs = msgspec.msgpack.Decoder(Job)
_answers = msgspec.msgpack.Decoder(Answer)


def encode(record: Job | Answer) -> bytes:
    """InputError where a text of the user's is in no encoding."""
    try:
        return msgspec.msgpack.encode(record)
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r} is no text") from error


def decode_job(data: bytes) -> Job:
    return _jobs.decode(data)


def decode_answer(data: bytes) -> Answer:
    return _answers.decode(data)


def whole_characters(text: str) -> str:
    """What an exception says may hold bytes of no encoding."""
    return text.encode(errors="backslashreplace").decode()
