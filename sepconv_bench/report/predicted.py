"""Predictions in words: a table for a terminal, and what it can be trusted for."""

from __future__ import annotations

import pandas as pd

from sepconv_bench.model.shapes import OPTIONAL_AXES
from sepconv_bench.predict.prediction import CONFIDENCE, Accuracy
from sepconv_bench.report.view import TextTable, terminal_table

_SIDES = ("standard", "separable")


def describe_shapes(predicted: pd.DataFrame) -> str:
    """A line a shape, in milliseconds; what is not one of our columns comes first, as the user's file had it."""
    known = {axis for axis in OPTIONAL_AXES if (predicted[axis] == 1).all()}
    mine = [column for column in predicted.columns[: list(predicted.columns).index("theory_speedup")] if column not in known]
    shown = predicted[mine].astype(str)
    for side in _SIDES:
        shown[f"{side} ms"] = _with_interval(predicted, side, "_s", 1e3, ".3g")
    shown["speedup"] = _with_interval(predicted, "speedup", "", 1, ".3g")
    shown["promised"] = predicted.theory_speedup.map("{:.2f}".format)
    if predicted.outside.any():
        shown["beyond what was measured"] = predicted.outside
    return terminal_table(TextTable([str(name) for name in shown], [False] * shown.shape[1], shown.to_numpy().tolist()))


def describe_total(total: pd.DataFrame, count: int) -> str:
    row = total.iloc[0]
    standard, separable = (f"{row[f'{side}_s'] * 1e3:.3g} ms" for side in _SIDES)
    return (
        f"all {count}: standard {standard}, separable {separable}: {row.speedup:.2f}x"
        f" ({row.speedup_lo:.2f} to {row.speedup_hi:.2f}), where {row.theory_speedup:.2f}x is promised"
    )


def describe_accuracy(accuracy: Accuracy) -> str:
    """How far to believe it."""
    return (
        f"from {accuracy.cells} measured shapes, each predicted once from the others: the speedup was off by"
        f" {accuracy.median_error:.1%} in the median, and {accuracy.covered:.0%} were within their {CONFIDENCE:.0%} interval"
    )


def _with_interval(predicted: pd.DataFrame, name: str, unit: str, scale: float, form: str) -> list[str]:
    columns = (predicted[f"{name}{end}{unit}"] * scale for end in ("", "_lo", "_hi"))
    return [f"{value:{form}} ({low:{form}} to {high:{form}})" for value, low, high in zip(*columns, strict=True)]
