"""Who may be compared: every contender is bound, launched and judged once, then those that are right are timed together.

A contest knows a contender by what it declares, and by what `Contender` asks of it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, isfinite
from typing import TypeVar

import numba.core.event as numba_event
import numpy as np
from msgspec.structs import replace as changed

from sepconv_bench.compile_once import seconds_saved
from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Bind, Kernel, Launch, Unpack
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.records import PEAK, Rules
from sepconv_bench.measure.sampler import Known, Samples, sample
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.pairing import pairs
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import Outcome
from sepconv_bench.run.protocol import whole_characters

_T = TypeVar("_T")
_ALONE_SECONDS = 1e-3  # for the peak, where no kernel is right
# What a kernel may raise. No one sends this process a Ctrl-C: a KeyboardInterrupt, too, is a kernel's own.
_RAISED = (Exception, SystemExit, KeyboardInterrupt)


class Contender(ABC):
    """Something that can be timed, and whose result can be judged. `declaration` says what it is."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

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
        """Error of the result, in units of what rounding explains, and what else is wrong with it, or nothing."""


class KernelContender(Contender):
    """A kernel on one problem. `drawn` gives it and the reference's answer to it; `bind` and the others are the kernel's."""

    def __init__(
        self,
        declaration: Declaration,
        drawn: Callable[[], tuple[Problem, Reference]],
        bind: Bind,
        unpack: Unpack | None = None,
        supports: Callable[[ConvShape], str | None] | None = None,
        rounding: Callable[[ConvShape], float] | None = None,
    ) -> None:
        super().__init__(declaration)
        self._rounding = rounding
        self._drawn, self._bind, self._unpack, self._supports = drawn, bind, unpack, supports
        self._bound: Problem | None = None

    @classmethod
    def of(cls, kernel: Kernel, drawn: Callable[[], tuple[Problem, Reference]]) -> KernelContender:
        return cls(kernel.declaration, drawn, kernel.bind, kernel.unpack, kernel.refuses, kernel.rounding)

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
        return reference.error(bound.G) / self._allowed(), "it changed its own input" if changed else ""

    def _allowed(self) -> float:
        """Error that its algorithm explains, in units of what a sum's rounding does."""
        return self._rounding(self._drawn()[0].shape) if self._rounding else 1.0


class DeviceContender(KernelContender):
    """A kernel on a problem whose maps lie on the GPU, and stay there: to move them for each block would take longer than the
    block."""

    def bind(self, rng: np.random.Generator) -> Launch:
        from sepconv_bench.kernels.cuda import arrays

        drawn, _ = self._drawn()
        F, G = arrays.twin(drawn.F), arrays.nothing(drawn.G.shape, drawn.F.dtype)  # type: ignore[arg-type]
        self._bound = replace(drawn, F=F, G=G)  # type: ignore[arg-type]
        return self._bind(self._bound)

    def judge(self) -> tuple[float, str]:
        from sepconv_bench.kernels.cuda import arrays

        assert self._bound is not None
        G, (drawn, reference) = self._bound.G, self._drawn()
        changed = arrays.differ(self._bound.F, drawn.F)  # type: ignore[arg-type]
        images = np.concatenate([arrays.DeviceMemory().host(G[number : number + 1]) for number in reference.images])  # type: ignore[arg-type]
        error = reference.error_of(images) if arrays.finite(G) else inf  # type: ignore[arg-type]
        return error / self._allowed(), "it changed its own input" if changed else ""


