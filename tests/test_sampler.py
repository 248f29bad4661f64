"""The sampler with real work: pairs, blocks, fresh buffers, and an end."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from sepconv_bench.measure.clocks import Clock, wait_for_idle_pools
from sepconv_bench.measure.sampler import MIN_BLOCKS, Medians, Plan, Rules, sample
from sepconv_bench.measure.statistics import ratio


def work(amount: int):
    """A contender that adds up so many numbers, and keeps the times of its binds."""
    binds = []

    def bind(rng):
        binds.append(time.perf_counter())
        numbers = range(amount)
        return lambda: sum(numbers)

    bind.binds = binds
    return bind


@pytest.fixture(scope="module")
def sampled():
    binds = {"three": work(6000), "one": work(2000), "slow": work(3_000_000)}
    marks: list[str] = []
    rng = np.random.default_rng(0)
    return sample(binds, [("three", "one")], Rules(target=1e-9, seconds=3), rng, marks.append), marks, binds


def test_a_ratio_of_known_work_is_found(sampled):
    blocks = sampled[0].blocks
    assert ratio(blocks["three"], blocks["one"]).value == pytest.approx(3, rel=0.15)


def test_what_is_compared_is_in_every_round_and_the_rest_only_at_first(sampled):
    blocks = sampled[0].blocks
    assert np.isfinite(np.concatenate(blocks["one"])).all()
    assert np.isfinite(np.concatenate(blocks["three"])).all()
    slow = [int(np.isfinite(block).sum()) for block in blocks["slow"]]
    assert slow[:2] == [1, 1], "one round a block, in the first blocks, to have an interval at all"
    assert sum(slow) <= 4
    assert not any(slow[4:])


def test_a_round_is_each_of_its_contenders_once(sampled):
    """Marks in order: one a contender at the start, then block by block one a bind and one a sample, those compared beside each
    other."""
    result, marks, binds = sampled
    left = iter(marks)
    assert [next(left) for _ in binds] == list(binds)
    for number in range(len(result.blocks["one"])):
        times = {name: result.blocks[name][number] for name in binds}
        active = [name for name in binds if np.isfinite(times[name]).any()]
        assert {next(left) for _ in active} == set(active)
        for turn in range(len(times["one"])):
            there = {name for name in binds if np.isfinite(times[name][turn])}
            turn_marks = [next(left) for _ in there]
            assert Counter(turn_marks) == Counter(there)
            assert abs(turn_marks.index("one") - turn_marks.index("three")) == 1
    assert not list(left)


def test_all_samples_are_kept_block_by_block(sampled):
    result, _, _ = sampled
    shapes = {name: [len(block) for block in blocks] for name, blocks in result.blocks.items()}
    assert shapes["one"] == shapes["three"] == shapes["slow"]
    assert len(shapes["one"]) >= 3
    assert result.launches["one"] > result.launches["three"] > result.launches["slow"] == 1


def test_a_sample_is_long_enough_for_the_clock(sampled):
    result, _, _ = sampled
    for name in ("one", "three"):
        lengths = np.concatenate(result.blocks[name]) * result.launches[name]
        assert np.median(lengths) > Clock.sample_seconds / 4


def test_each_block_binds_fresh_buffers(sampled):
    result, _, binds = sampled
    assert len(binds["one"].binds) == 1 + len(result.blocks["one"])
    active = sum(bool(np.isfinite(block).any()) for block in result.blocks["slow"])
    assert len(binds["slow"].binds) == 1 + active


def test_the_order_within_a_round_is_random(sampled):
    _, marks, _ = sampled
    follows = Counter(pair for pair in pairwise(name for name in marks if name != "slow"))
    assert follows["one", "three"] > 5
    assert follows["three", "one"] > 5
    assert follows["one", "one"] + follows["three", "three"] > 5, "an order that never changes has none of these"


def test_it_stops_at_the_time_limit_and_says_so(sampled):
    result, _, binds = sampled
    assert not result.converged
    assert result.seconds >= 3
    _first, *blocks = binds["one"].binds
    assert len(blocks) == 4 or blocks[-1] - blocks[0] < 3, "no block begins after the limit, but the first four"


def test_a_time_limit_of_nothing_still_gives_an_interval():
    result = sample({"two": work(4000), "one": work(2000)}, [("two", "one")], Rules(1e-9, 0), np.random.default_rng(0))
    assert not result.converged
    assert len(result.blocks["one"]) >= 3
    assert 0 < ratio(result.blocks["two"], result.blocks["one"]).half_width < np.inf


def test_it_stops_as_soon_as_the_interval_is_narrow_enough():
    binds = {"two": work(4000), "one": work(2000)}
    result = sample(binds, [("two", "one")], Rules(target=1.0, seconds=600), np.random.default_rng(0))
    assert result.converged
    assert len(result.blocks["one"]) == MIN_BLOCKS
    assert result.seconds < 600


def test_a_ratio_that_has_closed_leaves_its_time_to_the_others():
    """The headline, of the fastest two, comes first; one that no time could close does not keep it from closing."""

    def wavering(rng):
        seconds = float(rng.choice([1e-4, 4e-4]))  # by where its buffers lie
        return lambda: wait_for_idle_pools(seconds)

    binds = {"two": work(2000), "one": work(1000), "wavering": wavering, "six": work(6000)}
    pairs = [("wavering", "six"), ("two", "one")]
    result = sample(binds, pairs, Rules(target=0.5, seconds=1.5), np.random.default_rng(0), beside="six")
    there = {name: [bool(np.isfinite(block).any()) for block in blocks] for name, blocks in result.blocks.items()}
    assert there["one"] == there["two"]
    assert not there["one"][-1], "closed"
    assert sum(there["wavering"][:4]) == 4
    assert there["wavering"][-1]
    assert all(there["six"]), "it stands beside all"
    alone = next(number for number, one in enumerate(there["one"]) if not one)
    assert not any(there["wavering"][4:alone]), "nothing else before the headline has closed"


def test_the_headline_is_the_cheapest_of_those_named():
    """Winograd's kernel may be the fastest of its side, and is not what the report compares first."""
    binds = {"winograd": work(1500), "separable": work(1000), "tiled": work(6000)}
    pairs = [("winograd", "separable"), ("tiled", "separable")]
    rules = Rules(target=0.5, seconds=1.5)
    result = sample(binds, pairs, rules, np.random.default_rng(0), headlines=[("tiled", "separable")])
    there = {name: [bool(np.isfinite(block).any()) for block in blocks] for name, blocks in result.blocks.items()}
    assert all(there["tiled"][:MIN_BLOCKS])
    assert not any(there["winograd"][4:MIN_BLOCKS]), "nothing else before the headline has closed"
    assert any(there["winograd"][MIN_BLOCKS:]), "then the other"


