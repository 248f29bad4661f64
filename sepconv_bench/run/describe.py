"""What a run says while it goes on, a line a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sepconv_bench.measure.grades import remark
from sepconv_bench.measure.records import Ceilings, Estimate
from sepconv_bench.measure.statistics import log_medians, within_rounds
from sepconv_bench.model import theory
from sepconv_bench.model.pairing import Pair
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import CellMeasured, NetworkPart

_KERNEL_SECONDS = 0.06  # of a visit, beside sampling, for each kernel: binding, the check, fetching what was compiled


@dataclass(frozen=True)
class Progress:
    """After each step: `done` of `total` cells, and what has happened in one line."""

    done: int
    total: int
    line: str


class Steps:
    """How far a run has come, and how long it will take: until there are steps to go by, `seconds` of sampling each, and what
    so many kernels take beside."""

    def __init__(self, done: int, total: int, seconds: float, kernels: int, progress: Callable[[Progress], None]) -> None:
        self.done, self.total, self._progress = done, total, progress
        self._first, self._start, self._seconds = done, time.monotonic(), seconds + kernels * _KERNEL_SECONDS

    def start(self) -> None:
        """Nothing before this counts."""
        self._start = time.monotonic()

    def tell(self, line: str) -> None:
        self._progress(Progress(self.done, self.total, line))

    def advance(self, line: str) -> None:
        """One step more is done."""
        self.done += 1
        self.tell(f"{line}; {self.left()} left" if self.done < self.total else line)

    def left(self) -> str:
        """The time that the steps which are left will take, in words."""
        done = self.done - self._first
        each = (time.monotonic() - self._start) / done if done else self._seconds
        seconds = round(each * (self.total - self.done))
        return f"about {seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"about {seconds} s"


def describe_ceilings(measured: Ceilings) -> str:
    near, far = measured.levels[0], measured.levels[-1]
    return (
        f"FMA peak {measured.peak.value / 1e9:.0f} GFLOP/s, copy {near.bandwidth.value / 1e9:.0f} GB/s near"
        f" and {far.bandwidth.value / 1e9:.0f} GB/s far"
    )


def describe_cell(cell: Cell) -> str:
    """Promised and measured speedup, of the fastest kernels; how many of its ratios have closed, and why the first that has not
    did not."""
    promised = f"promised {float(1 / theory.cost_ratio(cell.shape)):.2f}x"
    measured = "".join(f", measured {1 / ratio.value:.2f}x" for pair, ratio in cell.compared if pair.best)
    return f"{cell.shape}: {promised}{measured}, {_describe_end(cell.measured)}{_closed(cell)}"


def describe_part(part: NetworkPart, measured: CellMeasured) -> str:
    closed = "" if measured.converged else ", not converged"
    return f"alpha {part.alpha:g}, resolution {part.resolution}, {part.part}: {_describe_end(measured)}{closed}"


def describe_sampling(cells: Sequence[Cell], seconds: float, timed_s: float) -> str:
    """Of a run that took so many seconds, so many of them inside samples: which of its ratios have closed."""
    compared = [(pair, ratio.half_width <= cell.target) for cell in cells for pair, ratio in cell.compared]
    best = [closed for pair, closed in compared if pair.best]
    return (
        f"{sum(best)} of {len(best)} ratios of the fastest kernels have closed, {sum(closed for _, closed in compared)} of"
        f" {len(compared)} of all; {seconds:.0f} s, {timed_s / seconds:.0%} of it inside timed samples"
    )


def _describe_end(measured: CellMeasured) -> str:
    bad = [
        f"; {outcome.kernel.name} {outcome.status} ({outcome.reason})"
        for outcome in measured.outcomes
        if outcome.status not in ("ok", "unsupported")
    ]
    slowed = f", {measured.slowed} samples with the clock held down" if measured.slowed else ""
    return f"{measured.seconds or 0:.1f} s{slowed}" + "".join(bad)


def _closed(cell: Cell) -> str:
    left = [(pair, ratio) for pair, ratio in cell.compared if not ratio.half_width <= cell.target]
    if not cell.compared:
        return ""
    told = f", {len(cell.compared) - len(left)} of {len(cell.compared)} ratios closed"
    return f"{told}; {_why_not(cell, *max(left, key=lambda one: one[0].best))}" if left else told


def _why_not(cell: Cell, pair: Pair, ratio: Estimate) -> str:
    """Why a ratio did not close, and what it would take."""
    logs = log_medians(within_rounds(cell.samples[pair.separable], cell.samples[pair.standard]))
    name = f"{pair.separable} / {pair.standard}"
    if len(logs) < 2:
        return f"{name} has {len(logs)} blocks"
    reason = remark(
        [flag for flag in cell.graded(pair.separable, pair.standard)["flags"].split() if flag not in ("wide", "few")]
    )
    needed = len(logs) * (ratio.half_width / cell.target) ** 2
    because = reason or f"its blocks differ by {np.std(logs, ddof=1):.1%}"
    return (
        f"this machine did not close {name}, because {because}: +-{ratio.half_width:.1%} after {len(logs)} blocks,"
        f" about {needed:.0f} would make +-{cell.target:.0%}"
    )
