"""The fastest kernels of each shape, where a file may hold a shape several times, each with another list of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sepconv_bench.measure.records import Estimate
from sepconv_bench.model.pairing import Pair
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.cell import Cell


class Compared(NamedTuple):
    """Two kernels of a cell, and T_separable / T_standard within its rounds."""

    cell: Cell
    pair: Pair
    ratio: Estimate

    @property
    def device(self) -> str:
        return self.cell.declared[self.pair.standard].device

    @property
    def seconds(self) -> tuple[float, float]:
        """Of a launch: of the standard kernel, and of the separable one."""
        return self.cell.times[self.pair.standard].value, self.cell.times[self.pair.separable].value


def fastest_pairs(cells: Sequence[Cell]) -> list[Compared]:
    """One comparison a shape, machine and device: of the fastest standard kernel with the fastest separable one.

    Only kernels of one cell were timed in the same rounds. Where a shape was measured with several lists of kernels, each
    list has its fastest pair; the one with the least product of its two times counts, and of the same two kernels the
    measurement that came last.
    """
    found: dict[tuple[str, str, ConvShape], dict[tuple[str, str], Compared]] = {}
    for cell in cells:
        for pair, measured in cell.compared:
            if pair.best:
                compared = Compared(cell, pair, measured)
                where = cell.run.machine.machine, compared.device, cell.shape
                found.setdefault(where, {})[pair.standard, pair.separable] = compared
    return [min(pairs.values(), key=lambda one: one.seconds[0] * one.seconds[1]) for pairs in found.values()]
