"""Faster, slower, same, or ambiguous: what the intervals of several ratios say when all are asked at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sepconv_bench.measure.statistics import CONFIDENCE, Estimate

# Two builds of the same code differ by less, but do differ: where code and data happen to lie is drawn with each process.
NOISE = 0.01
# A ratio surely closer to 1 than this is the same for all that anyone would do about it.
NEGLIGIBLE = 0.02


@dataclass(frozen=True)
class Verdict:
    """One comparison: the new time over the old one, with an interval that allows for all the others, and the word for it."""

    name: str
    ratio: Estimate
    word: str


def shared_confidence(comparisons: int) -> float:
    """Of each interval, so that all of them hold at once with the usual confidence (Bonferroni's correction)."""
    return 1 - (1 - CONFIDENCE) / max(1, comparisons)


def verdicts(ratios: Mapping[str, Estimate]) -> list[Verdict]:
    """In words; the ratios' intervals are those of `shared_confidence`."""
    return [Verdict(name, ratio, word(ratio)) for name, ratio in ratios.items()]


def word(ratio: Estimate) -> str:
    """slower or faster: the whole interval lies beyond what noise explains; same: it lies close to 1; else ambiguous."""
    if ratio.lo > 1 + NOISE:
        return "slower"
    if ratio.hi < 1 / (1 + NOISE):
        return "faster"
    if ratio.lo >= 1 / (1 + NEGLIGIBLE) and ratio.hi <= 1 + NEGLIGIBLE:
        return "same"
    return "ambiguous"