@dataclass
class Visited:
    """What earlier visits of this process have found of a cell's contenders: what is right need not be checked again first."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    launch_s: dict[str, float] = field(default_factory=dict)
    known: Known = field(default_factory=Known)


class Contest:
    """The contenders, by name. `mark(name)` is called before anything of one runs, with "" before our own work.

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
        self._declared = {name: contender.declaration for name, contender in contenders.items()}
        self._launch_s: dict[str, float] = {}  # seconds of the first launch, without what was compiled meanwhile

    def checked(self, name: str) -> Outcome:
        """Bind, compile and launch once; judge the result."""
        outcome, contender = Outcome(self._declared[name]), self._contenders[name]
        try:
            self._mark("")
            contender.prepare()
            self._mark(name)
            refused = contender.refuses()
            if refused is not None:
                return changed(outcome, status="unsupported", reason=whole_characters(str(refused)))
            launch, _, compiling = _watched(partial(contender.bind, self._rng))
            # A kernel may compile at its first launch: that is no part of the launch's time.
            given, launch_s, late = _watched(launch)
            compile_s = compiling + late
            if self._clock is not None and self._clock.queues:
                # It compiled as well, and came back before it was done.
                compile_s += launch_s
                launch_s = self._clock.batch_seconds(launch, 1)
            contender.unpack(given)
        except _RAISED as error:
            return changed(outcome, status="failed", reason=_first_line(error))
        self._launch_s[name] = launch_s
        return self._judged(changed(outcome, compile_s=compile_s))

    def timed(
        self,
        peak: Launch,
        rules: Rules,
        beside_ours: bool = False,
        visits: int = 1,
        visited: Visited | None = None,
    ) -> tuple[tuple[Outcome, ...], Samples]:
        """Check all; then samples of those that are right, and of the FMA peak in the same rounds.

        One of `visits`, which goes on from what earlier ones found, has its share of the time.

        Done when the ratios of separable to standard are known, with `beside_ours` also those of each contender to ours of the
        same operator; where there is nothing to compare, those to the peak.
        """
        visited = visited or Visited()
        self._launch_s = visited.launch_s
        for name in self._contenders:
            if name not in visited.outcomes:
                visited.outcomes[name] = self._refused_if_slow(self.checked(name), rules)
        outcomes = {name: visited.outcomes[name] for name in self._contenders}
        self._mark("")
        for name, outcome in outcomes.items():
            if outcome.status == "ok":
                self._contenders[name].prepare()
        while True:
            right = [name for name, outcome in outcomes.items() if outcome.status == "ok"]
            launches: dict[str, Launch] = {}
            binds = {PEAK: lambda rng: peak} | {name: partial(self._bind, name, launches) for name in right}
            running = PEAK

            def mark(name: str) -> None:
                nonlocal running
                running = name
                self._mark(name)

            compared = self._compared(right, beside_ours) or [(name, PEAK) for name in right]
            limits = rules if right else changed(rules, seconds=_ALONE_SECONDS)
            try:
                samples = sample(
                    binds,
                    compared,
                    limits,
                    self._rng,
                    mark,
                    self._clock,
                    beside=PEAK,
                    visits=visits,
                    known=visited.known,
                    headlines=self._headlines(compared),
                )
            except _RAISED as error:
                if running not in outcomes:
                    raise
                outcomes[running] = changed(outcomes[running], status="failed", reason=_first_line(error))
                continue
            for name in right:
                again = self._launched_again(changed(outcomes[name], launches=samples.launches[name]), launches[name])
                late = "" if again.status == "ok" else ", after it was launched many times"
                outcomes[name] = changed(again, reason=again.reason + late)
            visited.outcomes |= outcomes
            return tuple(outcomes.values()), samples

    def _refused_if_slow(self, outcome: Outcome, rules: Rules) -> Outcome:
        launch_s = self._launch_s.get(outcome.kernel.name, 0.0)
        if outcome.status != "ok" or launch_s <= rules.seconds / 4:
            return outcome
        reason = f"one launch took {launch_s:.3g} s of the {rules.seconds:g} s that a cell may take"
        return changed(outcome, status="slow", reason=reason)

    def _compared(self, right: list[str], beside_ours: bool) -> list[tuple[str, str]]:
        """Names of those whose ratios must be known."""
        seconds = {name: self._launch_s[name] for name in right}
        compared = [(pair.standard, pair.separable) for pair in pairs(seconds, self._declared)]
        if beside_ours:
            mine = [one for one in map(self._declared.__getitem__, right) if one.library == OURS and not one.beyond_peak]
            ours = {one.operator: one.name for one in mine}
            beside = ((name, ours.get(self._declared[name].operator, name)) for name in right)
            compared += [(name, own) for name, own in beside if name != own]
        return compared

    def _headlines(self, compared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the pairs whose fastest is the report's first: standard with separable, Winograd's aside."""
        counted = {name for name, one in self._declared.items() if not one.beyond_peak}
        operators = {name: one.operator for name, one in self._declared.items()}
        return [(top, below) for top, below in compared if top in counted and operators[top] != operators.get(below, PEAK)]

    def _bind(self, name: str, launches: dict[str, Launch], rng: np.random.Generator) -> Launch:
        launches[name] = self._contenders[name].bind(rng)
        return launches[name]

    def _launched_again(self, outcome: Outcome, launch: Launch) -> Outcome:
        """Judge what one more launch gives: timed launches are not unpacked."""
        name = outcome.kernel.name
        self._mark(name)
        try:
            self._contenders[name].unpack(launch())
        except _RAISED as error:
            return changed(outcome, status="failed", reason=_first_line(error))
        return self._judged(outcome)

    def _judged(self, outcome: Outcome) -> Outcome:
        self._mark("")
        error, wrong = self._contenders[outcome.kernel.name].judge()
        if not wrong and not isfinite(error):
            wrong = "part of G is NaN or infinite, or was never written"
        elif not wrong and error > 1:
            wrong = f"its result differs from the reference's by {error:.3g} times what rounding explains"
        return changed(outcome, error=error, **({"status": "wrong", "reason": wrong} if wrong else {}))


def _watched(call: Callable[[], _T]) -> tuple[_T, float, float]:
    """What `call` gives, its seconds without Numba's compiler, and the compiler's: of kept code, those it took then."""
    compiling: list[float] = []
    saved = seconds_saved()
    start = time.perf_counter()
    with numba_event.install_timer("numba:compile", compiling.append):
        given = call()
    seconds = time.perf_counter() - start
    return given, seconds - sum(compiling), sum(compiling) + seconds_saved() - saved


def _first_line(error: BaseException) -> str:
    """What was raised, in one line."""
    try:
        text = whole_characters(str(error))
    except Exception:  # somebody else's exception, somebody else's __str__
        text = ""
    if isinstance(error, MemoryError):
        return f"out of memory: {text}".rstrip(": ")
    if isinstance(error, ShapeError):
        return text
    lines = text.strip().splitlines()
    return f"it raised {type(error).__name__}" + (f": {lines[0]}" if lines else "")
