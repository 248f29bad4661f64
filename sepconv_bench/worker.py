"""The process in which kernels run: it binds, checks and times them, and may die of it. `sweep` talks to it.

Jobs and answers are JSON over a socket. Before anything of a kernel runs, its name is written into a small file that
outlives the process: whoever finds the worker dead or silent reads there whose fault it was.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numba.core.event as numba_event
import numpy as np

from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.kernels import registry
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.measure import machine
from sepconv_bench.measure.ceilings import FMA, Peak, fma_peak, measure_ceilings
from sepconv_bench.measure.sampler import Rules, Samples, sample
from sepconv_bench.pairing import pairs
from sepconv_bench.reference import Oracle
from sepconv_bench.shapes import ConvShape

_PR_SET_PDEATHSIG = 1
_T = TypeVar("_T")
# What a kernel may raise. No one sends this process a Ctrl-C: a KeyboardInterrupt, too, is a kernel's own.
_RAISED = (Exception, SystemExit, KeyboardInterrupt)


class _Marker:
    """Writes who is running into the file that the parent reads when this process is no more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._count = 0

    def __call__(self, name: str) -> None:
        self._count += 1
        os.pwrite(self._descriptor, f"{self._count} {name}\n".ljust(128).encode(), 0)


@dataclass
class _Outcome:
    """What became of one kernel of a cell."""

    kernel: str
    status: str = "ok"  # ok, unsupported, wrong, failed, slow
    reason: str = ""
    compile_s: float = 0.0
    error: float | None = None
    launches: int = 0
    launch_s: float = inf


class _Worker:
    def __init__(self, mark: _Marker) -> None:
        self._mark = mark

    @cached_property
    def _peak(self) -> Peak:
        return fma_peak(np.random.default_rng(0))

    def start(self, job: dict) -> dict:
        """Load the plug-ins; tell what kernels there are and on what machine this is."""
        for path in job["plugins"]:
            registry.load_plugin(path)
        names = registry.select(job["kernels"]) if job["kernels"] else registry.kernel_names(device="cpu")
        return {"machine": machine.fingerprint(), "kernels": names}

    def ceilings(self, job: dict) -> dict:
        return measure_ceilings(self._peak, np.random.default_rng(job["seed"]), job["seconds"])

    def check(self, job: dict) -> dict:
        """One kernel against the oracle on one shape."""
        shape = ConvShape(**job["shape"])
        cell = _Cell(shape, np.random.default_rng(job["seed"]), self._mark)
        return asdict(cell.checked(job["kernel"]))

    def measure(self, job: dict) -> dict:
        """Check, then time, the kernels of one cell."""
        shape, rules = ConvShape(**job["shape"]), Rules(**job["rules"])
        rng = np.random.default_rng([job["seed"], *asdict(shape).values()])
        stolen, started = machine.steal_seconds(), time.time()
        cell = _Cell(shape, rng, self._mark)
        outcomes = {name: cell.checked(name) for name in job["kernels"]}
        for outcome in outcomes.values():
            if outcome.status == "ok" and outcome.launch_s > rules.seconds / 4:
                outcome.status = "slow"
                outcome.reason = f"one launch took {outcome.launch_s:.3g} s of the {rules.seconds:g} s that a cell may take"
        self._mark("")
        samples = cell.timed(outcomes, self._peak.launch, rules)
        return {
            "shape": asdict(shape),
            "outcomes": [asdict(outcome) for outcome in outcomes.values()],
            "samples": {name: [block.tolist() for block in blocks] for name, blocks in samples.blocks.items()},
            "launches": samples.launches,
            "converged": samples.converged,
            "peak_flop": self._peak.flop,
            "started": started,
            "seconds": time.time() - started,
            "steal_s": machine.steal_seconds() - stolen,
        }


