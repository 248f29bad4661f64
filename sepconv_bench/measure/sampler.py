"""The paired sampler: contenders interleaved in random order, round by round, in blocks of fresh buffers.

Only ratios within a round survive a machine whose speed drifts, and only the spread over blocks says how far to trust
them (docs/experiments.md). The sampler knows a contender as a name and a function that binds fresh buffers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter

import numpy as np

from sepconv_bench.measure.clocks import SETTLE_SECONDS, batch_seconds, settle
from sepconv_bench.measure.statistics import ratio

Launch = Callable[[], object]
Bind = Callable[[np.random.Generator], Launch]

SAMPLE_SECONDS = 1e-3  # a sample lasts at least this long: ten thousand times the clock's resolution
MIN_BLOCKS = 6
_PLANNED_BLOCKS = 10  # that the time limit is divided into
_ROUNDS = (3, 40)  # fewest and most in a block
_SHARE_SECONDS = 5e-3  # what one contender may cost a round on average; a slower one sits rounds out


@dataclass(frozen=True)
class Rules:
    """When a cell is done: every ratio's half-width at `target` (relative), or `seconds` are up."""

    target: float = 0.02
    seconds: float = 6.0


@dataclass
class Samples:
    """Seconds a launch, by contender, one array a block and one entry a round; NaN where it sat a round out."""

    blocks: dict[str, list[np.ndarray]]
    launches: dict[str, int]
    converged: bool = False
    seconds: float = 0.0


@dataclass
class _Contender:
    name: str
    bind: Bind
    launch: Launch = field(default=lambda: None)
    launches: int = 1
    period: int = 1  # it takes part in every period-th round

    def calibrate(self) -> float:
        """Fix the launches a sample; gives the seconds that one round costs on average."""
        seconds = batch_seconds(self.launch, 1)
        if seconds < SAMPLE_SECONDS:
            while seconds * self.launches < SAMPLE_SECONDS / 4:
                self.launches *= 2
                seconds = min(batch_seconds(self.launch, self.launches) for _ in range(3))
            self.launches = ceil(SAMPLE_SECONDS / seconds)
        cost = seconds * (self.launches + self.warm_launches) + SETTLE_SECONDS
        # Powers of two, so that of two slow contenders one's rounds are all the other's too.
        self.period = 1 << max(0, ceil(np.log2(cost / _SHARE_SECONDS)))
        return cost / self.period

    @property
    def warm_launches(self) -> int:
        """Launches before a sample that wake the pool and fill the caches; one long launch does not notice either."""
        return 1 if self.launches > 1 else 0

    def sample(self) -> float:
        settle()
        for _ in range(self.warm_launches):
            self.launch()
        return batch_seconds(self.launch, self.launches)


def sample(
    binds: Mapping[str, Bind],
    pairs: Sequence[tuple[str, str]],
    rules: Rules,
    rng: np.random.Generator,
    mark: Callable[[str], None] = lambda name: None,
) -> Samples:
    """Time the contenders against each other until the ratio of every pair is known to `rules.target`, or time is up.

    `mark(name)` is called, untimed, before anything of that contender runs. At least two blocks are always taken.
    """
    contenders = [_Contender(name, bind) for name, bind in binds.items()]
    result = Samples({name: [] for name in binds}, {})
    start = perf_counter()
    rounds = 0
    while not result.converged:
        # The last block's buffers are still held, so that the new ones get other memory.
        for contender in contenders:
            mark(contender.name)
            contender.launch = contender.bind(rng)
            contender.launch()
        if not rounds:
            costs = [_marked_calibration(contender, mark) for contender in contenders]
            rounds = int(np.clip(rules.seconds / _PLANNED_BLOCKS / sum(costs), *_ROUNDS))
        _take_block(contenders, rounds, rng, mark, result)
        result.seconds = perf_counter() - start
        taken = len(result.blocks[contenders[0].name])
        if taken >= MIN_BLOCKS:
            result.converged = all(
                ratio(result.blocks[top], result.blocks[bottom]).half_width <= rules.target for top, bottom in pairs
            )
        if taken >= 2 and result.seconds >= rules.seconds:
            break
    result.launches = {contender.name: contender.launches for contender in contenders}
    return result


def _marked_calibration(contender: _Contender, mark: Callable[[str], None]) -> float:
    mark(contender.name)
    return contender.calibrate()


def _take_block(
    contenders: list[_Contender], rounds: int, rng: np.random.Generator, mark: Callable[[str], None], result: Samples
) -> None:
    times = np.full((len(contenders), rounds), np.nan)
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for index in rng.permutation(len(contenders)):
                contender = contenders[index]
                if number % contender.period == 0:
                    mark(contender.name)
                    times[index, number] = contender.sample()
    finally:
        gc.enable()
    for contender, row in zip(contenders, times, strict=True):
        result.blocks[contender.name].append(row)
