"""Why a point is off the line: the measured speedup as a product of the promised one and four factors. Pure arithmetic.

A launch's time T is a fixed cost t and its work: T = t + work, work = T_roofline / efficiency. So, exactly,

    T_standard / T_separable = theory x roofline x standard x separable x overhead

    roofline   what perfect kernels would reach over what multiplications promise: memory bandwidth and, in two passes, the
               intermediate map
    standard   1 / efficiency of the standard kernel: above 1, a slow one flatters separable convolution
    separable  efficiency of the separable kernel: below 1, a slow one takes from the speedup
    overhead   T / work of standard over that of separable: below 1, fixed costs weigh more on the shorter launch

Efficiency is T_roofline / work: eta without the fixed cost, where the peak is the roof. Only the fixed cost is an estimate
(`fixed_cost`); an error in it moves between overhead and the two kernels, and leaves the product as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log, log2

import numpy as np
from scipy.optimize import least_squares

FEWEST = 5  # cells of a kernel, below which its fixed cost counts as nothing
WIDEST = 4.0  # as does that of launches whose rooflines are all within this factor: they cannot tell it from the work


@dataclass(frozen=True)
class Factors:
    """What leads from the promised speedup to the measured one."""

    roofline: float
    standard: float
    separable: float
    overhead: float

    def logs(self) -> dict[str, float]:
        """log2 of each factor; they add up to log2 of measured over promised."""
        return {name: log2(factor) for name, factor in asdict(self).items()}

    def dominant(self) -> str:
        """The factor that moves the speedup most in the direction in which it ended up."""
        logs = self.logs()
        return (min if sum(logs.values()) < 0 else max)(logs, key=logs.__getitem__)


def factors(
    theory: float, speedup: float, seconds: Sequence[float], rooflines: Sequence[float], fixed: Sequence[float]
) -> Factors:
    """The four factors of a pair. `seconds`, `rooflines` and `fixed` in seconds, of standard and of separable, each fixed
    cost below its time.

    A speedup from paired samples is not quite the ratio of the two times; both times give half of the difference.
    """
    paired = (speedup * seconds[1] / seconds[0]) ** 0.5
    work = [1 - cost / time for cost, time in zip(fixed, seconds, strict=True)]  # as a share of the time
    standard, separable = (
        time * share * scale / roof
        for time, share, scale, roof in zip(seconds, work, (paired, 1 / paired), rooflines, strict=True)
    )
    return Factors(rooflines[0] / rooflines[1] / theory, standard, 1 / separable, work[1] / work[0])


def fixed_cost(seconds: Sequence[float], rooflines: Sequence[float]) -> float:
    """Seconds of a kernel's launch that do not shrink with its work: t of T = t + c T_roofline, fitted to its cells.

    The differences of logarithms count, large ones less than by their square. t is at most what is left of the time of every
    launch above its roofline, so that none is made faster than a perfect one. 0 where the cells cannot tell, see FEWEST and
    WIDEST.
    """
    T, roof = np.asarray(seconds, float), np.asarray(rooflines, float)
    if len(T) < FEWEST or roof.max() < WIDEST * roof.min():
        return 0.0
    most = float((T - roof).min())
    if not most > 0:  # nor where the roofline is NaN
        return 0.0

    def misses(x: np.ndarray) -> np.ndarray:
        return np.log(x[0] * most + np.exp(x[1]) * roof) - np.log(T)

    start = [0.5, log(float(np.median(T / roof)))]
    fit = least_squares(misses, start, bounds=([0, -np.inf], [1, np.inf]), loss="soft_l1", f_scale=0.1)
    return float(fit.x[0]) * most
