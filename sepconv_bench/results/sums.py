"""The table of sums over networks: all convolutions of one, standard and separable, each as often as it occurs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sepconv_bench.measure.statistics import ratio_of_sums
from sepconv_bench.model import theory
from sepconv_bench.model.networks import OCCURRENCES, TITLES
from sepconv_bench.model.pairing import Pair
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import columns
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.fastest import Compared, fastest_pairs
from sepconv_bench.results.store import Results

BEST_PAIR = "fastest / fastest"  # the comparison of the fastest kernels of each side


def sums(results: Results) -> pd.DataFrame:
    """One row a network and comparison: all its convolutions of 3 x 3 and up, standard and separable, each as often as it
    occurs, where the file holds every one of them (grids vgg16 and inception).

    `comparison` is "fastest / fastest", in each cell the fastest of either side, or a rung as in `ratios`. `ratio` is the share
    of the standard layers' time that the separable ones take, with the interval of `ratio_of_sums`; `theory_ratio` is that of
    the summed multiply-adds, and `held` the share of the promised speedup that was measured. `longest` is the layer in which
    the standard network spends most of its time, `longest_share` of it.
    """
    cells = results.cells()
    compared = [(pair.rung, Compared(cell, pair, value)) for cell in cells for pair, value in cell.compared if pair.rung]
    compared += [(BEST_PAIR, one) for one in fastest_pairs(cells)]
    found: dict[tuple[str, str, str], dict[ConvShape, tuple[Cell, Pair]]] = {}
    for comparison, one in compared:
        where = one.cell.run.machine.machine, one.device, comparison
        found.setdefault(where, {})[one.cell.shape] = one.cell, one.pair  # of a rung the one measured last counts
    rows = [
        {"machine": machine, "network": title, "device": device, "comparison": comparison}
        | _summed({shape: (count, *layers[shape]) for shape, count in OCCURRENCES[grid].items()})
        for grid, title in TITLES.items()
        for (machine, device, comparison), layers in found.items()
        if OCCURRENCES[grid].keys() <= layers.keys()
    ]
    return columns.SUMS.frame(rows)


def _summed(layers: Mapping[ConvShape, tuple[int, Cell, Pair]]) -> dict:
    """A row of `sums`: of each layer how often it occurs, its cell, and the kernels compared."""
    terms = [(count, cell.samples[pair.separable], cell.samples[pair.standard]) for count, cell, pair in layers.values()]
    measured = ratio_of_sums(terms)
    seconds = {shape: count * cell.times[pair.standard].value for shape, (count, cell, pair) in layers.items()}
    work = {
        operator: sum(count * theory.multiplications(operator, shape) for shape, (count, _, _) in layers.items())
        for operator in ("standard", "separable")
    }
    promised, longest = work["separable"] / work["standard"], max(seconds, key=seconds.__getitem__)
    return {
        "layers": sum(count for count, _, _ in layers.values()),
        "shapes": len(layers),
        "standard_kernels": " ".join(sorted({pair.standard for _, _, pair in layers.values()})),
        "separable_kernels": " ".join(sorted({pair.separable for _, _, pair in layers.values()})),
        "standard_multiply_adds": work["standard"],
        "separable_multiply_adds": work["separable"],
        "standard_s": sum(seconds.values()),
        "separable_s": sum(seconds.values()) * measured.value,
        "ratio": measured.value,
        "ratio_lo": measured.lo,
        "ratio_hi": measured.hi,
        "theory_ratio": promised,
        "speedup": 1 / measured.value,
        "speedup_lo": 1 / measured.hi,
        "speedup_hi": 1 / measured.lo if measured.lo else np.inf,
        "theory_speedup": 1 / promised,
        "held": promised / measured.value,
        "longest": str(longest),
        "longest_share": seconds[longest] / sum(seconds.values()),
    }