class _Cell:
    """One shape: its data, drawn once, and the oracle's answers to it."""

    def __init__(self, shape: ConvShape, rng: np.random.Generator, mark: Callable[[str], None]) -> None:
        self._shape, self._rng, self._mark = shape, rng, mark
        self._problems: dict[str, Problem] = {}
        self._oracles: dict[str, Oracle] = {}
        self._bound: dict[str, tuple[Problem, registry.Launch]] = {}

    def _oracle(self, operator: str) -> Oracle:
        if operator not in self._oracles:
            problem = Problem.draw(operator, self._shape, self._rng)
            self._oracles[operator] = Oracle(operator, self._shape, problem.F, problem.weights)
            self._problems[operator] = problem
        return self._oracles[operator]

    def bind(self, name: str) -> Callable[[np.random.Generator], registry.Launch]:
        kernel = registry.get_kernel(name)

        def bind(rng: np.random.Generator) -> registry.Launch:
            problem = self._problems[kernel.operator].placed_anew(rng)
            launch = kernel.bind(problem)
            self._bound[name] = problem, launch
            return launch

        return bind

    def checked(self, name: str) -> _Outcome:
        """Bind, compile and launch once; hold the result against the oracle."""
        outcome = _Outcome(name)
        kernel = registry.get_kernel(name)
        try:
            self._mark("")
            self._oracle(kernel.operator)
            self._mark(name)
            refused = kernel.supports(self._shape)
            if refused is not None:
                return _Outcome(name, "unsupported", str(refused))
            launch, _, compiling = _watched(partial(self.bind(name), self._rng))
            # A kernel may compile at its first launch: that is no part of the launch's time.
            given, outcome.launch_s, late = _watched(launch)
            outcome.compile_s = compiling + late
            kernel.unpack(given, self._bound[name][0].G)
        except _RAISED as error:
            outcome.status, outcome.reason = "failed", _told(error)
            return outcome
        self.verify(outcome)
        return outcome

    def verify(self, outcome: _Outcome) -> None:
        """Mark an outcome wrong unless the arrays bound last hold the oracle's answer and unchanged inputs."""
        name = outcome.kernel
        operator = registry.get_kernel(name).operator
        (bound, _), drawn = self._bound[name], self._problems[operator]
        self._mark("")
        outcome.error = self._oracle(operator).error(bound.G)
        changed = any(
            not np.array_equal(now, then)
            for now, then in zip((bound.F, *bound.weights), (drawn.F, *drawn.weights), strict=True)
        )
        if changed:
            outcome.status, outcome.reason = "wrong", "it changed its own input"
        elif not np.isfinite(outcome.error):
            outcome.status, outcome.reason = "wrong", "part of G is NaN or infinite, or was never written"
        elif not outcome.error <= 1:
            worst = f"{outcome.error:.3g} times what float32 rounding explains"
            outcome.status, outcome.reason = "wrong", f"its result differs from the oracle's by {worst}"

    def launch_again(self, outcome: _Outcome) -> None:
        """Verify what the arrays bound last hold after one more launch: timed launches are not unpacked."""
        bound, launch = self._bound[outcome.kernel]
        self._mark(outcome.kernel)
        try:
            registry.get_kernel(outcome.kernel).unpack(launch(), bound.G)
        except _RAISED as error:
            outcome.status, outcome.reason = "failed", _told(error)
            return
        self.verify(outcome)

    def timed(self, outcomes: dict[str, _Outcome], peak: registry.Launch, rules: Rules) -> Samples:
        """Samples of the kernels that are right, and of the FMA peak in the same rounds."""
        while True:
            seconds = {name: outcome.launch_s for name, outcome in outcomes.items() if outcome.status == "ok"}
            binds = {FMA: lambda rng: peak} | {name: self.bind(name) for name in seconds}
            running = FMA

            def mark(name: str) -> None:
                nonlocal running
                running = name
                self._mark(name)

            compared = [(pair.standard, pair.separable) for pair in pairs(seconds, outcomes)]
            try:
                samples = sample(binds, compared, rules, self._rng, mark)
            except _RAISED as error:
                if running not in outcomes:
                    raise
                outcomes[running].status, outcomes[running].reason = "failed", _told(error)
                continue
            for name in seconds:
                outcomes[name].launches = samples.launches[name]
                self.launch_again(outcomes[name])
                if outcomes[name].status != "ok":
                    outcomes[name].reason += ", after it was launched many times"
            return samples


def _watched(call: Callable[[], _T]) -> tuple[_T, float, float]:
    """What `call` gives, its seconds without Numba's compiler, and the compiler's."""
    compiling: list[float] = []
    start = time.perf_counter()
    with numba_event.install_timer("numba:compile", compiling.append):
        given = call()
    seconds = time.perf_counter() - start
    return given, seconds - sum(compiling), sum(compiling)


def _told(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory: {error}".rstrip(": ")
    if isinstance(error, ShapeError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"it raised {type(error).__name__}" + (f": {lines[0]}" if lines else "")


def _die_with_parent() -> None:
    """A sweep that is killed must not leave a worker behind, least of all one that loops for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Should memory run out, this process goes first and not the one that keeps the results.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def main(socket_descriptor: int, mark_descriptor: int) -> None:
    """Answer jobs until the parent hangs up."""
    _die_with_parent()
    connection = Connection(socket_descriptor)
    worker = _Worker(_Marker(mark_descriptor))
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer = {"answer": getattr(worker, job["do"])(job)}
        except InputError as error:
            answer = {"refused": str(error)}
        connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
