"""How far off are predictions of shapes that a machine has measured elsewhere? DIR is what `predict` reads, HELD_OUT are other
shapes measured on the same machine, whose fastest kernels are taken among those that both files hold.

    python experiments/prediction.py DIR HELD_OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sepconv_bench.predict.prediction import CONFIDENCE, Model
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.store import open_results

UNITS = (("standard", "_s"), ("separable", "_s"), ("speedup", ""))


def cells(folder: str) -> list[Cell]:
    with open_results(Path(folder)) as results:
        return results.cells()


def kernels(some: list[Cell]) -> set[str]:
    return {outcome.kernel.name for cell in some for outcome in cell.outcomes}


def fastest(cell: Cell, side: str) -> float:
    return min(time.value for name, time in cell.times.items() if cell.declared[name].operator == side)


def main(folder: str, held_out: str) -> None:
    known, asked = cells(folder), cells(held_out)
    both = kernels(known) & kernels(asked)
    for cell in (*known, *asked):
        cell.outcomes = tuple(outcome for outcome in cell.outcomes if outcome.kernel.name in both)
    seen = {cell.shape for cell in known}
    asked = [cell for cell in asked if cell.shape not in seen]
    model = Model(known)
    predicted = model.predict([cell.shape for cell in asked])
    measured = {side: np.array([fastest(cell, side) for cell in asked]) for side in ("standard", "separable")}
    measured["speedup"] = measured["standard"] / measured["separable"]
    print(f"kernels: {', '.join(sorted(both))}")
    beyond = int((predicted.outside != "").sum())
    print(f"{len(seen)} shapes measured, {len(asked)} others held out, {beyond} of them beyond the range")
    print("| | median error | 90th percentile | within the 90 % interval | width of the interval, median |")
    print("| --- | --- | --- | --- | --- |")
    for name, unit in UNITS:
        value, low, high = (predicted[f"{name}{end}{unit}"].to_numpy() for end in ("", "_lo", "_hi"))
        error = np.expm1(np.abs(np.log(value / measured[name])))
        within = np.mean((low <= measured[name]) & (measured[name] <= high))
        width = np.median(np.sqrt(high / low) - 1)
        print(f"| {name} | {np.median(error):.1%} | {np.quantile(error, CONFIDENCE):.1%} | {within:.0%} | +-{width:.0%} |")
    ratios = (f"{name} {np.median(predicted[name + unit].to_numpy() / measured[name]):.2f}" for name, unit in UNITS)
    print(f"predicted over measured, in the median: {', '.join(ratios)}")
    accuracy = model.accuracy
    print(f"cross-validation on the measured ones had said {accuracy.median_error:.1%} and {accuracy.covered:.0%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
