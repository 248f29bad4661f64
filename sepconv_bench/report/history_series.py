"""The series in what asv has recorded: each benchmark over runs, and the steps in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from sepconv_bench.model.shapes import ConvShape

THEORY = "1/N + 1/D_K^2"
RATIOS, TIMES, PEAK_RATIO = "track_cost_ratio", "track_time", "track_peak_over_attained"  # methods of the benchmarks
LEAST_STEP = 0.02  # a smaller one is not worth a mark


@dataclass(frozen=True)
class LevelShift:
    """A series' level changed by `change` (a share) with the run numbered `run`."""

    series: str
    run: int
    change: float


def numbered(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """With a column `run`, counted over commits by date and over environments within one; and a label for each run."""
    environments = table.environment.nunique()
    keys = table[["date", "commit", "environment", "requirements"]].drop_duplicates(["commit", "environment"])
    order = {(row.commit, row.environment): number for number, row in enumerate(keys.itertuples())}
    labels = []
    for row in keys.itertuples():
        which = str(row.requirements or row.environment)
        labels.append(
            str(row.commit)[:8]
            if environments == 1
            else which
            if keys.commit.nunique() == 1
            else f"{str(row.commit)[:8]} {which}"
        )
    runs = [order[pair] for pair in zip(table.commit, table.environment, strict=True)]
    return table.assign(run=runs), labels


def series(table: pd.DataFrame, method: str) -> Iterator[tuple[str, dict, pd.DataFrame]]:
    """Benchmark class, parameters and the rows over runs of everything measured by a method of that name."""
    rows = table[table.benchmark.str.endswith(f".{method}") & (table.status == "ok")]
    keyed = rows.assign(
        key=[f"{name} {sorted(given.items())}" for name, given in zip(rows.benchmark, rows.parameters, strict=True)]
    )
    for _, part in keyed.groupby("key", sort=False):
        yield str(part.benchmark.iloc[0]).split(".")[-2], part.parameters.iloc[0], part.sort_values("run")


def steps(values: np.ndarray) -> list[tuple[int, int, float]] | None:
    """Stretches of one level as (first, one after the last, level), by asv's step detection; None without asv."""
    try:
        from asv.step_detect import detect_steps
    except ImportError:
        return None
    return [(int(first), int(last), float(level)) for first, last, level, *_ in detect_steps(list(map(float, values)))]


def found_steps(table: pd.DataFrame) -> list[LevelShift] | None:
    """The steps in the kernels' times and in the cost ratios; None without asv."""
    found = []
    for method in (TIMES, RATIOS):
        for operator, given, rows in series(table, method):
            levels = steps(rows.value.to_numpy())
            if levels is None:
                return None
            for (_, _, before), (first, _, after) in pairwise(levels):
                if abs(after / before - 1) >= LEAST_STEP:
                    name = f"{operator} {describe_parameters(given)}"
                    found.append(LevelShift(name, int(rows.run.iloc[first]), after / before - 1))
    return found


def describe_parameters(given: dict) -> str:
    return " ".join(str(value) for value in given.values())


def shape_of(given: dict) -> ConvShape | None:
    """The shape that a parameter spells as str(ConvShape) does, or None."""
    try:
        words = (word.partition("=") for word in str(given["shape"]).split())
        sizes: dict[str, Any] = {name: int(size) for name, _, size in words}
        return ConvShape(**sizes)
    except (KeyError, TypeError, ValueError):
        return None
