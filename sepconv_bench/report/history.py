"""The report of asv's results: T_separable / T_standard and each kernel's time over commits, or over releases of a library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.model import theory
from sepconv_bench.report.drawn import FIGURES, drawn
from sepconv_bench.report.history_series import (
    LEAST_STEP,
    RATIOS,
    THEORY,
    describe_parameters,
    found_steps,
    numbered,
    series,
    shape_of,
)
from sepconv_bench.report.templates import rendered
from sepconv_bench.results.history import History


def write_history(history: History, folder: Path) -> Path:
    """Write index.html and its figures into `folder`; gives the page's path. ResultsError where it cannot be written."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        sections = [_section(str(machine), table, folder) for machine, table in history.table.groupby("machine", sort=False)]
        page = folder / "index.html"
        files.write(page, rendered("history.html.j2", sections=sections, unread=history.unread))
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


def _section(machine: str, table: pd.DataFrame, folder: Path) -> dict:
    table, labels = numbered(table)
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in machine)
    given = {"history": table, "labels": labels, "newest": labels[-1], "source": f"{machine}, asv"}
    return {
        "machine": machine,
        "verdict": describe_history(table, labels),
        "figures": drawn("history", given, folder / FIGURES, f"{stem}-"),
        "rows": _newest_rows(table),
        "newest": labels[-1],
        "before": labels[-2] if len(labels) > 1 else None,
    }


def describe_history(table: pd.DataFrame, labels: list[str]) -> list[str]:
    """What the history says, in sentences."""
    sentences = []
    for _, given, rows in series(table, RATIOS):
        if given.get("pair") == THEORY:
            continue
        shape = shape_of(given)
        promised = f", where 1/N + 1/D_K² promises {float(theory.cost_ratio(shape)):.3f}" if shape else ""
        sentences.append(f"{given.get('pair')} at {given.get('shape')}: {rows.value.iloc[-1]:.3f}{promised}.")
    if len(labels) == 1:
        return [*sentences, "There is one run yet: steps show once there are more."]
    found = found_steps(table)
    if found is None:
        sentences.append("Steps are not marked, because asv is not installed here.")
    elif not found:
        sentences.append(f"No step of {LEAST_STEP:.0%} or more over {len(labels)} runs.")
    else:
        biggest = sorted(found, key=lambda step: -abs(step.change))
        listed = "; ".join(f"{step.series} {step.change:+.0%} with {labels[step.run]}" for step in biggest[:8])
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        sentences.append(f"Steps of {LEAST_STEP:.0%} or more over {len(labels)} runs: {listed}{more}.")
    return sentences


def _newest_rows(table: pd.DataFrame) -> list[dict]:
    """Every number of the newest run, and its change against the run before."""
    rows = []
    last = table.run.max()
    before = {
        (row.benchmark, str(row.parameters)): row.value
        for row in table[table.run == last - 1].itertuples()
        if row.status == "ok"
    }
    for row in table[table.run == last].itertuples():
        earlier = before.get((row.benchmark, str(row.parameters)))
        known = row.status == "ok"
        rows.append(
            {
                "benchmark": row.benchmark,
                "parameters": describe_parameters(row.parameters),
                "value": f"{row.value:.4g}" if known else row.status,
                "unit": row.unit,
                "interval": f"{row.lo:.4g} to {row.hi:.4g}" if known and not np.isnan(row.lo) else "",
                "change": f"{row.value / earlier - 1:+.1%}" if known and earlier else "",
            }
        )
    return rows
