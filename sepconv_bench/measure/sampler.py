"""The sampling core: what `run`, `mobilenet`, asv and `ab` time with.

A sample is the median of launches for two milliseconds: an interruption is in a mean whole, and in no median. A round is every
contender once, those that are compared beside each other; a block is a few rounds on one draw of buffers. Only ratios within a
round survive a machine whose speed drifts, and only the spread over blocks says how far to trust them (experiments/README.md).

Time goes where it buys something: after a few blocks of all, to the headline, then to those that can be
closed in the time that is left, the cheapest first. A ratio that has closed leaves. The core knows a contender as a name and a
function that binds fresh buffers.

A machine has moods that last for seconds (a hypervisor that moves a core, a neighbour), so a cell is better visited a few
times than long: what was found on a visit is `Known` on the next.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from time import perf_counter

import numpy as np

from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.statistics import CONFIDENCE, estimate_of_medians, log_medians

Launch = Callable[[], object]
Bind = Callable[[np.random.Generator], Launch]
Pair = tuple[str, str]

ROUNDS = 3  # in a block
MIN_BLOCKS = 6  # below which no ratio is called closed
_SURE_BLOCKS = 4  # that all contenders take part in, so that each has an interval at all,
_COSTLY = 0.05  # but in half of them only if its sample takes such a share of the time, or time is short and no pair needs it
_SLOW_SECONDS = 10e-3  # a contender whose sample takes longer is timed once a block
_COLD_SECONDS = 50e-3  # a launch so long does not notice a cold cache or a page touched for the first time
_SHORTEST = 1e-7


@dataclass
class Samples:
    """Seconds a launch, by contender, one array a block and one entry a round; NaN where it sat a round out.

    `launches`: of a sample. `converged`: every pair closed.
    """

    blocks: dict[str, list[np.ndarray]]
    launches: dict[str, int]
    converged: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A sample: the median of `batches` batches of `launches` launches."""

    launches: int
    batches: int

    @classmethod
    def of(cls, seconds: float, clock: type[Clock] | Clock = Clock) -> Plan:
        """For a launch of so many seconds: single launches, or batches that the clock does not notice."""
        if clock.launches is not None:
            return cls(clock.launches, 1)
        launches = ceil(clock.shortest_batch / max(seconds, _SHORTEST))
        return cls(launches, ceil(clock.sample_seconds / (launches * max(seconds, _SHORTEST))))


