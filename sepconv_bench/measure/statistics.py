"""From samples in blocks to an estimate with a 95 % interval.

Rounds within a block share one draw of memory and of the machine's mood, so their spread says nothing about the next
block. Each block is condensed to its median; the interval is Student's t over the logarithms of the block medians,
which holds the spread of rounds and of blocks together. docs/experiments/README.md compares it with the hierarchical bootstrap.

A machine that is taken away for a moment spoils a whole block now and then: the least and the greatest twentieth of the blocks
are left out, once there are twenty, with the interval of a trimmed mean (Tukey & McLaughlin, Sankhya A 25, 1963; Yuen,
Biometrika 61, 1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95
_TRIMMED = 0.05  # of the blocks, at each end


@dataclass(frozen=True)
class Estimate:
    """A positive number and the ends of its 95 % interval; NaN where nothing was sampled, infinite from one block."""

    value: float
    lo: float
    hi: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval relative to the value, 0.02 for +- 2 %; infinite where there is none."""
        return self.hi / self.value - 1 if self.value > 0 and self.hi < inf else inf


def estimate(blocks: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate of positive samples, one array a block, NaN where a round has no sample."""
    logs = log_medians(blocks)
    if not len(logs):
        return Estimate(nan, nan, nan)
    return _interval(*_centre(logs), confidence)


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


def log_medians(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Of each block that has a sample, the logarithm of its median."""
    return np.log([np.nanmedian(block) for block in blocks if not np.isnan(block).all()])


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
    reach = float(student.ppf((1 + confidence) / 2, freedom)) * sqrt(variance)
    hi = exp(centre + reach) if centre + reach < log(np.finfo(float).max) else inf
    return Estimate(exp(centre), exp(centre - reach), hi)


def ratio(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> Estimate:
    """Estimate of numerator over denominator from within-round ratios, block by block."""
    return estimate(within_rounds(numerator, denominator))


def within_rounds(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The ratio of each round, block by block; NaN where one sat it out."""
    return [top / bottom for top, bottom in zip(numerator, denominator, strict=True)]
