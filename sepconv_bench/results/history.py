"""What asv has recorded of benchmarks over commits: its folder of results as one tidy table.

The format is that of asv 0.6 (version 2 of its files): results/benchmarks.json names benchmarks, units and parameters;
results/<machine>/<commit>-<environment>.json holds a flat list of values over the product of the parameters, null where a
benchmark failed and NaN where it was skipped. Nothing in it is ever evaluated.
"""

from __future__ import annotations

import ast
import itertools
import json
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sepconv_bench.errors import ResultsError

_VERSION = 2
_NOT_RESULTS = {"machine.json"}
COLUMNS = (
    *("machine", "commit", "date", "environment", "requirements", "benchmark", "parameters", "unit"),
    *("value", "lo", "hi", "samples", "status"),
)


@dataclass(frozen=True)
class History:
    """`table`: one row a number, in COLUMNS, by date; `lo` and `hi` are the ends of asv's 99 % interval, `parameters` a dict
    by name, `status` ok, failed or skipped. `unread`: a line for each file that could not be read."""

    table: pd.DataFrame
    unread: list[str]


def read(folder: Path) -> History:
    """The results below `folder`, as `.asv/results`; a broken file of one run is left out, and said. ResultsError where there
    are none."""
    benchmarks = _load(folder / "benchmarks.json")
    rows: list[dict] = []
    unread: list[str] = []
    for file in sorted(folder.glob("*/*.json")):
        if file.name in _NOT_RESULTS:
            continue
        try:
            rows += _rows(file, _load(file), benchmarks)
        except ResultsError as error:
            unread.append(str(error))
    if not rows:
        first = f": {unread[0]}" if unread else ""
        raise ResultsError(f"{folder} holds no result that can be read{first}; `asv run` writes them")
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["date", "commit", "environment"], kind="stable")
    return History(table.reset_index(drop=True), unread)


def _rows(file: Path, stored: dict, benchmarks: dict) -> list[dict]:
    try:
        columns = stored["result_columns"]
        about = {
            "machine": str(stored["params"].get("machine", file.parent.name)),
            "commit": str(stored["commit_hash"]),
            "date": pd.Timestamp(int(stored["date"]), unit="ms", tz="UTC"),
            "environment": str(stored["env_name"]),
            "requirements": ", ".join(f"{name} {version}" for name, version in stored["requirements"].items()),
        }
        rows = []
        for name, values in stored["results"].items():
            given = dict(zip(columns, values, strict=False))
            rows += [about | row for row in _numbers(name, given, benchmarks.get(name, {}))]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ResultsError(f"{file} is not a result of asv that can be read: {type(error).__name__}: {error}") from error
    return rows


def _numbers(name: str, given: dict, about: dict) -> list[dict]:
    params = given.get("params") or []
    names = about.get("param_names") or [f"param{number}" for number in range(1, len(params) + 1)]
    combinations = list(itertools.product(*([_literal(value) for value in values] for values in params)))
    results = given.get("result")
    if not isinstance(results, list):
        results = [results] * len(combinations)
    rows = []
    for number, (combination, result) in enumerate(zip(combinations, results, strict=True)):
        samples = _at(given.get("samples"), number)
        rows.append(
            {
                "benchmark": str(name),
                "parameters": dict(zip(names, combination, strict=True)),
                "unit": str(about.get("unit", "")),
                "value": nan if result is None else float(result),
                "lo": _number(_at(given.get("stats_ci_99_a"), number)),
                "hi": _number(_at(given.get("stats_ci_99_b"), number)),
                "samples": np.array(samples or [], dtype=float),
                "status": "failed" if result is None else "skipped" if isnan(result) else "ok",
            }
        )
    return rows


def _at(values: list | None, number: int) -> Any:
    """asv leaves out a column that is all null, and nulls at a column's end."""
    return values[number] if values and number < len(values) else None


def _number(value: Any) -> float:
    return nan if value is None else float(value)


def _literal(text: str) -> Any:
    """A parameter from its repr, where that is a plain number or string; else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return str(text)
    return value if isinstance(value, str | int | float) else str(text)


def _load(file: Path) -> dict:
    try:
        stored = json.loads(file.read_bytes())
        json.dumps(stored, ensure_ascii=False).encode()  # half a character, as JSON may spell it, is no text
    except FileNotFoundError:
        raise ResultsError(f"there is no {file}; `asv run` writes it") from None
    except OSError as error:
        raise ResultsError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{file} is not JSON: {error}") from error
    version = stored.get("version") if isinstance(stored, dict) else None
    if version != _VERSION:
        raise ResultsError(
            f"{file} has version {str(version)[:20]} of asv's results; this sepconv-bench reads version {_VERSION}"
        )
    return stored
