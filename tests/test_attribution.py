"""The factors multiply to what was measured, and each finds what was put into it."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepconv_bench.model import attribution

size = st.floats(1e-7, 1e3)
share = st.floats(0, 0.999)


@given(st.floats(0.5, 50), st.floats(0.01, 100), st.tuples(size, size), st.tuples(size, size), st.tuples(share, share))
def test_the_factors_multiply_to_what_was_measured(theory, speedup, seconds, rooflines, shares):
    fixed = [time * part for time, part in zip(seconds, shares, strict=True)]
    parts = attribution.factors(theory, speedup, seconds, rooflines, fixed)
    assert sum(parts.logs().values()) == pytest.approx(math.log2(speedup / theory), abs=1e-12 * 64)
    assert math.prod(asdict(parts).values()) * theory == pytest.approx(speedup, rel=1e-12)


def test_each_factor_is_what_was_put_into_it():
    """Standard at a half and separable at a quarter of their rooflines, a fifth and a third of the launches fixed cost."""
    rooflines = [8.0, 2.0]
    seconds = [8.0 / 0.5 / (1 - 1 / 5), 2.0 / 0.25 / (1 - 1 / 3)]
    parts = attribution.factors(5.0, seconds[0] / seconds[1], seconds, rooflines, [seconds[0] / 5, seconds[1] / 3])
    assert asdict(parts) == pytest.approx(
        {"roofline": 4 / 5, "standard": 2, "separable": 1 / 4, "overhead": (1 - 1 / 3) / (1 - 1 / 5)}
    )
    assert parts.dominant() == "separable"


@pytest.mark.parametrize(
    ("parts", "dominant"),
    [
        ((0.5, 2.0, 0.9, 0.9), "roofline"),
        ((0.9, 4.0, 0.5, 1.0), "standard"),
        ((0.9, 1.1, 0.5, 0.9), "separable"),
        ((1.0, 1.1, 0.9, 0.3), "overhead"),
    ],
)
def test_the_dominant_factor_points_where_the_speedup_went(parts, dominant):
    assert attribution.Factors(*parts).dominant() == dominant


@given(st.floats(1e-7, 1e-4), st.floats(1.05, 20), st.integers(0, 2**32 - 1))
def test_a_fixed_cost_is_found_again(cost, slope, seed):
    """Times of a made-up kernel whose fixed cost is of the size of its smaller launches, within 2 % of noise."""
    rng = np.random.default_rng(seed)
    rooflines = cost * np.geomspace(0.2, 100, 20)
    times = (cost + slope * rooflines) * np.exp(rng.normal(0, 0.005, 20))
    found = attribution.fixed_cost(times, rooflines)
    assert found == pytest.approx(cost, rel=0.02 + 0.05 * slope)
    assert found <= (times - rooflines).min()


@pytest.mark.parametrize(
    ("times", "rooflines", "why"),
    [
        ([3.0, 5.0, 9.0, 17.0], [1.0, 2.0, 4.0, 8.0], "too few cells"),
        ([3.0, 3.2, 3.5, 4.0, 4.1], [1.0, 1.1, 1.2, 1.3, 1.4], "all of one size"),
        ([0.9, 5.0, 9.0, 17.0, 33.0], [1.0, 2.0, 4.0, 8.0, 16.0], "one as fast as its roofline"),
        ([3.0, 5.0, 9.0, 17.0, 33.0], [math.nan] * 5, "no peak"),
    ],
)
def test_no_fixed_cost_where_nothing_tells_it(times, rooflines, why):
    assert attribution.fixed_cost(times, rooflines) == 0, why
