"""The table of factors that lead from the promised speedup to the measured one, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from sepconv_bench.model import attribution, theory
from sepconv_bench.results import columns
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.fastest import fastest_pairs
from sepconv_bench.results.rows import pair_columns, sizes
from sepconv_bench.results.store import Results


def why(results: Results) -> pd.DataFrame:
    """One row a pair of kernels and cell: the factors that lead from the promised speedup to the measured one, exactly.

    speedup = theory_speedup x roofline x standard x separable x overhead, as `attribution` defines them; the columns log2_...
    add up. `dominant` names the factor that moves the speedup most in its direction, "none" where the promise is within the
    interval, "unknown" where no peak was timed; `explanation` says the same in words. `..._overhead_s` is the fixed cost of a
    launch, estimated over the file's cells.
    """
    cells = results.cells()
    fixed = _fixed_costs(cells)
    best = {(id(one.cell), one.pair) for one in fastest_pairs(cells)}
    rows = []
    for cell in cells:
        promised = float(1 / theory.cost_ratio(cell.shape))
        for pair, measured in cell.compared:
            kernels = (pair.standard, pair.separable)
            rooflines = [cell.roofline_s(kernel) for kernel in kernels]
            seconds = [cell.times[kernel].value for kernel in kernels]
            costs = [fixed[kernel] for kernel in kernels]
            parts = attribution.factors(promised, 1 / measured.value, seconds, rooflines, costs)
            within = measured.lo <= 1 / promised <= measured.hi
            dominant = "unknown" if np.isnan(parts.roofline) else "none" if within else parts.dominant()
            row = {
                "machine": cell.run.machine.machine,
                **sizes(cell.shape),
                **pair_columns(cell, pair, (id(cell), pair) in best),
                "theory_speedup": promised,
                **asdict(parts),
                "speedup": 1 / measured.value,
                **{f"log2_{name}": log for name, log in parts.logs().items()},
                "standard_overhead_s": costs[0],
                "separable_overhead_s": costs[1],
                "held_by_memory": " ".join(held for kernel in kernels for held in cell.held_by_memory(kernel)),
                "dominant": dominant,
                "run": cell.run.number,
            }
            told = _set_apart(cell, pair.standard) or _explained(row, seconds)
            rows.append(row | {"explanation": told})
    return columns.WHY.frame(rows)


def _fixed_costs(cells: Sequence[Cell]) -> dict[str, float]:
    """Seconds of a launch that do not shrink with its work, by kernel; nothing where the cells have no peak to go by."""
    found: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        for kernel, time in cell.times.items():
            found.setdefault(kernel, []).append((time.value, cell.roofline_s(kernel)))
    return {kernel: attribution.fixed_cost(*zip(*values, strict=True)) for kernel, values in found.items()}


def _set_apart(cell: Cell, standard: str) -> str:
    """Why nothing explains the times over this standard kernel, or nothing where they are explained."""
    if cell.shape.dtype != "f32":
        return f"the peak in {cell.shape.dtype} was not timed"
    return f"{standard} multiplies less often than the promise counts" if cell.declared[standard].beyond_peak else ""


def _explained(row: dict, seconds: Sequence[float]) -> str:
    """What dominates, in words."""
    perfect, these = (f"{float(f'{value:.2g}'):g}x" for value in (row["theory_speedup"] * row["roofline"], row["speedup"]))
    reached = f"perfect kernels would reach {perfect}, these reach {these}"
    if row["dominant"] in ("none", "unknown"):
        return {"none": "as promised, within the interval", "unknown": "no peak was timed with them"}[row["dominant"]]
    if row["dominant"] == "roofline":
        return f"{' and '.join(row['held_by_memory'].split())} held by memory bandwidth: {reached}"
    if row["dominant"] == "overhead":
        shares = [row[f"{name}_overhead_s"] / time for name, time in zip(("standard", "separable"), seconds, strict=True)]
        return f"fixed costs are {shares[0]:.0%} of the standard launch, {shares[1]:.0%} of the separable one: {reached}"
    efficiency = {"standard": 1 / row["standard"], "separable": row["separable"]}
    works = f"the {row['dominant']} kernel works at {efficiency.pop(row['dominant']):.0%} of its roofline"
    ((other, value),) = efficiency.items()
    return f"{works}, the {other} one at {value:.0%}: {reached}"
