"""What shapes that were not measured would take: the machine's roofline, calibrated on the cells that were.

The time of the fastest kernel of an operator is T = (t + T_roofline) exp(g): t what a launch costs in any case
(`attribution.fixed_cost`), T_roofline the time of a perfect kernel, and g, how far the kernels here are from one, a Gaussian
process over the logarithms of the sizes, of how far vectors of channels are filled, and of T_roofline (Rasmussen & Williams,
Gaussian Processes for Machine Learning, 2006, chapter 2).

Such a process is too sure of itself on few cells. Its intervals are stretched until, in cross-validation, they hold the
measured values as often as they say (Papadopoulos, Vovk & Gammerman, JAIR 40, 2011: conformal, normalised).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Estimate
from sepconv_bench.model import attribution, theory
from sepconv_bench.model.attribution import Factors, fixed_cost
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import AXES, FIELDS, GENERAL, ConvShape
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.fastest import fastest_pairs
from sepconv_bench.results.roofs import Roofs
from sepconv_bench.results.rows import said

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

CONFIDENCE = 0.90
FEWEST = 12  # cells, below which there is nothing to cross-validate
_MOST = 500  # cells that a process is fitted to; its cost is their cube
_FOLDS = 10
_DRAWS = 4000  # of the process, for the interval of a sum
_SIDES = ("standard", "separable")
_INPUTS = (*AXES, "dilation", "multiplier", "groups")  # padding costs a kernel of ours nothing
_ONE_SIDED = ("D_K_w", "stride_w")
_D_K, _M, _N = (_INPUTS.index(name) for name in ("D_K", "M", "N"))
_VECTOR = 8  # floats that any kernel here computes at once (AVX2), or a multiple of them
_ROUNDING = 1e-9  # of sizes that are kept as logarithms
_LENGTHS = (0.6, 30.0)  # of the process, in standard deviations of an input: few cells show nothing shorter
_NOISE = (1e-2, 1.0)  # variance, as a share of that of g: no cell is known to less than a percent or two


@dataclass(frozen=True)
class Accuracy:
    """What cross-validation found: cells held out in turn, the relative error of the speedup in the median, and the share of
    the measured speedups that the intervals, stretched by the other cells, held."""

    cells: int
    median_error: float
    covered: float


@dataclass(frozen=True)
class _Measured:
    """Cells as the process sees them: logarithms of the sizes, and by side seconds of perfect kernels and of those here."""

    sizes: np.ndarray
    roofs: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.sizes)

    def part(self, chosen: np.ndarray) -> _Measured:
        roofs, seconds = ({side: values[chosen] for side, values in each.items()} for each in (self.roofs, self.seconds))
        return _Measured(self.sizes[chosen], roofs, seconds)

    def inputs(self, side: str) -> np.ndarray:
        channels = 2.0 ** self.sizes[:, [_M] if side == "depthwise" else [_M, _N]]
        vectors = np.ceil(channels / _VECTOR - _ROUNDING)  # one that is filled in part takes as long
        return np.column_stack([self.sizes, np.log2(vectors * _VECTOR / channels), np.log(self.roofs[side])])


class Model:
    """A machine's measured cells, ready to be asked; ResultsError where there are too few."""

    def __init__(self, cells: Sequence[Cell], device: str = "cpu") -> None:
        known = list(_fastest(cells, device))
        if len(known) < FEWEST:
            raise ResultsError(
                f"{len(known)} shapes have a standard and a separable kernel of {device} timed together;"
                f" a prediction needs {FEWEST} or more: `sepconv-bench run` measures them, or name another DIR"
            )
        kept = np.random.default_rng(0).permutation(len(known))[:_MOST]
        known = [known[number] for number in sorted(kept)]
        self._machine = machine_roofs([cell for cell, _ in known])
        roofs = [_roofs(cell.shape, cell.roofs) for cell, _ in known]
        self._measured = _Measured(
            np.array([_sizes(cell.shape) for cell, _ in known]),
            {side: np.array([roof[side] for roof in roofs]) for side in _SIDES},
            {side: np.array([seconds[side] for _, seconds in known]) for side in _SIDES},
        )
        self._range = {axis: (2.0**low, 2.0**high) for axis, low, high in zip(_INPUTS, *self._limits(), strict=True)}
        self._unlike = {name for cell, _ in known for name in _ONE_SIDED if getattr(cell.shape, name)}
        self._processes = {side: _Process(self._measured, side) for side in _SIDES}
        self._parts: dict[str, tuple[_Process, float, np.ndarray, np.ndarray]] = {}
        held_out = _cross_validated(self._measured, self._processes)
        self._stretch = {what: _quantile(misses.scores) for what, misses in held_out.items()}
        self.accuracy = _accuracy(held_out["speedup"])
        self._cells, self._device = cells, device

    def times(self, operator: str, shapes: Sequence[ConvShape]) -> pd.DataFrame:
        """One row a shape: seconds of the fastest kernel of any operator, with the ends of its 90 % interval, and the sizes
        beyond those measured. ResultsError where too few shapes of depthwise or pointwise were timed."""
        if operator in _SIDES:
            process, stretch, low, high = self._processes[operator], self._stretch[operator], *self._limits()
        else:
            process, stretch, low, high = self._part(operator)
        shapes = [canonical(operator, shape) for shape in shapes]
        sizes = np.array([_sizes(shape) for shape in shapes])
        roofs = np.array([theory.roofline_time([operator], shape, *self._machine) for shape in shapes])
        logs = process.at(_Measured(sizes, {operator: roofs}, {}))
        frame = pd.DataFrame(_with_ends("time", "_s", np.exp(logs.mean), stretch * logs.deviation))
        limits = dict(zip(_INPUTS, zip(2.0**low, 2.0**high, strict=True), strict=True))
        if operator == "depthwise":
            del limits["N"]
        return frame.assign(outside=[_beyond(shape, limits) for shape in shapes])

    def _part(self, operator: str) -> tuple[_Process, float, np.ndarray, np.ndarray]:
        """Of depthwise or pointwise: the process, how far to stretch its intervals, and the least and greatest sizes."""
        if operator not in self._parts:
            found = fastest_times(self._cells, operator, self._device)
            if len(found) < FEWEST:
                raise ResultsError(f"{len(found)} shapes have a {operator} kernel timed; a prediction takes {FEWEST} or more")
            sizes = np.array([_sizes(shape) for shape in found])
            roofs = np.array([theory.roofline_time([operator], shape, *self._machine) for shape in found])
            measured = _Measured(sizes, {operator: roofs}, {operator: np.array([one.value for one in found.values()])})
            process = _Process(measured, operator)
            stretch = _quantile(_cross_validated(measured, {operator: process})[operator].scores)
            self._parts[operator] = process, stretch, sizes.min(axis=0), sizes.max(axis=0)
        return self._parts[operator]

    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        return self._measured.sizes.min(axis=0), self._measured.sizes.max(axis=0)

    def predict(self, shapes: Sequence[ConvShape]) -> pd.DataFrame:
        """One row a shape: seconds of the fastest standard and separable kernel and the speedup, each with the ends of its
        90 % interval, beside the promised speedup. `outside` names the sizes beyond those measured."""
        asked = self._asked(shapes)
        logs = {side: self._processes[side].at(asked) for side in _SIDES}
        seconds = {side: np.exp(logs[side].mean) for side in _SIDES}
        columns: dict[str, object] = {name: [shape.resolved[name] for shape in shapes] for name in FIELDS}
        unsaid = set(GENERAL) - set(said(pd.DataFrame(columns)))
        columns = {name: values for name, values in columns.items() if name not in unsaid}
        columns["theory_speedup"] = [float(1 / theory.cost_ratio(shape)) for shape in shapes]
        for side in _SIDES:
            columns |= _with_ends(side, "_s", seconds[side], self._stretch[side] * logs[side].deviation)
        deviation = np.hypot(*(logs[side].deviation for side in _SIDES))
        columns |= _with_ends("speedup", "", seconds["standard"] / seconds["separable"], self._stretch["speedup"] * deviation)
        columns["outside"] = [self._outside(shape) for shape in shapes]
        return pd.DataFrame(columns)

    def factors(self, shapes: Sequence[ConvShape]) -> list[Factors]:
        """By shape, what leads from the promised speedup to the predicted one, as `attribution` defines it."""
        asked = self._asked(shapes)
        seconds, fixed = {}, {}
        for side in _SIDES:
            seconds[side] = np.exp(self._processes[side].at(asked).mean)
            # A launch that is predicted to be shorter than what any costs has nothing else.
            fixed[side] = np.minimum(self._processes[side].fixed, 0.99 * seconds[side])
        found = []
        for number, shape in enumerate(shapes):
            of = [[values[side][number] for side in _SIDES] for values in (seconds, asked.roofs, fixed)]
            promised = float(1 / theory.cost_ratio(shape))
            found.append(attribution.factors(promised, of[0][0] / of[0][1], *of))
        return found

    def measured(self) -> pd.DataFrame:
        """The shapes that it was fitted to: columns theory_speedup and speedup."""
        promised = 1 / (2.0 ** -self._measured.sizes[:, _N] + 2.0 ** (-2 * self._measured.sizes[:, _D_K]))
        seconds = self._measured.seconds
        return pd.DataFrame({"theory_speedup": promised, "speedup": seconds["standard"] / seconds["separable"]})

    def total(self, shapes: Sequence[ConvShape]) -> pd.DataFrame:
        """One row, as of `predict`, for all shapes one after the other; a shape counts as often as it comes."""
        asked = self._asked(shapes)
        multiplications = [sum(theory.multiplications(side, shape) for shape in shapes) for side in _SIDES]
        row = {"theory_speedup": multiplications[0] / multiplications[1]}
        for name in (*_SIDES, "speedup"):
            # Errors of like shapes go together: all are drawn at once, stretched as the intervals of the single ones are.
            rng = np.random.default_rng(0)
            stretch = self._stretch[name] / _NORMAL
            sums = {side: np.exp(self._processes[side].draws(asked, stretch, rng)).sum(axis=0) for side in _SIDES}
            drawn = sums[name] if name in sums else sums["standard"] / sums["separable"]
            low, middle, high = np.quantile(drawn, ((1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2))
            unit = "_s" if name in sums else ""
            row |= {f"{name}{unit}": middle, f"{name}_lo{unit}": low, f"{name}_hi{unit}": high}
        return pd.DataFrame([row])

    def _asked(self, shapes: Sequence[ConvShape]) -> _Measured:
        roofs = [_roofs(shape, self._machine) for shape in shapes]
        by_side = {side: np.array([roof[side] for roof in roofs]) for side in _SIDES}
        return _Measured(np.array([_sizes(shape) for shape in shapes]), by_side, {})

    def _outside(self, shape: ConvShape) -> str:
        # Other kernels may be the fastest where the second axis is another.
        beyond = [name for name in _ONE_SIDED if getattr(shape, name) and name not in self._unlike]
        return " ".join(filter(None, (_beyond(shape, self._range), *beyond)))


@dataclass(frozen=True)
class _Misses:
    """Of cells held out: predicted minus measured logarithms, and the deviations that the process gave them."""

    errors: np.ndarray
    deviations: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        return np.abs(self.errors) / self.deviations


@dataclass(frozen=True)
class _Logs:
    """Logarithms of seconds, by shape."""

    mean: np.ndarray
    deviation: np.ndarray


class _Process:
    """The Gaussian process of one side, fitted; it starts from the lengths of `like`, if given."""

    def __init__(self, measured: _Measured, side: str, like: GaussianProcessRegressor | None = None) -> None:
        # These take seconds to import: not before there is something to fit.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        self._side = side
        inputs = measured.inputs(side)
        # A size that never varies explains nothing here, and what it would do elsewhere is not known.
        self._varies = np.ptp(inputs, axis=0) > 0
        self._centre, self._scale = inputs.mean(axis=0), inputs.std(axis=0)
        self.fixed = fixed_cost(measured.seconds[side].tolist(), measured.roofs[side].tolist())
        smooth = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(np.full(int(self._varies.sum()), 2.0), _LENGTHS)
        kernel = smooth + WhiteKernel(0.05, _NOISE)
        if like is not None and like.kernel_.get_params()["k1__k2__length_scale"].shape == (self._varies.sum(),):
            kernel = like.kernel_
        self.regressor = GaussianProcessRegressor(kernel, normalize_y=True)
        with warnings.catch_warnings(), threadpool_limits(1):  # matrices so small gain nothing from threads
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: that size does not matter
            self.regressor.fit(self._scaled(inputs), np.log(measured.seconds[side]) - self._base(measured))

    def _scaled(self, inputs: np.ndarray) -> np.ndarray:
        return ((inputs - self._centre)[:, self._varies]) / self._scale[self._varies]

    def _base(self, asked: _Measured) -> np.ndarray:
        return np.log(self.fixed + asked.roofs[self._side])

    def at(self, asked: _Measured) -> _Logs:
        mean, deviation = self.regressor.predict(self._scaled(asked.inputs(self._side)), return_std=True)
        return _Logs(self._base(asked) + mean, deviation)

    def draws(self, asked: _Measured, stretch: float, rng: np.random.Generator) -> np.ndarray:
        """Logarithms of seconds, shapes x draws."""
        mean, covariance = self.regressor.predict(self._scaled(asked.inputs(self._side)), return_cov=True)
        drawn = rng.multivariate_normal(np.zeros(len(mean)), stretch**2 * covariance, _DRAWS, method="eigh").T
        return (self._base(asked) + mean)[:, None] + drawn


_NORMAL = 1.6448536269514722  # standard deviations within which a normal deviate falls 90 % of the time


def _cross_validated(measured: _Measured, processes: Mapping[str, _Process]) -> dict[str, _Misses]:
    """What is missed, of each side and of the speedup, by processes that have not seen the cell."""
    from sklearn.model_selection import KFold

    errors = {side: np.empty(len(measured)) for side in processes}
    deviations = {side: np.empty(len(measured)) for side in processes}
    for kept, out in KFold(_FOLDS, shuffle=True, random_state=0).split(measured.sizes):
        for side in processes:
            predicted = _Process(measured.part(kept), side, processes[side].regressor).at(measured.part(out))
            errors[side][out] = predicted.mean - np.log(measured.seconds[side][out])
            deviations[side][out] = predicted.deviation
    misses = {side: _Misses(errors[side], deviations[side]) for side in processes}
    if len(processes) == 1:
        return misses
    together = (errors["standard"] - errors["separable"], np.hypot(deviations["standard"], deviations["separable"]))
    return misses | {"speedup": _Misses(*together)}


def _quantile(scores: np.ndarray) -> float:
    """How far to stretch: the score that CONFIDENCE of the cells, and the one asked for, stay below."""
    rank = min(len(scores), ceil(CONFIDENCE * (len(scores) + 1)))
    return float(np.sort(scores)[rank - 1])


def _accuracy(misses: _Misses) -> Accuracy:
    """Each cell is judged by an interval that the others stretch."""
    scores = misses.scores
    held = [scores[number] <= _quantile(np.delete(scores, number)) for number in range(len(scores))]
    return Accuracy(len(scores), float(np.median(np.expm1(np.abs(misses.errors)))), float(np.mean(held)))


def _fastest(cells: Sequence[Cell], device: str) -> Iterator[tuple[Cell, Mapping[str, float]]]:
    """Each shape once, with the seconds of the fastest kernel of each side."""
    for one in fastest_pairs([cell for cell in cells if np.isfinite(cell.peak)]):
        if one.device == device and one.cell.shape.dtype == "f32":
            yield one.cell, dict(zip(_SIDES, one.seconds, strict=True))


def machine_roofs(cells: Sequence[Cell]) -> Roofs:
    """The peak in the median of the cells that have one, and the bandwidth of the last of them relative to it."""
    peak = median(cell.peak for cell in cells)
    return Roofs.of(cells[-1].run, peak)


def canonical(operator: str, shape: ConvShape) -> ConvShape:
    """The shape with what does not matter to depthwise or pointwise at its least: depthwise has no N, pointwise no window."""
    if operator == "depthwise":
        return replace(shape, N=shape.M, groups=1)
    if operator == "pointwise":  # on the maps that depthwise gives
        return ConvShape(1, shape.M * shape.multiplier, shape.N, shape.D_G, batch=shape.batch, D_G_w=shape.D_G_w)
    return shape


def is_plain(kernel: Declaration, shape: ConvShape, operator: str, device: str) -> bool:
    """Whether a kernel that was timed on a shape is of an operator and a device, of any algorithm, and the shape of float32."""
    return (kernel.operator, kernel.device, shape.dtype) == (operator, device, "f32")


def fastest_times(cells: Sequence[Cell], operator: str, device: str) -> dict[ConvShape, Estimate]:
    """Seconds of an operator's fastest kernel in float32 by canonical shape, of the last cell that has it."""
    known = fastest_by_library(cells, operator, device)
    return {shape: min(times.values(), key=lambda time: time.value) for shape, times in known.items()}


def fastest_by_library(cells: Sequence[Cell], operator: str, device: str) -> dict[ConvShape, dict[str, Estimate]]:
    """Seconds of each library's fastest kernel of an operator in float32 by canonical shape, of the last cell that has it."""
    found = {}
    for cell in cells:
        times: dict[str, Estimate] = {}
        for name, time in sorted(cell.times.items(), key=lambda item: item[1].value):
            if is_plain(one := cell.declared[name], cell.shape, operator, device):
                times.setdefault(one.library, time)
        if times:
            found[canonical(operator, cell.shape)] = times
    return found


def _beyond(shape: ConvShape, limits: Mapping[str, tuple[float, float]]) -> str:
    """The sizes of a shape beyond those measured."""
    sizes = dict(zip(_INPUTS, _sizes(shape), strict=True))
    return " ".join(axis for axis, (low, high) in limits.items() if not low * 0.99 <= 2.0 ** sizes[axis] <= high * 1.01)


def _roofs(shape: ConvShape, machine: Roofs) -> dict[str, float]:
    """Seconds of perfect kernels, separable in one pass."""
    return {side: theory.roofline_time([side], shape, *machine) for side in _SIDES}


def _sizes(shape: ConvShape) -> list[float]:
    """Logarithms of _INPUTS; of two axes their mean."""
    both = {"D_K": shape.window, "D_G": shape.G_map, "stride": shape.strides, "dilation": shape.dilations}
    return [float(np.mean(np.log2(both.get(name, getattr(shape, name))))) for name in _INPUTS]


def _with_ends(name: str, unit: str, values: np.ndarray, reach: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}{unit}": values, f"{name}_lo{unit}": values * np.exp(-reach), f"{name}_hi{unit}": values * np.exp(reach)}
