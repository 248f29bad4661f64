"""From samples in blocks to an estimate with a 95 % interval.

Rounds within a block share one draw of memory and of the machine's mood, so their spread says nothing about the next
block. Each block is condensed to its median; the interval is Student's t over the logarithms of the block medians,
which holds the spread of rounds and of blocks together. experiments/README.md compares it with the hierarchical bootstrap.

A machine that is taken away for a moment spoils a whole block now and then: the least and the greatest twentieth of the blocks
are left out, once there are twenty, with the interval of a trimmed mean (Tukey & McLaughlin, Sankhya A 25, 1963; Yuen,
Biometrika 61, 1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, isnan, log, nan, sqrt

import numpy as np
from scipy.special import stdtrit  # what scipy.stats' t.ppf calls, whose import takes two seconds

from sepconv_bench.measure.records import Estimate

CONFIDENCE = 0.95
_TRIMMED = 0.05  # of the blocks, at each end


@dataclass(frozen=True)
class Component:
    """The variance of an estimate's logarithm, or a part of it, and its degrees of freedom."""

    variance: float
    freedom: float

    def __add__(self, other: Component) -> Component:
        """Of two parts that know nothing of each other: Welch and Satterthwaite."""
        both = self.variance + other.variance
        parts = sum(one.variance**2 / one.freedom for one in (self, other))
        return Component(both, both**2 / parts if parts else self.freedom + other.freedom)


def estimate(blocks: Sequence[np.ndarray], confidence: float = CONFIDENCE, known: Component | None = None) -> Estimate:
    """Estimate of positive samples, one array a block, NaN where a round has no sample; `known` in place of what the spread
    of the blocks says."""
    return estimate_of_medians(log_medians(blocks), confidence, known)


def estimate_of_medians(logs: np.ndarray, confidence: float = CONFIDENCE, known: Component | None = None) -> Estimate:
    """Estimate from what `log_medians` gives."""
    if not len(logs):
        return Estimate(nan, nan, nan)
    centre, variance, freedom = _centre(logs)
    if known:
        variance, freedom = known.variance, known.freedom
    return _interval(centre, variance, freedom, confidence)


def mean_and_variance(logs: np.ndarray) -> tuple[float, float]:
    """Of what `log_medians` gives: the trimmed mean, and the variance of it, infinite where it is not known."""
    centre, variance, _ = _centre(logs)
    return centre, variance


def change(before: Sequence[np.ndarray], after: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate of after over before where nothing pairs their blocks: Welch's t over the logarithms of the block medians."""
    logs = [log_medians(blocks) for blocks in (before, after)]
    if not all(len(side) for side in logs):
        return Estimate(nan, nan, nan)
    centres, shares, freedoms = zip(*map(_centre, logs), strict=True)
    variance, freedom = sum(shares), float(min(freedoms))
    if 0 < variance < inf:
        freedom = variance**2 / sum(share**2 / own for share, own in zip(shares, freedoms, strict=True))
    return _interval(centres[1] - centres[0], variance, freedom, confidence)


def ratio_of_sums(terms: Sequence[tuple[float, Sequence[np.ndarray], Sequence[np.ndarray]]]) -> Estimate:
    """Estimate of sum(count x numerator) / sum(count x denominator) of terms (count, numerator, denominator).

    Within a term both sides are paired, and the ratio of its within-round ratios counts by its share of the denominators' sum;
    terms know nothing of each other. To first order the sums' logarithms move by each term's share of them times the
    logarithm of that term: the blocks of a term give the spread of what it adds to their difference, ratio and share
    together, and the spreads add up. Degrees of freedom are Welch and Satterthwaite's.
    """
    if not terms:
        return Estimate(nan, nan, nan)
    ratios, logs = [], []
    for _, numerator, denominator in terms:
        whole = [(top / bottom, bottom) for top, bottom in zip(numerator, denominator, strict=True)]
        kept = [pair for pair in whole if not np.isnan(pair[0]).all()]
        ratios.append(log_medians([quotient for quotient, _ in kept]))
        logs.append(log_medians([np.where(np.isnan(quotient), nan, bottom) for quotient, bottom in kept]))
    if not all(len(each) for each in ratios):
        return Estimate(nan, nan, nan)
    counts = np.array([count for count, _, _ in terms])
    below = counts * np.exp([_centre(each)[0] for each in logs])
    above = below * np.exp([_centre(each)[0] for each in ratios])
    below_share, above_share = below / below.sum(), above / above.sum()
    moves = [
        top * quotient + (top - bottom) * seconds
        for top, bottom, quotient, seconds in zip(above_share, below_share, ratios, logs, strict=True)
    ]
    _, variances, freedoms = zip(*map(_centre, moves), strict=True)
    variance, freedom = sum(variances), float(min(freedoms))
    if 0 < variance < inf:
        freedom = variance**2 / sum(own**2 / free for own, free in zip(variances, freedoms, strict=True) if own)
    return _interval(log(above.sum() / below.sum()), variance, freedom, CONFIDENCE)


def log_medians(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Of each block that has a sample, the logarithm of its median."""
    return np.log([median for median in map(_median, blocks) if not isnan(median)])


def _median(block: np.ndarray) -> float:
    """Of what is not NaN: numpy's own takes ten times as long for a dozen numbers, and a report has a million of them."""
    ordered = np.sort(block)  # NaN last
    count = len(block) - int(np.isnan(block).sum())
    return float(ordered[(count - 1) // 2] + ordered[count // 2]) / 2 if count else nan


def _centre(logs: np.ndarray) -> tuple[float, float, float]:
    """Trimmed mean, its variance (infinite where it is not known), and the degrees of freedom."""
    cut = int(_TRIMMED * len(logs))
    kept = np.sort(logs)[cut : len(logs) - cut]
    if len(kept) == 1:
        return kept[0], inf, 0
    spread = logs.clip(kept[0], kept[-1]).var(ddof=1) * (len(logs) - 1)
    return kept.mean(), spread / (len(kept) * (len(kept) - 1)), len(kept) - 1


def _interval(centre: float, variance: float, freedom: float, confidence: float) -> Estimate:
    """From the mean of logarithms and its variance, infinite where it is not known."""
    if variance == inf:
        return Estimate(exp(centre), 0.0, inf)
    reach = _quantile((1 + confidence) / 2, freedom) * sqrt(variance)
    hi = exp(centre + reach) if centre + reach < log(np.finfo(float).max) else inf
    return Estimate(exp(centre), exp(centre - reach), hi)


@lru_cache(maxsize=4096)
def _quantile(share: float, freedom: float) -> float:
    """Student's; the same few are asked for again and again."""
    return float(stdtrit(freedom, share))


def ratio(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> Estimate:
    """Estimate of numerator over denominator from within-round ratios, block by block."""
    return estimate(within_rounds(numerator, denominator))


def within_rounds(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The ratio of each round, block by block; NaN where one sat it out."""
    return [top / bottom for top, bottom in zip(numerator, denominator, strict=True)]
