"""From samples in blocks to an estimate with a 95 % interval.

Rounds within a block share one draw of memory and of the machine's mood, so their spread says nothing about the next
block. Each block is condensed to its median; the interval is Student's t over the logarithms of the block medians,
which holds the spread of rounds and of blocks together. docs/experiments/README.md compares it with the hierarchical bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95


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
    logs = _log_medians(blocks)
    if not len(logs):
        return Estimate(nan, nan, nan)
    return _interval(logs.mean(), logs.var(ddof=1) / len(logs) if len(logs) > 1 else inf, len(logs) - 1, confidence)


def change(before: Sequence[np.ndarray], after: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate of after over before where nothing pairs their blocks: Welch's t over the logarithms of the block medians."""
    logs = [_log_medians(blocks) for blocks in (before, after)]
    if not all(len(side) for side in logs):
        return Estimate(nan, nan, nan)
    centre = logs[1].mean() - logs[0].mean()
    if min(map(len, logs)) == 1:
        return _interval(centre, inf, 0, confidence)
    shares = [side.var(ddof=1) / len(side) for side in logs]
    variance = sum(shares)
    spread = sum(share**2 / (len(side) - 1) for share, side in zip(shares, logs, strict=True))
    return _interval(centre, variance, variance**2 / spread if spread else min(map(len, logs)) - 1, confidence)


def _log_medians(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.log([np.nanmedian(block) for block in blocks if not np.isnan(block).all()])


def _interval(centre: float, variance: float, freedom: float, confidence: float) -> Estimate:
    """From the mean of logarithms and its variance, infinite where it is not known."""
    if variance == inf:
        return Estimate(exp(centre), 0.0, inf)
    reach = float(student.ppf((1 + confidence) / 2, freedom)) * sqrt(variance)
    hi = exp(centre + reach) if centre + reach < log(np.finfo(float).max) else inf
    return Estimate(exp(centre), exp(centre - reach), hi)


def ratio(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> Estimate:
    """Estimate of numerator over denominator from within-round ratios, block by block."""
    return estimate([top / bottom for top, bottom in zip(numerator, denominator, strict=True)])
