"""Faster, slower, same, ambiguous: on samples whose truth is known, and in words for those who read them."""

from __future__ import annotations

import numpy as np
import pytest

from sepconv_bench.measure.statistics import Estimate, change, estimate
from sepconv_bench.measure.verdicts import Verdict, shared_confidence, verdicts, word
from sepconv_bench.report.verdicts import markdown, regressions, text


def blocks(rng, truth, spread=0.02, count=40):
    """Ratios of eight rounds in each of some blocks, whose own luck spreads them."""
    return [truth * np.exp(rng.normal(0, spread) + rng.normal(0, 0.01, 8)) for _ in range(count)]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.05, 1.02, 1.08), "slower"),
        ((1.02, 1.005, 1.03), "ambiguous"),
        ((0.95, 0.93, 0.97), "faster"),
        ((1.0, 0.99, 1.01), "same"),
        ((1.0, 0.97, 1.01), "ambiguous"),
        ((1.0, 0.0, np.inf), "ambiguous"),
        ((np.nan, np.nan, np.nan), "ambiguous"),
    ],
)
def test_the_word_for_an_interval(interval, expected):
    assert word(Estimate(*interval)) == expected


def test_a_thousand_same_ones_are_hardly_ever_called_different():
    rng = np.random.default_rng(0)
    confidence = shared_confidence(8)
    words = [word(estimate(blocks(rng, 1.0), confidence)) for _ in range(1000)]
    assert words.count("slower") + words.count("faster") <= 10


@pytest.mark.parametrize(("truth", "found"), [(1.05, 950), (1.03, 800), (1 / 1.05, 950)])
def test_a_difference_is_found(truth, found):
    rng = np.random.default_rng(1)
    confidence = shared_confidence(8)
    expected = "slower" if truth > 1 else "faster"
    assert sum(word(estimate(blocks(rng, truth), confidence)) == expected for _ in range(1000)) >= found


def test_more_comparisons_at_once_ask_for_wider_intervals():
    rng = np.random.default_rng(2)
    found = blocks(rng, 1.0)
    alone, among_many = (estimate(found, shared_confidence(count)) for count in (1, 100))
    assert among_many.lo < alone.lo
    assert alone.hi < among_many.hi
    assert shared_confidence(1) == pytest.approx(0.95)
    assert shared_confidence(100) == pytest.approx(0.9995)


def test_a_change_between_unpaired_blocks_covers_the_truth():
    """Welch's: unlike spreads, unlike numbers of blocks."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        before, after = blocks(rng, 1.0, 0.05, 6), blocks(rng, 1.1, 0.01, 20)
        found = change(before, after)
        covered += found.lo <= 1.1 <= found.hi
    assert 930 <= covered <= 970


def test_a_change_from_one_block_has_no_interval_and_from_none_no_value():
    one = [np.array([2.0, 2.0])]
    assert change(one, [np.array([3.0])]) == Estimate(pytest.approx(1.5), 0.0, np.inf)
    assert np.isnan(change([], one).value)


LIST = verdicts(
    {
        "cpu.a `x`|<b>": Estimate(1.2, 1.1, 1.3),
        "cpu.same": Estimate(1.0, 0.995, 1.005),
        "cpu.slightly": Estimate(1.03, 1.02, 1.04),
        "cpu.unknown": Estimate(1.0, 0.0, np.inf),
    }
)


def test_only_what_is_surely_slower_by_the_threshold_is_a_regression():
    assert [verdict.name for verdict in regressions(LIST, 0.05)] == ["cpu.a `x`|<b>"]
    assert [verdict.name for verdict in regressions(LIST, 0.03)] == ["cpu.a `x`|<b>", "cpu.slightly"]
    assert regressions([Verdict("x", Estimate(2.0, 0.5, 8.0), "ambiguous")], 0.05) == []


def test_the_text_puts_first_what_matters():
    lines = text(LIST, {"cpu.gone": "the new one: there is no such kernel"}).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["slower", "slower", "ambiguous", "same"]
    assert "+20.0%  (+10.0% to +30.0%)" in lines[0]
    assert lines[4] == "not compared: cpu.gone: the new one: there is no such kernel"
    assert lines[5].startswith("2 slower, 1 ambiguous, 1 same.")


def test_the_markdown_is_a_table_whatever_the_names_hold():
    told = markdown(LIST, {"a|b": "<script>"}, "main", "branch|<i>", 0.05)
    assert "<b>" not in told
    assert "<script>" not in told
    assert "<i>" not in told
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(LIST)
    assert {row.count("|") for row in rows} == {5}
    assert "**1 slower by 5.0% or more**" in told.splitlines()[0]
