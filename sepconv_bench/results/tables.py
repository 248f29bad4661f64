"""The tidy tables: what a results file's samples say, computed from them anew each time.

Nothing of it is stored: a ratio in a table can be computed again from the samples next to it. What the columns mean is in
`sepconv_bench.results.columns`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from sepconv_bench.errors import ResultsError
from sepconv_bench.model import theory
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import IDENTITY, ConvShape
from sepconv_bench.results import columns
from sepconv_bench.results.cell import NOTHING
from sepconv_bench.results.fastest import fastest_pairs
from sepconv_bench.results.network_tables import layers, network
from sepconv_bench.results.rows import pair_columns, sizes
from sepconv_bench.results.store import Results
from sepconv_bench.results.sums import sums
from sepconv_bench.results.why import why


def timings(results: Results) -> pd.DataFrame:
    """One row a kernel and cell: its time with a 95 % interval, rate, eta, and what became of it.

    `converged`: the interval is within the run's target half-width; a time moves with the machine's mood where a ratio
    does not. `grade`, `remark`, `flags`: of the time's ratio to that of the peak in the same rounds.
    """
    rows = []
    for cell in results.cells():
        for outcome in cell.outcomes:
            declared, kernel = outcome.kernel, outcome.kernel.name
            time = cell.times.get(kernel, NOTHING)
            rows.append(
                {
                    "machine": cell.run.machine.machine,
                    "kernel": kernel,
                    "operator": declared.operator,
                    "device": declared.device,
                    "variant": declared.variant,
                    "library": declared.library,
                    **sizes(cell.shape),
                    "cold": cell.run.settings.cold,
                    "time_s": time.value,
                    "time_lo_s": time.lo,
                    "time_hi_s": time.hi,
                    "samples": sum(int(np.isfinite(block).sum()) for block in cell.samples.get(kernel, [])),
                    "blocks": len(cell.samples.get(kernel, [])),
                    "launches": outcome.launches,
                    "multiplications": theory.multiplications(declared.operator, cell.shape),
                    "bytes": theory.bytes_moved(declared.passes, cell.shape),
                    "gflops": cell.gflops(kernel),
                    "peak_gflops": cell.peak / 1e9,
                    "eta": cell.eta(kernel),
                    "roofline_s": cell.roofline_s(kernel),
                    "compile_s": outcome.compile_s,
                    "error": outcome.error,
                    "converged": time.half_width <= cell.target,
                    **cell.graded(kernel),
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "steal_s": cell.measured.steal_s,
                    "started": _utc(cell.measured.started),
                    "run": cell.run.number,
                }
            )
    return columns.TIMINGS.frame(rows)


def ratios(results: Results) -> pd.DataFrame:
    """One row a pair of kernels and cell: T_separable / T_standard beside 1/N + 1/D_K^2, and the etas that explain it.

    speedup = theory_speedup x eta_separable / eta_standard, up to the difference between a median of ratios and a ratio
    of medians. `converged`: the ratio's interval is within the run's target half-width. `grade`: how far it can be believed
    (`sepconv_bench.measure.grades`), with a `remark` where that is less than A, and all the `flags` of its samples. `best`: the
    fastest kernels of each side, one row a shape (`fastest_pairs`).
    """
    cells, rows = results.cells(), []
    best = {(id(one.cell), one.pair) for one in fastest_pairs(cells)}
    for cell in cells:
        promised = theory.cost_ratio(cell.shape)
        for pair, measured in cell.compared:
            rows.append(
                {
                    "machine": cell.run.machine.machine,
                    **sizes(cell.shape),
                    "cold": cell.run.settings.cold,
                    **pair_columns(cell, pair, (id(cell), pair) in best),
                    "ratio": measured.value,
                    "ratio_lo": measured.lo,
                    "ratio_hi": measured.hi,
                    "theory_ratio": float(promised),
                    "speedup": 1 / measured.value,
                    "speedup_lo": 1 / measured.hi,
                    "speedup_hi": 1 / measured.lo if measured.lo else np.inf,
                    "theory_speedup": float(1 / promised),
                    "roofline_speedup": cell.roofline_s(pair.standard) / cell.roofline_s(pair.separable),
                    "bound_speedup": cell.bound_speedup(pair, measured),
                    "eta_standard": cell.eta(pair.standard),
                    "eta_separable": cell.eta(pair.separable),
                    "converged": measured.half_width <= cell.target,
                    **cell.graded(pair.separable, pair.standard),
                    "run": cell.run.number,
                }
            )
    return columns.RATIOS.frame(rows)


def peers(results: Results) -> pd.DataFrame:
    """One row a kernel of ours and a peer: peer's time / our time, geometric mean, least and most over the cells of both.

    A row is of cells of one dtype. In each the peer's fastest way counts, and the ratio is that of paired samples. The peer
    "best" is the fastest of all of them in each cell. `least_at` is the cell where the peer comes nearest to us, or is most
    ahead.
    """
    found: dict[tuple[Declaration, str, str], list[tuple[float, ConvShape]]] = {}
    for cell in results.cells():
        timed = [cell.declared[name] for name in cell.times]
        for kernel in (one for one in timed if not one.is_peer):
            alike = (kernel.device, kernel.operator)
            rivals = [one for one in timed if one.is_peer and (one.device, one.operator) == alike]
            for library in (*dict.fromkeys(one.library for one in rivals), "best"):
                ways = [one.name for one in rivals if library in (one.library, "best")]
                if ways:
                    fastest = min(ways, key=lambda name: cell.times[name].value)
                    value = cell.ratio(fastest, kernel.name).value
                    found.setdefault((kernel, cell.shape.dtype, library), []).append((value, cell.shape))
    rows: list[dict[str, object]] = []
    for (kernel, dtype, library), values in found.items():
        speedups = np.array([value for value, _ in values])
        least, at = min(values)
        rows.append(
            {
                "operator": kernel.operator,
                "kernel": kernel.name,
                "dtype": dtype,
                "peer": library,
                "cells": len(values),
                "geomean": float(np.exp(np.log(speedups).mean())),
                "min": least,
                "max": float(speedups.max()),
                "least_at": str(at),
            }
        )
    rows.sort(key=lambda row: [*OPERATORS].index(str(row["operator"])))
    return columns.PEERS.frame(rows)


def samples(results: Results) -> pd.DataFrame:
    """One row a sample: seconds a launch, by shape, kernel, block and round; `ceiling.fma` is the machine's peak."""
    found = [
        (sizes(cell.shape), kernel, number, block)
        for cell in results.cells()
        for kernel, blocks in cell.samples.items()
        for number, block in enumerate(blocks)
    ]
    counts = [len(block) for *_, block in found]
    rows = {axis: np.repeat([shape[axis] for shape, *_ in found], counts) for axis in IDENTITY}
    rows["kernel"] = np.repeat(np.array([kernel for _, kernel, *_ in found], object), counts)
    rows["block"] = np.repeat([number for *_, number, _ in found], counts)
    rows["round"] = np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, int)
    rows["time_s"] = np.concatenate([block for *_, block in found]) if found else np.empty(0)
    return pd.DataFrame(rows).astype({column.name: column.dtype for column in columns.SAMPLES.columns}).dropna()


TABLES: Mapping[str, Callable[[Results], pd.DataFrame]] = {
    **{"timings": timings, "ratios": ratios, "why": why, "peers": peers, "sums": sums},
    **{"network": network, "layers": layers, "samples": samples},
}


def table(results: Results, name: str) -> pd.DataFrame:
    """The table of that name, one of TABLES."""
    return TABLES[name](results)


def written(frame: pd.DataFrame, form: str) -> bytes:
    """A table as csv, json (a list of objects) or parquet; ResultsError where parquet's library is not installed."""
    if form == "csv":
        return frame.to_csv(index=False).encode()
    if form == "json":
        return frame.to_json(orient="records", indent=1, double_precision=15).encode() + b"\n"
    try:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, engine="pyarrow")
    except ImportError as error:
        raise ResultsError("parquet needs pyarrow; `pip install 'sepconv-bench[parquet]'` brings it") from error
    return buffer.getvalue()


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
