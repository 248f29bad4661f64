"""What separates two visits to a cell, and not two blocks of one: the machine's mood, and where pages, code and threads lie.

A cell is visited several times, in two processes, too few to tell by themselves how far apart visits are; all cells of a
file together can. For each comparison of two kernels, the squared distance between a cell's visits beyond what their blocks
explain is an estimate of that component's variance; its typical value over the cells counts as six degrees of freedom, added to
the cell's own (a moderated variance: Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri

from sepconv_bench.measure.statistics import Component, mean_and_variance
from sepconv_bench.results.cell import Cell

_PRIOR = 6.0  # degrees of freedom of what is typical
_LEAST_CELLS = 8  # below which all comparisons of the file say what is typical


class Between:
    """The uncertainty of each ratio in a file, visits and blocks together; `cells` may still grow until the first question."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._typical: dict[tuple[str, str], float] = {}

    def component(self, cell: Cell, kernel: str, over: str) -> Component | None:
        """The variance of a ratio's logarithm: what its blocks make of it within visits, and visits beyond that; None where
        there was one visit, or most have one block."""
        if len(cell.measured.visits) < 2:
            return None
        logs = cell.by_visit(kernel, over)
        own = _squares(logs)
        if own is None:
            return None
        if (kernel, over) not in self._typical:
            self._typical[kernel, over] = self._typical_of(kernel, over)
        between, explained = own
        freedom = len(logs) - 1
        variance = (_PRIOR * self._typical[kernel, over] + freedom * (between - explained)) / (_PRIOR + freedom)
        blocks = np.array([len(each) for each in logs])
        apart = Component(max(0.0, variance) * float(((blocks / blocks.sum()) ** 2).sum()), _PRIOR + freedom)
        _, within = mean_and_variance(np.concatenate([each - each.mean() for each in logs]))
        left = int(blocks.sum()) - len(logs)
        return apart + Component(within * (left + freedom) / left, left)

    def _typical_of(self, kernel: str, over: str) -> float:
        found = self._found(kernel, over)
        if len(found) < _LEAST_CELLS:
            pairs = {(pair.separable, pair.standard) for cell in self._cells for pair in cell.pairs}
            found = [each for pair in pairs for each in self._found(*pair)]
        if not found:
            return 0.0
        between, explained = np.array(found).T
        # By medians: one cell that a neighbour disturbed says nothing of the others.
        return max(0.0, float(np.median(between) - np.median(explained)))

    def _found(self, kernel: str, over: str) -> list[tuple[float, float]]:
        """Of each cell that has both on several visits: as `_squares`, the former so that its median is not biased."""
        there = [cell for cell in self._cells if {kernel, over} <= cell.samples.keys() and len(cell.measured.visits) > 1]
        found = []
        for cell in there:
            logs = cell.by_visit(kernel, over)
            freedom = len(logs) - 1
            if (squares := _squares(logs)) is not None:
                found.append((squares[0] * freedom / float(chdtri(freedom, 0.5)), squares[1]))
        return found


def _squares(logs: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The variance of the visits' means, and how much of it their blocks explain; None where that is not known."""
    if len(logs) < 2:
        return None
    means, variances = np.array([mean_and_variance(each) for each in logs]).T
    blocks, known = np.array([len(each) for each in logs]), np.isfinite(variances)
    if known.mean() < 0.5:  # then blocks are visits, and say all that there is
        return None
    # A visit of one block is as far off as a block of the others.
    variances = np.where(known, variances, (variances * blocks)[known].mean())
    return float(means.var(ddof=1)), float(variances.mean())
