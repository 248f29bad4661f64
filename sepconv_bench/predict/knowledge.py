"""What a layer takes on a machine: measured where the results hold its shape, else predicted from what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Estimate
from sepconv_bench.model.attribution import fixed_cost
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import roofline_time
from sepconv_bench.predict.prediction import (
    Accuracy,
    Model,
    canonical,
    fastest_by_library,
    fastest_times,
    is_plain,
    machine_roofs,
)
from sepconv_bench.results.cell import Cell, Roofs
from sepconv_bench.results.fastest import fastest_pairs

DIRECT = "direct"  # what a prediction is over: whose kernel it would be is not known, but it does every multiplication


@dataclass(frozen=True)
class Value:
    """A number with its interval: 95 % where it was measured, 90 % where it is predicted. `outside` names the sizes beyond all
    that were measured."""

    value: float
    lo: float
    hi: float
    measured: bool = False
    outside: str = ""


@dataclass(frozen=True)
class Sides:
    """Seconds of a standard kernel of a shape and of the fastest separable one, and the speedup from the one to the other;
    `over` is whose the standard one is, and `winograd` whether it is by that algorithm."""

    standard: float
    separable: float
    speedup: Value
    over: str = DIRECT
    winograd: bool = False


class Knowledge:
    """A machine's cells in float32, ready to be asked about layers. Predictions take as many cells as `Model` does; nothing is
    predicted of what was measured."""

    def __init__(self, cells: Sequence[Cell], device: str = "cpu") -> None:
        self._cells, self.device = [cell for cell in cells if cell.shape.dtype == "f32"], device
        self._pairs = {one.cell.shape: one for one in fastest_pairs(self._cells) if one.device == device}

    @cached_property
    def model(self) -> Model:
        """ResultsError where there are too few cells."""
        return Model(self._cells, self.device)

    @property
    def accuracy(self) -> Accuracy | None:
        """What cross-validation found, if anything was predicted."""
        return self.model.accuracy if "model" in self.__dict__ else None

    @cached_property
    def roofs(self) -> Roofs:
        """The machine's, as the cells found them; ResultsError where no peak was timed beside them."""
        cells = [one.cell for one in self._pairs.values() if np.isfinite(one.cell.peak)]
        if not cells:
            raise ResultsError(
                "no cell has a standard and a separable kernel timed beside the machine's peak; `sepconv-bench run` does"
            )
        return machine_roofs(cells)

    @cached_property
    def fixed(self) -> dict[str, float]:
        """Seconds of a launch that do not shrink with its work, of the fastest kernels of either side."""
        found = {}
        for number, side in enumerate(("standard", "separable")):
            seconds = [one.seconds[number] for one in self._pairs.values()]
            found[side] = fixed_cost(seconds, [roofline_time([side], shape, *self.roofs) for shape in self._pairs])
        return found

    def times(self, operator: str, shapes: Sequence[ConvShape]) -> list[Value]:
        """Seconds of the fastest kernel of an operator, a value a shape."""
        known = fastest_times(self._cells, operator, self.device)
        asked = [canonical(operator, shape) for shape in shapes]
        missing = [shape for shape in dict.fromkeys(asked) if shape not in known]
        found = {shape: Value(one.value, one.lo, one.hi, measured=True) for shape, one in known.items()}
        if missing:
            for shape, row in zip(missing, _each(self.model.times(operator, missing)), strict=True):
                found[shape] = Value(row.time_s, row.time_lo_s, row.time_hi_s, outside=row.outside)
        return [found[shape] for shape in asked]

    def libraries(self, operator: str, shapes: Sequence[ConvShape]) -> list[dict[str, float]]:
        """Seconds of each library's fastest kernel of an operator, by library, a value a shape; empty where not measured."""
        known = fastest_by_library(self._cells, operator, self.device)
        found = (known.get(canonical(operator, shape), {}) for shape in shapes)
        return [{library: time.value for library, time in times.items()} for times in found]

    def sides(self, shapes: Sequence[ConvShape]) -> list[Sides]:
        """Standard beside separable, a value a shape; of the standard kernels the fastest that does every multiplication, which
        is what theory counts."""
        missing = [shape for shape in dict.fromkeys(shapes) if shape not in self._pairs]
        found: dict[ConvShape, Sides] = {}
        for shape in set(shapes) & self._pairs.keys():
            compared = self._pairs[shape]
            library = compared.cell.declared[compared.pair.standard].library
            found[shape] = Sides(*compared.seconds, _speedup(compared.ratio), library)
        if missing:
            for shape, row in zip(missing, _each(self.model.predict(missing)), strict=True):
                speedup = Value(row.speedup, row.speedup_lo, row.speedup_hi, outside=row.outside)
                found[shape] = Sides(row.standard_s, row.separable_s, speedup)
        return [found[shape] for shape in shapes]

    def gains(self, shapes: Sequence[ConvShape]) -> list[Sides]:
        """As `sides`, but of the standard kernel that a user would run, which is the one of `times`: Winograd's, where it was
        measured and is the fastest. So a gain leads from `times` to the separable kernel."""
        known = zip(shapes, self.sides(shapes), self.times("standard", shapes), strict=True)
        return [self._gain(shape, sides, now) for shape, sides, now in known]

    def _gain(self, shape: ConvShape, sides: Sides, now: Value) -> Sides:
        if shape not in self._standard:
            return sides
        cell, standard = self._standard[shape]
        pair = self._pairs.get(shape)
        if pair is not None and pair.cell is cell:
            gain = _speedup(cell.ratio(pair.pair.separable, standard.name))
        else:  # timed apart
            gain, scale = sides.speedup, now.value / sides.standard
            gain = replace(gain, value=gain.value * scale, lo=gain.lo * scale, hi=gain.hi * scale)
        winograd = standard.algorithm == "winograd"
        return Sides(now.value, sides.separable, gain, standard.library + ", Winograd" * winograd, winograd)

    @cached_property
    def _standard(self) -> dict[ConvShape, tuple[Cell, Declaration]]:
        """The kernels of `times("standard")`, each with its cell."""
        found = {}
        for cell in self._cells:
            kernels = (cell.declared[name] for name in sorted(cell.times, key=lambda name: cell.times[name].value))
            fastest = next((one for one in kernels if is_plain(one, cell.shape, "standard", self.device)), None)
            if fastest is not None:
                found[cell.shape] = cell, fastest
        return found


def _speedup(ratio: Estimate) -> Value:
    """Of T_separable / T_standard, measured."""
    return Value(1 / ratio.value, 1 / ratio.hi, 1 / ratio.lo if ratio.lo else np.inf, measured=True)


def _each(rows: pd.DataFrame) -> Iterator[Any]:
    """Rows by the names of their columns, each value of its column's type."""
    return iter(rows.itertuples())
