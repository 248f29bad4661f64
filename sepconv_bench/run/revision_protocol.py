"""What the process of a revision is asked and what it answers: records on our side, JSON on the way.

At the other end an older revision's Python reads them, which has no msgspec: `revision_worker` takes them as plain dicts.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Struct

from sepconv_bench.model.shapes import ConvShape

# ---------------------------------------------------------------------------------------- jobs


@dataclass(frozen=True)
class Benchmark:
    """A kernel on a shape."""

    kernel: str
    shape: ConvShape

    def __str__(self) -> str:
        return f"{self.kernel} {self.shape}"


class Prepare(Struct, frozen=True, tag_field="do", tag="prepare"):
    """Draw data and compile."""

    benchmarks: tuple[Benchmark, ...]
    seed: int


class Fork(Struct, frozen=True, tag_field="do", tag="fork"):
    """Go on in a child, whose memory is drawn anew."""


class End(Struct, frozen=True, tag_field="do", tag="end"):
    """End the child; its parent goes on."""


class Verify(Struct, frozen=True, tag_field="do", tag="verify"):
    """Hold the results of these benchmarks, by number, against the reference."""

    which: tuple[int, ...]


class Draw(Struct, frozen=True, tag_field="do", tag="draw"):
    """Bind these benchmarks on fresh buffers."""

    which: tuple[int, ...]
    seed: int


class Sample(Struct, frozen=True, tag_field="do", tag="sample"):
    """Time one benchmark: the median of some batches of launches."""

    number: int
    launches: int
    batches: int


RevisionJob = Prepare | Fork | End | Verify | Draw | Sample

# ---------------------------------------------------------------------------------------- answers


class Done(Struct, frozen=True, tag="done"):
    """Of Fork and End."""


class Reasons(Struct, frozen=True, tag="reasons"):
    """Of Prepare and Verify: what is wrong with each benchmark, or nothing."""

    reasons: tuple[str, ...]


class Drawn(Struct, frozen=True, tag="drawn"):
    """Seconds a launch of each benchmark, roughly."""

    seconds: tuple[float, ...]


class Sampled(Struct, frozen=True, tag="sampled"):
    """Seconds a launch."""

    seconds: float


RevisionAnswer = Done | Reasons | Drawn | Sampled

_answers = msgspec.json.Decoder(RevisionAnswer)


def encode(job: RevisionJob) -> bytes:
    return msgspec.json.encode(job)


def decode(data: bytes) -> RevisionAnswer:
    return _answers.decode(data)
