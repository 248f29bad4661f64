"""How far off are the times that `scan` predicts for the layers of nine networks (tests/architectures.py)?

    python experiments/scan_prediction.py DIR [KERNELS]

DIR/known gets the grid `scan`; DIR/layers the different layers of the networks, identical ones once, as `scan --measure`
measures them: of those that are pointwise alone every second by multiply-adds, of the others all. Both with KERNELS, by
default our own that anybody would use; a layer whose standard convolution none of them takes, as a dilated one, is left out.
The layers are predicted from DIR/known, except for those that it holds. Stop it when you like: the same command goes on where
it was, and measures nothing once all is there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import sepconv_bench as sb
from sepconv_bench.api.run import worth_timing
from sepconv_bench.api.scan import distinct, shapes_to_measure
from sepconv_bench.kernels.registry import get_kernel, select
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.operators import OPERATORS, STANDARD
from sepconv_bench.model.scanned import Scanned
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import multiplications
from sepconv_bench.network.readers import read
from sepconv_bench.predict.knowledge import Knowledge, Value
from sepconv_bench.predict.prediction import canonical, fastest_times
from sepconv_bench.results.fastest import fastest_pairs
from sepconv_bench.results.store import open_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from architectures import ARCHITECTURES, without_weights

GRID = "scan"
SECONDS = 1.5  # a shape with all four operators
PART_SECONDS = 0.3  # a shape of one operator: its contenders are one or two
EVERY = 2  # of the shapes of one operator
WORST = 12


@dataclass(frozen=True)
class Held:
    """A layer's time or gain: what was predicted, and what was measured."""

    model: str
    layer: str
    shape: ConvShape
    what: str
    predicted: Value
    measured: float


def networks() -> dict[str, Scanned]:
    return {name: read(without_weights(make), (1, 3, width, width)) for name, (make, width, _, _) in ARCHITECTURES.items()}


def chosen(operators: Sequence[str], patterns: str | None) -> str:
    """The kernels of those operators, as patterns."""
    names = worth_timing(operators, "cpu").split(",")
    if patterns is None:
        return ",".join(name for name in names if get_kernel(name).declaration.library == OURS)
    return ",".join(name for name in select(patterns) if name in names)


def taken(shape: ConvShape, kernels: str) -> bool:
    """Whether one of the standard ones takes it."""
    there = [get_kernel(name) for name in kernels.split(",")]
    return any(kernel.refuses(shape) is None for kernel in there if kernel.operator is STANDARD)


def measure(folder: Path, models: Sequence[Scanned], patterns: str | None) -> None:
    kernels = chosen(tuple(OPERATORS), patterns)
    sb.run(GRID, folder / "known", kernels=kernels, progress=print)
    wanted: dict[tuple[str, ...], dict[ConvShape, None]] = {}
    for model in models:
        for operators, shapes in shapes_to_measure(model):
            wanted.setdefault(tuple(operators), {}).update(dict.fromkeys(shapes))
    whole = {canonical("pointwise", shape) for shape in wanted[tuple(OPERATORS)]}
    for operators, shapes in wanted.items():
        alone, kernels = len(operators) == 1, chosen(operators, patterns)
        if alone:
            left = sorted(shapes.keys() - whole, key=lambda shape: (multiplications(operators[0], shape), str(shape)))[::EVERY]
        else:
            left = [shape for shape in shapes if taken(shape, kernels)]
        if left:
            seconds = PART_SECONDS if alone else SECONDS
            sb.run(left, folder / "layers", kernels=kernels, time_limit=seconds, progress=print)


def held_out(folder: Path, models: dict[str, Scanned]) -> list[Held]:
    """Every different layer of every network whose time DIR/known does not hold, and of standard ones the gain, too."""
    with open_results(folder / "known") as known, open_results(folder / "layers") as layers:
        cells, measured = known.cells(), layers.cells()
        knowledge = Knowledge(cells)
        found: list[Held] = []
        pairs = {one.cell.shape: one for one in fastest_pairs(measured)}
        seconds = {operator: fastest_times(measured, operator, "cpu") for operator in OPERATORS}
        there = {operator: fastest_times(cells, operator, "cpu") for operator in OPERATORS}
        for model, scanned in models.items():
            for entry in distinct(scanned):
                if entry.asked is None:
                    continue
                operator = entry.asks
                shape = canonical(operator, entry.pair or entry.asked.shape)
                if shape not in seconds[operator] or shape in there[operator]:
                    continue
                (now,) = knowledge.times(operator, [shape])
                found.append(Held(model, entry.names[0], shape, operator, now, seconds[operator][shape].value))
                if operator == "standard" and shape in pairs:
                    (sides,) = knowledge.sides([shape])
                    found.append(Held(model, entry.names[0], shape, "gain", sides.speedup, 1 / pairs[shape].ratio.value))
    return found


def table(found: Sequence[Held]) -> pd.DataFrame:
    values = np.array([(one.predicted.value, one.predicted.lo, one.predicted.hi, one.measured) for one in found])
    predicted, lo, hi, measured = values.T
    return pd.DataFrame(
        {
            "model": [one.model for one in found],
            "layer": [one.layer for one in found],
            "shape": [str(one.shape) for one in found],
            "what": [one.what for one in found],
            "ratio": predicted / measured,
            "error": np.expm1(np.abs(np.log(predicted / measured))),
            "within": (lo <= measured) & (measured <= hi),
            "half": np.sqrt(hi / lo) - 1,
            "beyond": [one.predicted.outside for one in found],
        }
    )


def line(name: str, rows: pd.DataFrame) -> str:
    numbers = (
        f"{rows.error.median():.1%} | {rows.error.quantile(0.9):.1%} | {rows.within.mean():.0%} | +-{rows.half.median():.0%}"
    )
    return f"| {name} | {len(rows)} | {numbers} | {rows.ratio.median():.2f} | {(rows.beyond != '').mean():.0%} |"


def told(frame: pd.DataFrame) -> str:
    times, once = frame[frame.what != "gain"], frame.drop_duplicates(["shape", "what"])
    lines = [
        "| | layers | median error | 90th percentile | within the 90 % interval | half-width, median | predicted / measured"
        " | beyond the range |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(line(model, rows) for model, rows in times.groupby("model", sort=False)),
        line("**all, identical layers once**", once[once.what != "gain"]),
        *(line(what, once[once.what == what]) for what in (*OPERATORS, "gain") if (once.what == what).any()),
        "",
        "goals: 10 % in the median, 85 to 95 % within, half-width 20 % in the median; the furthest off:",
    ]
    worst = once.sort_values("error", ascending=False).head(WORST)
    for row in worst.itertuples():
        beyond = f", beyond: {row.beyond}" if row.beyond else ""
        lines.append(f"* {row.ratio:.2f} of what was measured: {row.what} of {row.model} {row.layer} ({row.shape}{beyond})")
    return "\n".join(lines)


def main(folder: Path, patterns: str | None = None) -> None:
    models = networks()
    measure(folder, [*models.values()], patterns)
    print(told(table(held_out(folder, models))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
