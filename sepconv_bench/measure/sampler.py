"""The paired sampler: contenders interleaved in random order, round by round, in blocks of fresh buffers.

Only ratios within a round survive a machine whose speed drifts, and only the spread over blocks says how far to trust
them (experiments/README.md). The sampler knows a contender as a name and a function that binds fresh buffers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from time import perf_counter

import numpy as np

from sepconv_bench.measure.clocks import IDLE_SECONDS, Clock
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.statistics import ratio

Launch = Callable[[], object]
Bind = Callable[[np.random.Generator], Launch]

SAMPLE_SECONDS = 1e-3  # a sample lasts at least this long: ten thousand times the clock's resolution
MIN_BLOCKS = 6
_PLANNED_BLOCKS = 30  # that the time limit is divided into
_ROUNDS = (3, 40)  # fewest and most in a block
_SHARE_SECONDS = 10e-3  # what one contender may cost a round on average; a slower one sits rounds out,
_SURE_BLOCKS = 4  # but takes part in the first round of the first blocks, so that it has an interval at all
_COLD_SECONDS = 50e-3  # a launch so long does not notice a cold cache or a page touched for the first time


@dataclass
class Samples:
    """Seconds a launch, by contender, one array a block and one entry a round; NaN where it sat a round out."""

    blocks: dict[str, list[np.ndarray]]
    launches: dict[str, int]
    converged: bool = False
    seconds: float = 0.0


@dataclass(eq=False)
class _Contender:
    name: str
    bind: Bind
    clock: Clock
    launch: Launch = field(default=lambda: None)
    launches: int = 1
    period: int = 1  # it takes part in every period-th round
    seconds: float = 0.0  # of a launch, roughly

    def calibrate(self) -> float:
        """Fix the launches a sample; gives the seconds that one round costs on average."""
        self.seconds = self.clock.batch_seconds(self.launch, 1)
        if self.seconds < _COLD_SECONDS:
            # The best of three: one interrupted launch must not make a fast contender look slow for the whole cell.
            self.seconds = min(self.seconds, *(self.clock.batch_seconds(self.launch, 1) for _ in range(2)))
        if self.seconds < SAMPLE_SECONDS:
            while self.seconds * self.launches < SAMPLE_SECONDS / 4:
                self.launches *= 2
                self.seconds = min(self.clock.batch_seconds(self.launch, self.launches) for _ in range(3))
            self.launches = ceil(SAMPLE_SECONDS / self.seconds)
        cost = self.seconds * (self.launches + self.warm_launches) + IDLE_SECONDS
        # Powers of two, so that of two slow contenders one's rounds are all the other's too.
        self.period = 1 << max(0, ceil(log2(cost / _SHARE_SECONDS)))
        return cost / self.period

    @property
    def warm_launches(self) -> int:
        """Launches before a sample that wake the pool and fill the caches; one long launch does not notice either."""
        return 1 if self.launches > 1 else 0

    def takes_part(self, block: int, number: int, rounds: int) -> bool:
        """Whether it is launched in round `number` of a block; all are in the first round of the first blocks."""
        return (number == 0 and block < _SURE_BLOCKS) or (block * rounds + number) % self.period == 0

    def bind_anew(self, rng: np.random.Generator) -> None:
        # The last block's buffers are held until the new ones are there, so that these get other memory.
        self.launch = self.bind(rng)
        if self.seconds < _COLD_SECONDS:
            self.launch()

    def sample(self) -> float:
        self.clock.wait_until_idle()
        for _ in range(self.warm_launches):
            self.launch()
        return self.clock.batch_seconds(self.launch, self.launches)


def sample(
    binds: Mapping[str, Bind],
    pairs: Sequence[tuple[str, str]],
    rules: Rules,
    rng: np.random.Generator,
    mark: Callable[[str], None] = lambda name: None,
    clock: Clock | None = None,
) -> Samples:
    """Time the contenders against each other until the ratio of every pair is known to `rules.target`, or time is up.

    `mark(name)` is called, untimed, before anything of that contender runs. At least four blocks are always taken.
    `clock` is the host's unless another is given.
    """
    contenders = [_Contender(name, bind, clock or Clock()) for name, bind in binds.items()]
    result = Samples({name: [] for name in binds}, {})
    start = perf_counter()
    costs = []
    for contender in contenders:
        mark(contender.name)
        contender.bind_anew(rng)
        costs.append(contender.calibrate())
    rounds = int(np.clip(rules.seconds / _PLANNED_BLOCKS / sum(costs), *_ROUNDS))
    block = 0
    while not result.converged and (block < _SURE_BLOCKS or result.seconds < rules.seconds):
        for name, times in _take_block(contenders, block, rounds, rng, mark).items():
            result.blocks[name].append(times)
        block += 1
        result.seconds = perf_counter() - start
        result.converged = block >= MIN_BLOCKS and all(
            ratio(result.blocks[top], result.blocks[bottom]).half_width <= rules.target for top, bottom in pairs
        )
    result.launches = {contender.name: contender.launches for contender in contenders}
    return result


def _take_block(
    contenders: list[_Contender], block: int, rounds: int, rng: np.random.Generator, mark: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Bind fresh buffers, then let every contender run once a round, in an order drawn for each round."""
    turns = [[c for c in contenders if c.takes_part(block, number, rounds)] for number in range(rounds)]
    for contender in contenders:
        if any(contender in turn for turn in turns):
            mark(contender.name)
            contender.bind_anew(rng)
    times = {contender.name: np.full(rounds, np.nan) for contender in contenders}
    gc.collect()
    gc.disable()
    try:
        for number, turn in enumerate(turns):
            for index in rng.permutation(len(turn)):
                mark(turn[index].name)
                times[turn[index].name][number] = turn[index].sample()
    finally:
        gc.enable()
    return times
