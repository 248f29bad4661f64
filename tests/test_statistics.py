"""An interval must cover the truth as often as it says, on the noise that there is: rounds within blocks."""

from __future__ import annotations

import numpy as np
import pytest

from sepconv_bench.measure.sampler import MIN_BLOCKS
from sepconv_bench.measure.statistics import estimate, ratio

TRUTH = 1.25


def test_an_estimate_is_the_middle_of_the_block_medians():
    found = estimate([np.array([1.0, 1.0, 100.0]), np.array([4.0, 4.0, 0.1])])
    assert found.value == pytest.approx(2.0), "outliers do not count, blocks are averaged as logarithms"
    assert found.lo < 2.0 < found.hi
    assert found.half_width == pytest.approx(found.hi / 2.0 - 1)


def test_a_ratio_is_taken_within_rounds():
    drift = np.array([1.0, 10.0, 100.0, 1000.0])
    found = ratio([3 * drift, 3 * drift], [drift, drift])
    assert (found.value, found.lo, found.hi) == pytest.approx((3, 3, 3))


def test_rounds_that_one_side_sat_out_do_not_count():
    nan = np.nan
    slow, fast = [np.array([8.0, nan, nan]), np.array([nan] * 3), np.array([8.0, nan, 8.0])], [np.array([2.0, 9, 9])] * 3
    slow[2][2] = 36.0
    assert ratio(slow, fast).value == pytest.approx(4)


@pytest.mark.parametrize(("count", "quantile"), [(6, 2.5705818), (19, 2.1009220)])
def test_an_interval_is_students_over_the_medians_of_all_blocks_of_fewer_than_twenty(count, quantile):
    """97.5 % of t with 5 and with 18 degrees of freedom, from a table."""
    logs = np.geomspace(0.01, 0.5, count)
    found = estimate([np.exp([log, log, 9.0]) for log in logs])
    reach = quantile * logs.std(ddof=1) / count**0.5
    assert np.log([found.lo, found.value, found.hi]) == pytest.approx([logs.mean() + end * reach for end in (-1, 0, 1)])


def test_little_is_no_evidence():
    assert np.isnan(estimate([]).value)
    assert np.isnan(estimate([np.array([np.nan])]).value)
    one = estimate([np.array([2.0, 2.0])])
    assert (one.value, one.lo, one.hi, one.half_width) == (2.0, 0.0, np.inf, np.inf)


def noise(rng, kind, shape, block_sd, round_sd):
    """Times of two contenders, (blocks, rounds) each, whose true ratio is TRUTH; drift hits both alike."""
    top, bottom = (rng.normal(0, round_sd, shape) for _ in range(2))
    top += rng.normal(0, block_sd, (shape[0], 1))
    if kind == "two humps":
        top += 0.7 * (rng.random(shape) < 0.2)
        bottom += 0.7 * (rng.random(shape) < 0.2)
    elif kind == "drifting":
        drift = np.cumsum(rng.normal(0, 0.02, shape[0] * shape[1])).reshape(shape)
        top, bottom = top + drift, bottom + drift
    return TRUTH * np.exp(top), np.exp(bottom)


def within(found):
    return found.lo <= TRUTH <= found.hi


@pytest.mark.parametrize("kind", ["lognormal", "two humps", "drifting"])
@pytest.mark.parametrize(("block_sd", "round_sd"), [(0.02, 0.01), (0.002, 0.03)])
def test_95_percent_intervals_cover_95_percent(kind, block_sd, round_sd):
    rng = np.random.default_rng(11)
    trials = 2000
    covered = sum(within(ratio(*noise(rng, kind, (8, 9), block_sd, round_sd))) for _ in range(trials))
    assert 0.93 <= covered / trials <= 0.97


@pytest.mark.parametrize("kind", ["lognormal", "two humps", "drifting"])
@pytest.mark.parametrize(("block_sd", "round_sd"), [(0.015, 0.03), (0.02, 0.01)])
def test_stopping_when_the_interval_is_narrow_costs_little_coverage(kind, block_sd, round_sd):
    """The sampler's rule: a look after every block from the sixth on, until the half-width is 2 %."""
    rng = np.random.default_rng(12)
    trials, covered = 2000, 0
    for _ in range(trials):
        top, bottom = noise(rng, kind, (20, 9), block_sd, round_sd)
        for taken in range(MIN_BLOCKS, 21):
            found = ratio(top[:taken], bottom[:taken])
            if found.half_width <= 0.02:
                break
        covered += within(found)
    assert 0.93 <= covered / trials <= 0.97


def test_the_interval_narrows_with_the_root_of_the_blocks():
    rng = np.random.default_rng(14)
    widths = {
        n: np.mean([ratio(*noise(rng, "lognormal", (n, 9), 0.02, 0.01)).half_width for _ in range(300)]) for n in (10, 40)
    }
    assert widths[10] / widths[40] == pytest.approx(2, rel=0.2)


def test_a_ratio_and_its_inverse_have_the_same_interval():
    top, bottom = noise(np.random.default_rng(15), "two humps", (8, 9), 0.02, 0.03)
    found, inverse = ratio(top, bottom), ratio(bottom, top)
    assert (1 / inverse.value, 1 / inverse.hi, 1 / inverse.lo) == pytest.approx((found.value, found.lo, found.hi), rel=0.01)


def test_an_interval_over_rounds_alone_would_not_cover():
    """What blocks are for: the same data as one long run of independent rounds."""
    rng = np.random.default_rng(13)
    trials, covered = 500, 0
    for _ in range(trials):
        top, bottom = noise(rng, "lognormal", (8, 9), 0.02, 0.01)
        covered += within(ratio(top.reshape(-1, 1), bottom.reshape(-1, 1)))
    assert covered / trials < 0.75


def test_a_block_that_the_machine_spoilt_widens_nothing():
    """One of forty in which the machine was away: the interval of a plain mean would be five times as wide."""
    rng = np.random.default_rng(5)
    blocks = list(TRUTH * np.exp(rng.normal(0, 0.01, (40, 1))))
    clean = estimate(blocks)
    blocks[7] = blocks[7] * 2
    spoilt = estimate(blocks)
    assert spoilt.half_width < 1.5 * clean.half_width
    assert spoilt.lo <= TRUTH <= spoilt.hi
