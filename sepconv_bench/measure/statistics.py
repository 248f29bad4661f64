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


def estimate(blocks: Sequence[np.ndarray]) -> Estimate:
    """Estimate of positive samples, one array a block, NaN where a round has no sample."""
    medians = [np.nanmedian(block) for block in blocks if not np.isnan(block).all()]
    if not medians:
        return Estimate(nan, nan, nan)
    logs = np.log(medians)
    centre = float(logs.mean())
    if len(logs) == 1:
        return Estimate(exp(centre), 0.0, inf)
    quantile = student.ppf((1 + CONFIDENCE) / 2, len(logs) - 1)
    reach = float(quantile * logs.std(ddof=1)) / sqrt(len(logs))
    hi = exp(centre + reach) if centre + reach < log(np.finfo(float).max) else inf
    return Estimate(exp(centre), exp(centre - reach), hi)


def ratio(numerator: Sequence[np.ndarray], denominator: Sequence[np.ndarray]) -> Estimate:
    """Estimate of numerator over denominator from within-round ratios, block by block."""
    return estimate([top / bottom for top, bottom in zip(numerator, denominator, strict=True)])