def take_rounds(
    turns: Sequence[Sequence[Sequence[str]]], sample: Callable[[str], float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """A block: in each round every group of contenders that takes part, in random order, and each of a group after the other.

    `turns` has the groups of each round. Gives one entry a round, NaN where a contender sat it out.
    """
    names = dict.fromkeys(name for groups in turns for group in groups for name in group)
    times = {name: np.full(len(turns), np.nan) for name in names}
    gc.collect()
    gc.disable()
    try:
        for number, groups in enumerate(turns):
            for which in rng.permutation(len(groups)):
                for one in rng.permutation(len(groups[which])):
                    name = groups[which][one]
                    times[name][number] = sample(name)
    finally:
        gc.enable()
    return times


@contextmanager
def heap_frozen() -> Iterator[None]:
    """What was there before is not looked through for garbage at each block: with Numba loaded that takes 0.2 s."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Medians:
    """The logarithms of a ratio's block medians as they come in, and what they say."""

    def __init__(self) -> None:
        self.logs: list[float] = []

    def add(self, ratios: np.ndarray) -> None:
        """The within-round ratios of one block; nothing where no round has one."""
        self.logs.extend(log_medians([ratios]))

    def closed(self, target: float, least: int = MIN_BLOCKS, confidence: float = CONFIDENCE) -> bool:
        """Whether the half-width of its interval is at most `target`, after `least` blocks or more."""
        return len(self.logs) >= least and self._half_width(confidence) <= target

    def missing(self, target: float) -> float:
        """About how many blocks more would close it, by the spread of those there are; infinite where that is not known."""
        width = self._half_width(CONFIDENCE)
        return max(1.0, len(self.logs) * ((width / target) ** 2 - 1)) if width < inf else inf

    def _half_width(self, confidence: float) -> float:
        return estimate_of_medians(np.array(self.logs), confidence).half_width if len(self.logs) > 1 else inf


@dataclass(frozen=True)
class _Calibration:
    plan: Plan
    seconds: float  # of a sample, and of a launch that warms up
    cost: float  # of a block, roughly


@dataclass
class Known:
    """What a process found on earlier visits to a cell: how long each contender takes, and the ratios' block medians."""

    calibrations: dict[str, _Calibration] = field(default_factory=dict)
    found: dict[Pair, Medians] = field(default_factory=dict)


@dataclass(eq=False)
class _Contender:
    name: str
    bind: Bind
    clock: Clock
    launch: Launch = field(default=lambda: None)
    calibration: _Calibration = field(default_factory=lambda: _Calibration(Plan(1, 1), 0.0, 0.0))

    @property
    def plan(self) -> Plan:
        return self.calibration.plan

    @property
    def seconds(self) -> float:
        return self.calibration.seconds

    @property
    def cost(self) -> float:
        return self.calibration.cost

    def calibrate(self, rng: np.random.Generator) -> _Calibration:
        """Bind, and fix the launches of a sample."""
        start = perf_counter()
        self.launch = self.clock.bound(partial(self.bind, rng))
        bound = perf_counter() - start
        self.launch()  # which may compile
        with self.clock.steady():
            launch_s = self.clock.batch_seconds(self.launch, 1)
            if launch_s < _COLD_SECONDS:
                # The best of three: one interrupted launch must not make a fast contender look slow for the whole cell.
                launch_s = min(self.clock.batch_seconds(self.launch, 1) for _ in range(3))
            plan = Plan.of(launch_s, self.clock)
            if plan.launches > 1:
                launch_s = min(self.clock.batch_seconds(self.launch, plan.launches) for _ in range(3))
                plan = Plan.of(launch_s, self.clock)
        seconds = launch_s * plan.launches * plan.batches
        cost = bound + launch_s + _rounds(seconds) * (seconds + launch_s + self.clock.pause)
        self.calibration = _Calibration(plan, seconds, cost)
        return self.calibration

    @property
    def rounds(self) -> int:
        """Of a block, in which it takes part."""
        return _rounds(self.seconds)

    def bind_anew(self, rng: np.random.Generator) -> None:
        # The last block's buffers are held until the new ones are there, so that these get other memory.
        self.launch = self.clock.bound(partial(self.bind, rng))
        if self.seconds < _COLD_SECONDS:
            self.launch()

    def sample(self) -> float:
        return self.clock.sample(self.launch, self.plan.launches, self.plan.batches)


def _rounds(seconds: float) -> int:
    """Of a block, for a contender whose sample takes so long."""
    return 1 if seconds > _SLOW_SECONDS else ROUNDS


def sample(
    binds: Mapping[str, Bind],
    pairs: Sequence[Pair],
    rules: Rules,
    rng: np.random.Generator,
    mark: Callable[[str], None] = lambda name: None,
    clock: Clock | None = None,
    beside: str | None = None,
    visits: int = 1,
    known: Known | None = None,
    headlines: Sequence[Pair] = (),
) -> Samples:
    """Time the contenders against each other until the ratio of every pair is known to `rules.target`, or time is up.

    Without pairs, or `rules.evenly`, until time is up. At least four blocks are always taken. `mark(name)` is called,
    untimed, before anything of that contender runs. `clock` is the host's unless another is given. `beside` names a
    contender that takes part in the first round of every block. The cheapest of `headlines`, among the pairs, comes before
    all others; the cheapest of all where none is named.

    One of `visits` takes its share of the time and at least two blocks, and goes on from what is `known`, which it adds to.
    """
    with heap_frozen():
        return _sample(binds, pairs, rules, rng, mark, clock or Clock(), beside, visits, known or Known(), headlines)


def _sample(
    binds: Mapping[str, Bind],
    pairs: Sequence[Pair],
    rules: Rules,
    rng: np.random.Generator,
    mark: Callable[[str], None],
    clock: Clock,
    beside: str | None,
    visits: int,
    known: Known,
    headlines: Sequence[Pair],
) -> Samples:
    start = perf_counter()
    contenders = {name: _Contender(name, bind, clock) for name, bind in binds.items()}
    for name, contender in contenders.items():
        if name in known.calibrations:
            contender.calibration = known.calibrations[name]
        else:
            mark(name)
            known.calibrations[name] = contender.calibrate(rng)
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in binds}
    found = {pair: known.found.setdefault(pair, Medians()) for pair in pairs}
    seconds, sure = rules.seconds / visits, max(2, _SURE_BLOCKS // visits)
    cheapest = sorted(found, key=lambda pair: sum(contenders[name].cost for name in pair))
    headline = next((pair for pair in cheapest if pair in headlines), cheapest[0] if cheapest else None)
    result = Samples(blocks, {name: one.plan.launches * one.plan.batches for name, one in contenders.items()})
    number = 0
    while True:
        chosen: Iterable[str] = binds
        if number >= sure:
            left = seconds - result.seconds
            waiting = [pair for pair in cheapest if not found[pair].closed(rules.target)]
            result.converged = bool(pairs) and not waiting
            if left <= 0 or (result.converged and not rules.evenly):
                return result
            if pairs and not rules.evenly:
                chosen = _worth(waiting, headline, found, contenders, rules.target, left)
        elif number >= sure // 2:
            late = bool(pairs) and result.seconds > seconds / 2
            there = dict.fromkeys(name for pair in pairs for name in pair) if late else binds
            chosen = [name for name in there if contenders[name].seconds < _COSTLY * seconds] or binds
        taking = [contenders[name] for name in dict.fromkeys([*chosen, *([beside] if beside else [])])]
        times = _take_block(taking, pairs, beside, rng, mark)
        rounds = max(map(len, times.values()))
        for name in binds:
            blocks[name].append(times.get(name, np.full(rounds, np.nan)))
        for top, bottom in found:
            if top in times and bottom in times:
                found[top, bottom].add(times[top] / times[bottom])
        number += 1
        result.seconds = perf_counter() - start


def _worth(
    waiting: Sequence[Pair],
    headline: Pair | None,
    found: Mapping[Pair, Medians],
    contenders: Mapping[str, _Contender],
    target: float,
    left: float,
) -> list[str]:
    """Who takes part in the next block: the contenders of those pairs that have not closed and that `left` seconds can close,
    the headline's alone before all others. Where nothing can be closed any more, those of all that are open.
    """
    costs = {pair: found[pair].missing(target) * sum(contenders[name].cost for name in pair) for pair in waiting}
    if headline is not None and costs.get(headline, inf) <= left:
        return [*headline]
    chosen: dict[str, None] = {}
    for pair in sorted(waiting, key=costs.__getitem__):
        left -= costs[pair]
        if left < 0:
            break
        chosen |= dict.fromkeys(pair)
    return [*chosen] or [name for pair in waiting for name in pair]


def _take_block(
    contenders: Sequence[_Contender],
    pairs: Sequence[Pair],
    beside: str | None,
    rng: np.random.Generator,
    mark: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Bind fresh buffers, then let the contenders run round by round."""
    there = {one.name: one for one in contenders}
    for name, one in there.items():
        mark(name)
        one.bind_anew(rng)
    in_rounds = {name: 1 if name == beside else one.rounds for name, one in there.items()}
    groups = _compared_with_each_other(list(there), pairs)
    turns = [
        [group for group in ([name for name in names if in_rounds[name] > turn] for names in groups) if group]
        for turn in range(max(in_rounds.values()))
    ]

    def timed(name: str) -> float:
        mark(name)
        return there[name].sample()

    with contenders[0].clock.steady():
        return take_rounds(turns, timed, rng)


def _compared_with_each_other(names: Sequence[str], pairs: Sequence[Pair]) -> list[list[str]]:
    """The names in groups: two of a pair are in one."""
    group = {name: [name] for name in names}
    for one, other in pairs:
        if one in group and other in group and group[one] is not group[other]:
            group[one].extend(group[other])
            for name in group[other]:
                group[name] = group[one]
    return list({id(members): members for members in group.values()}.values())