def test_slow_launches_are_timed_singly_and_short_ones_in_batches():
    assert Plan.of(0.5) == Plan(1, 1)
    assert Plan.of(1e-3) == Plan(1, 2)
    assert Plan.of(1e-4) == Plan(1, 20)
    assert Plan.of(6e-6).launches == Plan.of(7.2e-6).launches == 1, "alike kernels are alike where some launches take longer"
    assert Plan.of(1.01e-6) == Plan(4, 496)
    assert Plan.of(0).batches <= 501


def test_what_is_missing_is_told_by_the_spread_so_far():
    rng = np.random.default_rng(0)
    found = [Medians() for _ in range(200)]
    for one in found:
        for _ in range(10):
            one.add(np.exp(rng.normal(0, 0.05, 1)))
    assert not any(one.closed(0.01) for one in found)
    # Half-width 2 x 5 % / sqrt(n) = 1 %: about a hundred blocks in all.
    assert 60 < np.median([one.missing(0.01) for one in found]) < 140
    assert Medians().missing(0.01) == np.inf


def test_one_hiccup_while_calibrating_does_not_shorten_the_samples():
    """A scheduler's quantum lost on one launch: the launch is no slower for it, and a sample must still be long enough."""
    launches = iter(range(1 << 40))

    def bind(rng):
        # The first launch warms up, the second is the first to be timed.
        return lambda: wait_for_idle_pools(5e-3) if next(launches) == 1 else None

    result = sample({"short": bind}, [], Rules(seconds=0.1), np.random.default_rng(0))
    lengths = np.concatenate(result.blocks["short"]) * result.launches["short"]
    assert np.nanmedian(lengths) > Clock.sample_seconds / 4


def test_a_contender_is_marked_before_anything_of_it_runs():
    marks: list[str] = []

    def bind(rng):
        assert marks[-1] == "breaks"
        raise RuntimeError("in bind")

    with pytest.raises(RuntimeError, match="in bind"):
        sample({"fine": work(10), "breaks": bind}, [], Rules(), np.random.default_rng(0), marks.append)
    assert marks == ["fine", "breaks"]


def test_garbage_is_collected_again_after_a_contender_raises():
    import gc

    launches = iter(range(10_000))

    def bind(rng):
        return lambda: 1 / (2000 - next(launches))

    with pytest.raises(ZeroDivisionError):
        sample({"breaks": bind}, [], Rules(), np.random.default_rng(0))
    assert gc.isenabled()
