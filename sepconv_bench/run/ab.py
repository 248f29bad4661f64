"""Two revisions against each other: a process of each stays alive, and every sample of one stands beside one of the other.

Drift of the machine hits both alike. Where code and data lie is drawn anew all the time, since it would otherwise pass for a
difference between the revisions: fresh buffers for each block, a fork for every few blocks, and new processes several times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from sepconv_bench.errors import InputError
from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.environment import refuse_environment
from sepconv_bench.measure.sampler import ROUNDS, Medians, Plan, heap_frozen, take_rounds
from sepconv_bench.measure.statistics import estimate
from sepconv_bench.measure.verdicts import Verdict, shared_confidence, verdicts
from sepconv_bench.run import revision_protocol as protocol
from sepconv_bench.run.revision import Revision
from sepconv_bench.run.revision_protocol import Benchmark
from sepconv_bench.run.supervisor import Program, Supervisor, WorkerError

SET = 8  # benchmarks that are timed together, in the same rounds
RESTARTS = 2  # times that both processes are started for a set; compiling takes most of ten seconds
_BLOCKS_A_FORK = 8
# A benchmark whose interval is as narrow as this (half-width) leaves the time that is left to the others, after some blocks.
# Most are there in seconds; a kernel whose speed hangs on where its pages lie needs hundreds of draws, which then cost little.
_TARGET = 0.012
_SURE_BLOCKS = 24
_SILENCE_SECONDS = 120.0
_WORKER = Path(__file__).with_name("revision_worker.py")
_Wanted = TypeVar("_Wanted")


@dataclass(frozen=True)
class Comparison:
    """What came of it: verdicts (new over old), and what could not be compared, with the reason."""

    verdicts: list[Verdict]
    left_out: dict[str, str]
    blocks: dict[str, list[np.ndarray]]


class _Side:
    """The process of one revision. InputError where it dies or falls silent."""

    def __init__(self, revision: Revision, threads: int) -> None:
        self._label = revision.label
        program = Program(
            # -P: what lies beside the worker's file is this package, not the revision's.
            (str(revision.python), "-P", str(_WORKER)),
            os.environ | pool_environment(threads) | {"PYTHONPATH": str(revision.package)},
            kernel_seconds=_SILENCE_SECONDS,
            own_seconds=_SILENCE_SECONDS,
            keeps_errors=True,
        )
        self._supervisor: Supervisor[protocol.RevisionJob, protocol.RevisionAnswer] = Supervisor(
            program, protocol.encode, protocol.decode
        )
        self._supervisor.start()

    def send(self, job: protocol.RevisionJob) -> None:
        with self._faults_refused():
            self._supervisor.send(job)

    def receive(self, wanted: type[_Wanted]) -> _Wanted:
        with self._faults_refused():
            answer = self._supervisor.receive()
        assert isinstance(answer, wanted), f"{type(answer).__name__} came where {wanted.__name__} was to come"
        return answer

    def ask(self, job: protocol.RevisionJob, wanted: type[_Wanted]) -> _Wanted:
        self.send(job)
        return self.receive(wanted)

    def close(self) -> None:
        self._supervisor.close()

    @contextmanager
    def _faults_refused(self) -> Iterator[None]:
        try:
            yield
        except WorkerError as fault:
            if fault.exit_code is None:
                raise InputError(f"the process of {self._label}: {fault.reason}") from fault
            last = f": {fault.last_line}" if fault.last_line else ""
            raise InputError(f"the process of {self._label} ended with exit code {fault.exit_code}{last}") from fault


def compare(
    base: Revision,
    new: Revision,
    benchmarks: Sequence[Benchmark],
    threads: int,
    seconds: float,
    rng: np.random.Generator,
    log: Callable[[str], None],
) -> Comparison:
    """Time the benchmarks of both revisions, at most `seconds` for each eight of them; InputError where a process fails."""
    refuse_environment()
    blocks: dict[str, list[np.ndarray]] = {}
    left_out: dict[str, str] = {}
    for first in range(0, len(benchmarks), SET):
        chosen = list(benchmarks[first : first + SET])
        log(f"benchmarks {first + 1} to {first + len(chosen)} of {len(benchmarks)}, {seconds:g} s")
        end = time.monotonic() + seconds
        for restart in range(RESTARTS):
            if restart and time.monotonic() > end:
                break
            until = time.monotonic() + (end - time.monotonic()) / (RESTARTS - restart)
            seed = int(rng.integers(1 << 31))
            with _pair((base, new), threads, swapped=bool(restart % 2)) as sides, heap_frozen():
                numbers = _prepared(sides, chosen, left_out, seed, verify=restart == 0)
                found: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
                _sample(sides, found, until, shared_confidence(len(benchmarks)), rng)
            for number, taken in found.items():
                blocks.setdefault(str(chosen[number]), []).extend(taken)
    confidence = shared_confidence(len(blocks))
    return Comparison(verdicts({name: estimate(found, confidence) for name, found in blocks.items()}), left_out, blocks)


@contextmanager
def _pair(revisions: tuple[Revision, Revision], threads: int, swapped: bool) -> Iterator[list[_Side]]:
    """A process of each revision; which one starts first alternates."""
    started: list[_Side] = []
    try:
        for revision in reversed(revisions) if swapped else revisions:
            started.append(_Side(revision, threads))
        yield started[::-1] if swapped else started
    finally:
        for side in started:
            side.close()


def _prepared(sides: list[_Side], chosen: Sequence[Benchmark], left_out: dict[str, str], seed: int, verify: bool) -> list[int]:
    """Compile on both sides at once. The numbers of the benchmarks that both have and get right; others go into `left_out`."""
    for side in sides:
        side.send(protocol.Prepare(tuple(chosen), seed))
    answers = [side.receive(protocol.Reasons).reasons for side in sides]
    numbers = _kept(list(range(len(chosen))), answers, chosen, left_out)
    if verify:
        numbers = _kept(numbers, [_verified(side, numbers) for side in sides], chosen, left_out)
    return [number for number in numbers if str(chosen[number]) not in left_out]


def _kept(
    numbers: list[int], answers: list[tuple[str, ...]], chosen: Sequence[Benchmark], left_out: dict[str, str]
) -> list[int]:
    for whose, reasons in zip(("the old one", "the new one"), answers, strict=True):
        for number, reason in zip(numbers, reasons, strict=True):
            if reason:
                left_out.setdefault(str(chosen[number]), f"{whose}: {reason}")
    return [number for number in numbers if str(chosen[number]) not in left_out]


def _verified(side: _Side, numbers: list[int]) -> tuple[str, ...]:
    side.ask(protocol.Fork(), protocol.Done)
    reasons = side.ask(protocol.Verify(tuple(numbers)), protocol.Reasons).reasons
    side.ask(protocol.End(), protocol.Done)
    return reasons


def _sample(
    sides: list[_Side], found: dict[int, list[np.ndarray]], until: float, confidence: float, rng: np.random.Generator
) -> None:
    """Add blocks of new over old to each benchmark's, from fork to fork; one at least, and none begins after `until`."""
    open_ones, medians = list(found), {number: Medians() for number in found}
    while open_ones and (not found[open_ones[0]] or time.monotonic() < until):
        for side in sides:
            side.ask(protocol.Fork(), protocol.Done)
        for _ in range(_BLOCKS_A_FORK):
            for number, block in _block(sides, open_ones, rng).items():
                found[number].append(block)
                medians[number].add(block)
        for side in sides:
            side.ask(protocol.End(), protocol.Done)
        open_ones = [number for number in open_ones if not medians[number].closed(_TARGET, _SURE_BLOCKS, confidence)]


def _block(sides: list[_Side], numbers: list[int], rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Some rounds on fresh buffers, new over old; the two samples of a benchmark follow each other, in random order."""
    seconds: list[tuple[float, ...]] = [(), ()]
    for which in rng.permutation(2):  # whoever draws last finds more of its data in the cache
        job = protocol.Draw(tuple(numbers), int(rng.integers(1 << 31)))
        seconds[which] = sides[which].ask(job, protocol.Drawn).seconds
    jobs: dict[str, tuple[_Side, protocol.Sample]] = {}
    for number, *both in zip(numbers, *seconds, strict=True):
        plan = Plan.of(min(both))
        job_of_both = protocol.Sample(number, plan.launches, plan.batches)
        jobs |= {f"{which} {number}": (sides[which], job_of_both) for which in range(2)}

    def sample(name: str) -> float:
        side, job = jobs[name]
        return side.ask(job, protocol.Sampled).seconds

    groups = [[f"{which} {number}" for which in range(2)] for number in numbers]
    times = take_rounds([groups] * ROUNDS, sample, rng)
    return {number: times[f"1 {number}"] / times[f"0 {number}"] for number in numbers}
