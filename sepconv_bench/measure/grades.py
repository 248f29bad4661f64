"""How far a number can be believed: a grade, from flags, which are signs in the samples themselves.

A  closed and clean: its interval is as narrow as was asked, and there is no flag
B  closed with a remark: its interval is that narrow, but there is another flag
C  not closed

wide    the interval did not close to what was asked
few     fewer blocks than an interval can be made of
bimodal the rounds have two modes, as when a scheduler's quantum lands in some of them: a median is of one or the other
drift   block after block it moved one way: the interval takes blocks for draws in no order
steal   the hypervisor gave the CPUs to others meanwhile, or a quota of CPU time held them back

The thresholds, and what was tried to find them, are in docs/grades.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench.measure.sampler import MIN_BLOCKS
from sepconv_bench.measure.statistics import log_medians

FLAGS = ("wide", "few", "bimodal", "drift", "steal")
GRADES = {"A": "closed and clean", "B": "closed with a remark", "C": "not closed"}
_REMARKS = {
    "wide": "its interval did not close in its time",
    "few": "of few blocks",
    "bimodal": "its rounds have two modes",
    "drift": "it moved one way, block after block",
    "steal": "CPU time was taken from it meanwhile",
}
_FEWEST_ROUNDS = 24  # below which two modes are chance
_BETWEEN = 0.85  # of the variance that lies between two modes; a normal distribution has 2 / pi = 0.64, an even one 0.75
_LEAST_MODE = 0.15  # of the rounds
_LEAST_STEP = 0.10  # between the modes, as a logarithm: what a median can jump by
_SURE = 0.001  # chance of a trend where there is none
_STOLEN = 0.02  # of the CPU time


def flags(blocks: Sequence[np.ndarray], half_width: float, target: float, stolen: float = 0.0) -> list[str]:
    """Those of FLAGS that blocks of rounds show: of a time, or of a ratio within rounds.

    `half_width` of the interval, `target` what was asked for, both relative; `stolen` the share of the CPU time that went to
    others, NaN where it is not known.
    """
    medians = log_medians(blocks)
    shown = {
        "wide": not half_width <= target,
        "few": len(medians) < MIN_BLOCKS,
        "bimodal": _bimodal(blocks),
        "drift": _trend(medians, target),
        "steal": stolen > _STOLEN,
    }
    return [flag for flag in FLAGS if shown[flag]]


def grade(flags: Sequence[str]) -> str:
    """One of GRADES, from all the flags of a number."""
    return "C" if "wide" in flags else "B" if flags else "A"


def remark(flags: Sequence[str]) -> str:
    """The plainest reason for a grade below A, empty for A: the first of FLAGS among them."""
    return next((_REMARKS[flag] for flag in FLAGS if flag in flags), "")


def _bimodal(blocks: Sequence[np.ndarray]) -> bool:
    """Whether the rounds are best cut into two modes apart (Otsu, IEEE Trans. SMC 9, 1979)."""
    values = np.concatenate(list(blocks)) if len(blocks) else np.empty(0)
    values = np.sort(np.log(values[np.isfinite(values)]))
    count = len(values)
    if count < _FEWEST_ROUNDS or values[-1] - values[0] < _LEAST_STEP:
        return False
    # A round in a hundred may be anywhere; it is no mode.
    values = values.clip(*np.quantile(values, (0.01, 0.99)))
    below = np.arange(1, count)
    lower, total = np.cumsum(values)[:-1], values.sum()
    step = (total - lower) / (count - below) - lower / below
    between = below * (count - below) / count**2 * step**2
    cut = int(between.argmax())
    smaller = min(below[cut], count - below[cut]) / count
    return bool(between[cut] > _BETWEEN * values.var() and smaller >= _LEAST_MODE and step[cut] >= _LEAST_STEP)


def _trend(medians: np.ndarray, target: float) -> bool:
    """Whether blocks moved one way, by more than what was asked for from the first third to the last."""
    if len(medians) < MIN_BLOCKS or np.ptp(medians) == 0:
        return False
    third = len(medians) // 3
    moved = abs(medians[-third:].mean() - medians[:third].mean())
    if moved <= 2 * target:
        return False
    from scipy.stats import spearmanr  # takes two seconds to import, and few cells need it

    return bool(spearmanr(np.arange(len(medians)), medians).pvalue < _SURE)
