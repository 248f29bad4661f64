"""The roofs of a machine: its peak, and the bytes a second of the memory level that holds a working set, launches apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from sepconv_bench.measure.records import Level
from sepconv_bench.results.records import Run


class Roofs(NamedTuple):
    """What roofs in `theory` are made of: FLOP/s, and a function from a footprint in bytes to bytes/s."""

    peak: float
    bandwidth: Callable[[int], float]

    @staticmethod
    def of(run: Run, peak: float) -> Roofs:
        """Those of a run, whose bandwidths were measured relative to a peak and follow this one, in FLOP/s."""
        footprints, bytes_per_flop = rates(run.ceilings.levels, launched=run.machine.gpu is not None)
        return Roofs(peak, partial(_bandwidth, footprints, bytes_per_flop, peak))


def _bandwidth(footprints: Sequence[float], bytes_per_flop: Sequence[float], peak: float, footprint: int) -> float:
    """Log-linear between the measured footprints."""
    return peak * float(np.exp(np.interp(np.log(float(footprint)), np.log(footprints), np.log(bytes_per_flop))))


@cache
def rates(levels: tuple[Level, ...], launched: bool) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Footprints in bytes, and the bytes for each FLOP at the peak that can be moved within each.

    `launched`: each copy was a launch of its own, as on a GPU; what a launch costs in any case is no property of memory, and
    is taken off. A smaller working set is never slower than a larger one: where its copy was, something else took the time.
    """
    footprints = np.array([level.footprint for level in levels], float)
    flops = footprints / np.array([level.bytes_per_flop for level in levels])  # the time of a copy, in FLOP of the peak
    if launched:
        flops = flops - launch_cost(footprints, flops)
    best = np.maximum.accumulate((footprints / flops)[::-1])[::-1]
    return tuple(map(int, footprints)), tuple(map(float, best))


def launch_cost(footprints: np.ndarray, times: np.ndarray) -> float:
    """What a copy takes beyond its bytes, in the unit of the times: t of T = t + bytes / bandwidth, through the footprint that
    is copied at the highest rate and the one before, whose copies are most bytes and least launch."""
    last = int(np.argmax(footprints / times))
    if last == 0:
        return 0.0
    (less, more), (sooner, later) = footprints[last - 1 : last + 1], times[last - 1 : last + 1]
    cost = (sooner * more - later * less) / (more - less)
    return float(np.clip(cost, 0.0, 0.9 * times.min()))
