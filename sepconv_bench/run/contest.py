"""Who may be compared: every contender is bound, launched and judged once, then those that are right are timed together.

A contest knows a contender by its name, `<device>.<operator>.<variant>`, and by what `Contender` asks of it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite
from typing import TypeVar

import numba.core.event as numba_event
import numpy as np

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Bind, Kernel, Launch, Unpack
from sepconv_bench.measure.ceilings import FMA
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.sampler import Rules, Samples, sample
from sepconv_bench.model.pairing import pairs
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.shapes import ConvShape

_T = TypeVar("_T")
# What a kernel may raise. No one sends this process a Ctrl-C: a KeyboardInterrupt, too, is a kernel's own.
_RAISED = (Exception, SystemExit, KeyboardInterrupt)


class Contender(ABC):
    """Something that can be timed, and whose result can be judged."""

    def prepare(self) -> None:  # noqa: B027 (most have none)
        """Our own work beforehand."""

    def refuses(self) -> str | None:
        """Why it does not take this, or None."""
        return None

    @abstractmethod
    def bind(self, rng: np.random.Generator) -> Launch:
        """The launch that is timed, on fresh buffers."""

    @abstractmethod
    def unpack(self, given: object) -> None:
        """Put what the launch bound last has given where `judge` looks."""

    @abstractmethod
    def judge(self) -> tuple[float, str]:
        """Error of the result, in units of what float32 rounding explains, and what else is wrong with it, or nothing."""


class OnData(Contender):
    """A kernel on one problem. `drawn` gives it and the reference's answer to it; `bind` and the others are the kernel's."""

    def __init__(
        self,
        drawn: Callable[[], tuple[Problem, Reference]],
        bind: Bind,
        unpack: Unpack | None = None,
        supports: Callable[[ConvShape], str | None] | None = None,
    ) -> None:
        self._drawn, self._bind, self._unpack, self._supports = drawn, bind, unpack, supports
        self._bound: Problem | None = None

    @classmethod
    def of(cls, kernel: Kernel, drawn: Callable[[], tuple[Problem, Reference]]) -> OnData:
        return cls(drawn, kernel.bind, kernel.unpack, kernel.supports)

    def prepare(self) -> None:
        self._drawn()

    def refuses(self) -> str | None:
        return self._supports(self._drawn()[0].shape) if self._supports else None

    def bind(self, rng: np.random.Generator) -> Launch:
        self._bound = self._drawn()[0].placed_anew(rng)
        return self._bind(self._bound)

    def unpack(self, given: object) -> None:
        assert self._bound is not None
        if self._unpack:
            self._unpack(given, self._bound.G)

    def judge(self) -> tuple[float, str]:
        assert self._bound is not None
        bound, (drawn, reference) = self._bound, self._drawn()
        arrays = zip((bound.F, *bound.weights), (drawn.F, *drawn.weights), strict=True)
        changed = any(not np.array_equal(now, then) for now, then in arrays)
        return reference.error(bound.G), "it changed its own input" if changed else ""


class OnGpu(OnData):
    """A kernel on a problem whose maps lie on the GPU, and stay there: to move them for each block would take longer than the
    block."""

    def bind(self, rng: np.random.Generator) -> Launch:
        from sepconv_bench.kernels.cuda import arrays

        drawn, _ = self._drawn()
        F, G = arrays.twin(drawn.F), arrays.nothing(drawn.G.shape)  # type: ignore[arg-type]
        self._bound = replace(drawn, F=F, G=G)  # type: ignore[arg-type]
        return self._bind(self._bound)

    def judge(self) -> tuple[float, str]:
        from sepconv_bench.kernels.cuda import arrays

        assert self._bound is not None
        G, (drawn, reference) = self._bound.G, self._drawn()
        changed = arrays.differ(self._bound.F, drawn.F)  # type: ignore[arg-type]
        images = np.concatenate([arrays.OnGpu().host(G[number : number + 1]) for number in reference.images])  # type: ignore[arg-type]
        error = reference.error_of(images) if arrays.finite(G) else inf  # type: ignore[arg-type]
        return error, "it changed its own input" if changed else ""


@dataclass
class Outcome:
    """What became of one contender."""

    kernel: str
    status: str = "ok"  # ok, unsupported, wrong, failed, slow
    reason: str = ""
    compile_s: float = 0.0
    error: float | None = None
    launches: int = 0
    launch_s: float = inf


class Contest:
    """Contenders by name. `mark(name)` is called before anything of that contender runs, with "" before our own work.

    `clock` is the host's unless another is given.
    """

    def __init__(
        self,
        contenders: Mapping[str, Contender],
        rng: np.random.Generator,
        mark: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._contenders, self._rng, self._mark, self._clock = contenders, rng, mark, clock

    def checked(self, name: str) -> Outcome:
        """Bind, compile and launch once; judge the result."""
        outcome, contender = Outcome(name), self._contenders[name]
        try:
            self._mark("")
            contender.prepare()
            self._mark(name)
            refused = contender.refuses()
            if refused is not None:
                return Outcome(name, "unsupported", str(refused))
            launch, _, compiling = _watched(partial(contender.bind, self._rng))
            # A kernel may compile at its first launch: that is no part of the launch's time.
            given, outcome.launch_s, late = _watched(launch)
            outcome.compile_s = compiling + late
            if self._clock is not None and self._clock.queues:
                # It compiled as well, and came back before it was done.
                first, outcome.launch_s = outcome.launch_s, self._clock.batch_seconds(launch, 1)
                outcome.compile_s += first
            contender.unpack(given)
        except _RAISED as error:
            outcome.status, outcome.reason = "failed", _told(error)
            return outcome
        self._judge(outcome)
        return outcome

    def timed(self, peak: Launch, rules: Rules, against: str = "") -> tuple[list[Outcome], Samples]:
        """Check all; then samples of those that are right, and of the FMA peak in the same rounds.

        Done when the ratios of separable to standard are known, with `against` also those to that variant of each operator;
        where there is nothing to compare, those to the peak.
        """
        outcomes = {name: self.checked(name) for name in self._contenders}
        for outcome in outcomes.values():
            if outcome.status == "ok" and outcome.launch_s > rules.seconds / 4:
                outcome.status = "slow"
                outcome.reason = f"one launch took {outcome.launch_s:.3g} s of the {rules.seconds:g} s that a cell may take"
        self._mark("")
        while True:
            seconds = {name: outcome.launch_s for name, outcome in outcomes.items() if outcome.status == "ok"}
            launches: dict[str, Launch] = {}
            binds = {FMA: lambda rng: peak} | {name: partial(self._bind, name, launches) for name in seconds}
            running = FMA

            def mark(name: str) -> None:
                nonlocal running
                running = name
                self._mark(name)

            compared = [(pair.standard, pair.separable) for pair in pairs(seconds, outcomes)]
            compared += [(name, own) for name in seconds if (own := _like(name, against)) in seconds and own != name]
            try:
                samples = sample(binds, compared or [(name, FMA) for name in seconds], rules, self._rng, mark, self._clock)
            except _RAISED as error:
                if running not in outcomes:
                    raise
                outcomes[running].status, outcomes[running].reason = "failed", _told(error)
                continue
            for name in seconds:
                outcomes[name].launches = samples.launches[name]
                self._launch_again(outcomes[name], launches[name])
                if outcomes[name].status != "ok":
                    outcomes[name].reason += ", after it was launched many times"
            return list(outcomes.values()), samples

    def _bind(self, name: str, launches: dict[str, Launch], rng: np.random.Generator) -> Launch:
        launches[name] = self._contenders[name].bind(rng)
        return launches[name]

    def _launch_again(self, outcome: Outcome, launch: Launch) -> None:
        """Judge what one more launch gives: timed launches are not unpacked."""
        self._mark(outcome.kernel)
        try:
            self._contenders[outcome.kernel].unpack(launch())
        except _RAISED as error:
            outcome.status, outcome.reason = "failed", _told(error)
            return
        self._judge(outcome)

    def _judge(self, outcome: Outcome) -> None:
        self._mark("")
        outcome.error, wrong = self._contenders[outcome.kernel].judge()
        if wrong:
            outcome.status, outcome.reason = "wrong", wrong
        elif not isfinite(outcome.error):
            outcome.status, outcome.reason = "wrong", "part of G is NaN or infinite, or was never written"
        elif not outcome.error <= 1:
            worst = f"{outcome.error:.3g} times what float32 rounding explains"
            outcome.status, outcome.reason = "wrong", f"its result differs from the reference's by {worst}"


def _like(name: str, variant: str) -> str:
    """The contender of that variant for the same operator and device."""
    return f"{name.rpartition('.')[0]}.{variant}"


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
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # somebody else's exception, somebody else's __str__
        lines = []
    return f"it raised {type(error).__name__}" + (f": {lines[0]}" if lines else "")
