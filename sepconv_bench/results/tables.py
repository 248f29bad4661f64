"""The tidy tables: what a results file's samples say, computed from them anew each time.

Nothing of it is stored: a ratio in a table can be computed again from the samples next to it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from msgspec import structs

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.statistics import ratio, ratio_of_sums
from sepconv_bench.model import attribution, theory
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.networks import OCCURRENCES, TITLES, WHOLE, mobilenet_v1, multiply_adds
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.pairing import Pair
from sepconv_bench.model.shapes import AXES, ConvShape
from sepconv_bench.results.cell import NOTHING, Cell
from sepconv_bench.results.records import NetworkPart
from sepconv_bench.results.store import Results

TABLES = ("timings", "ratios", "why", "peers", "sums", "network", "layers", "samples")
FASTEST = "fastest / fastest"
FORMATS = ("csv", "json", "parquet")


def timings(results: Results) -> pd.DataFrame:
    """One row a kernel and cell: its time with a 95 % interval, rate, eta, and what became of it.

    `converged`: the interval is within the run's target half-width; a time moves with the machine's mood where a ratio
    does not. `doubts`: signs of noise in the time's ratio to that of the peak in the same rounds.
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
                    "doubts": cell.doubts(kernel) if kernel in cell.times else "",
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "steal_s": cell.measured.steal_s,
                    "started": _told_time(cell.measured.started),
                    "run": cell.run.number,
                }
            )
    return pd.DataFrame(rows, columns=None if rows else ["kernel", "status"])


def ratios(results: Results) -> pd.DataFrame:
    """One row a pair of kernels and cell: T_separable / T_standard beside 1/N + 1/D_K^2, and the etas that explain it.

    speedup = theory_speedup x eta_separable / eta_standard, up to the difference between a median of ratios and a ratio
    of medians. `converged`: the ratio's interval is within the run's target half-width. `doubts`: the signs of
    `sepconv_bench.measure.noise` that its samples show, "wide" among them where it is not.
    """
    rows = []
    for cell in results.cells():
        promised = theory.cost_ratio(cell.shape)
        for pair, measured in cell.compared:
            rows.append(
                {
                    "machine": cell.run.machine.machine,
                    **sizes(cell.shape),
                    "standard_kernel": pair.standard,
                    "separable_kernel": pair.separable,
                    **_declared(cell, pair),
                    "rung": pair.rung,
                    "best": pair.best,
                    "ratio": measured.value,
                    "ratio_lo": measured.lo,
                    "ratio_hi": measured.hi,
                    "theory_ratio": float(promised),
                    "speedup": 1 / measured.value,
                    "speedup_lo": 1 / measured.hi,
                    "speedup_hi": 1 / measured.lo if measured.lo else np.inf,
                    "theory_speedup": float(1 / promised),
                    "roofline_speedup": cell.roofline_s(pair.standard) / cell.roofline_s(pair.separable),
                    "eta_standard": cell.eta(pair.standard),
                    "eta_separable": cell.eta(pair.separable),
                    "converged": measured.half_width <= cell.target,
                    "doubts": cell.doubts(pair.separable, pair.standard),
                    "run": cell.run.number,
                }
            )
    return pd.DataFrame(rows, columns=None if rows else ["standard_kernel", "separable_kernel", "ratio"])


def _declared(cell: Cell, pair: Pair) -> dict[str, str]:
    """Whose both kernels of a pair are, and which of theirs."""
    return {
        f"{side}_{what}": getattr(cell.declared[name], what)
        for side, name in (("standard", pair.standard), ("separable", pair.separable))
        for what in ("variant", "library")
    }


def why(results: Results) -> pd.DataFrame:
    """One row a pair of kernels and cell: the factors that lead from the promised speedup to the measured one, exactly.

    speedup = theory_speedup x roofline x standard x separable x overhead, as `attribution` defines them; the columns log2_...
    add up. `dominant` names the factor that moves the speedup most in its direction, "none" where the promise is within the
    interval, "unknown" where no peak was timed; `told` says the same in words. `..._overhead_s` is the fixed cost of a launch,
    estimated over the file's cells.
    """
    cells = results.cells()
    fixed = _fixed_costs(cells)
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
                "standard_kernel": pair.standard,
                "separable_kernel": pair.separable,
                "rung": pair.rung,
                "best": pair.best,
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
            rows.append(row | {"told": _told_why(row, seconds)})
    return pd.DataFrame(rows, columns=None if rows else ["standard_kernel", "separable_kernel", "dominant"])


def _fixed_costs(cells: Sequence[Cell]) -> dict[str, float]:
    """Seconds of a launch that do not shrink with its work, by kernel; nothing where the cells have no peak to go by."""
    found: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        for kernel, time in cell.times.items():
            found.setdefault(kernel, []).append((time.value, cell.roofline_s(kernel)))
    return {kernel: attribution.fixed_cost(*zip(*values, strict=True)) for kernel, values in found.items()}


def _told_why(row: dict, seconds: Sequence[float]) -> str:
    """What dominates, in words."""
    perfect, these = (f"{float(f'{value:.2g}'):g}x" for value in (row["theory_speedup"] * row["roofline"], row["speedup"]))
    reached = f"perfect kernels would reach {perfect}, these reach {these}"
    if row["dominant"] in ("none", "unknown"):
        return {"none": "as promised, within the interval", "unknown": "no peak was timed to tell"}[row["dominant"]]
    if row["dominant"] == "roofline":
        return f"{' and '.join(row['held_by_memory'].split())} held by memory bandwidth: {reached}"
    if row["dominant"] == "overhead":
        shares = [row[f"{name}_overhead_s"] / time for name, time in zip(("standard", "separable"), seconds, strict=True)]
        return f"fixed costs are {shares[0]:.0%} of the standard launch, {shares[1]:.0%} of the separable one: {reached}"
    efficiency = {"standard": 1 / row["standard"], "separable": row["separable"]}
    told = f"the {row['dominant']} kernel works at {efficiency.pop(row['dominant']):.0%} of its roofline"
    ((other, value),) = efficiency.items()
    return f"{told}, the {other} one at {value:.0%}: {reached}"


def peers(results: Results) -> pd.DataFrame:
    """One row a kernel of ours and a peer: peer's time / our time, geometric mean, least and most over the cells of both.

    In each cell the peer's fastest way counts, and the ratio is that of paired samples. The peer "best" is the fastest of all
    of them in each cell. `least_at` is the cell where the peer comes nearest to us, or is most ahead.
    """
    found: dict[tuple[Declaration, str], list[tuple[float, ConvShape]]] = {}
    for cell in results.cells():
        timed = [cell.declared[name] for name in cell.times]
        for kernel in (one for one in timed if not one.is_peer):
            rivals = [one for one in timed if one.is_peer and (one.device, one.operator) == (kernel.device, kernel.operator)]
            for library in (*dict.fromkeys(one.library for one in rivals), "best"):
                ways = [one.name for one in rivals if library in (one.library, "best")]
                if ways:
                    fastest = min(ways, key=lambda name: cell.times[name].value)
                    value = ratio(cell.samples[fastest], cell.samples[kernel.name]).value
                    found.setdefault((kernel, library), []).append((value, cell.shape))
    rows = []
    for (kernel, library), values in found.items():
        speedups = np.array([value for value, _ in values])
        least, at = min(values)
        rows.append(
            {
                "operator": kernel.operator,
                "kernel": kernel.name,
                "peer": library,
                "cells": len(values),
                "geomean": float(np.exp(np.log(speedups).mean())),
                "min": least,
                "max": float(speedups.max()),
                "least_at": str(at),
            }
        )
    columns = ["operator", "kernel", "peer", "cells", "geomean", "min", "max", "least_at"]
    frame = pd.DataFrame(rows, columns=columns)
    order = frame["operator"].map([*OPERATORS].index)
    return frame.assign(order=order).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def sums(results: Results) -> pd.DataFrame:
    """One row a network and comparison: all its convolutions of 3 x 3 and up, standard and separable, each as often as it
    occurs, where the file holds every one of them (grids vgg16 and inception).

    `comparison` is "fastest / fastest", in each cell the fastest of either side, or a rung as in `ratios`. `ratio` is the share
    of the standard layers' time that the separable ones take, with the interval of `ratio_of_sums`; `theory_ratio` is that of
    the summed multiply-adds, and `held` the share of the promised speedup that was measured. `longest` is the layer in which
    the standard network spends most of its time, `longest_share` of it.
    """
    cells = {(cell.run.machine.machine, cell.shape, pair): cell for cell in results.cells() for pair, _ in cell.compared}
    found: dict[tuple[str, str, str], dict[ConvShape, tuple[Cell, Pair]]] = {}
    for (machine, shape, pair), cell in cells.items():
        device = cell.declared[pair.standard].device
        for comparison in ([FASTEST] if pair.best else []) + ([pair.rung] if pair.rung else []):
            found.setdefault((machine, device, comparison), {})[shape] = cell, pair  # the one measured last counts
    rows = [
        {"machine": machine, "network": title, "device": device, "comparison": comparison}
        | _summed({shape: (count, *layers[shape]) for shape, count in OCCURRENCES[grid].items()})
        for grid, title in TITLES.items()
        for (machine, device, comparison), layers in found.items()
        if OCCURRENCES[grid].keys() <= layers.keys()
    ]
    return pd.DataFrame(rows, columns=None if rows else ["network", "comparison", "ratio"])


def _summed(layers: Mapping[ConvShape, tuple[int, Cell, Pair]]) -> dict:
    """A row of `sums`: of each layer how often it occurs, its cell, and the kernels compared."""
    terms = [(count, cell.samples[pair.separable], cell.samples[pair.standard]) for count, cell, pair in layers.values()]
    measured = ratio_of_sums(terms)
    seconds = {shape: count * cell.times[pair.standard].value for shape, (count, cell, pair) in layers.items()}
    work = {
        operator: sum(count * theory.multiplications(operator, shape) for shape, (count, _, _) in layers.items())
        for operator in ("standard", "separable")
    }
    promised, longest = work["separable"] / work["standard"], max(seconds, key=seconds.__getitem__)
    return {
        "layers": sum(count for count, _, _ in layers.values()),
        "shapes": len(layers),
        "standard_kernels": " ".join(sorted({pair.standard for _, _, pair in layers.values()})),
        "separable_kernels": " ".join(sorted({pair.separable for _, _, pair in layers.values()})),
        "standard_multiply_adds": work["standard"],
        "separable_multiply_adds": work["separable"],
        "standard_s": sum(seconds.values()),
        "separable_s": sum(seconds.values()) * measured.value,
        "ratio": measured.value,
        "ratio_lo": measured.lo,
        "ratio_hi": measured.hi,
        "theory_ratio": promised,
        "speedup": 1 / measured.value,
        "speedup_lo": 1 / measured.hi,
        "speedup_hi": 1 / measured.lo if measured.lo else np.inf,
        "theory_speedup": 1 / promised,
        "held": promised / measured.value,
        "longest": str(longest),
        "longest_share": seconds[longest] / sum(seconds.values()),
    }


def network(results: Results) -> pd.DataFrame:
    """One row a part of MobileNet-V1 and a kernel or library that was timed on it; `whole` is all of the network.

    `operator` says of which network the part is: of MobileNet-V1 itself (separable) or of its all-standard counterpart; the
    first convolution and the last layer are those of both. The variant `plan` is ours. `speedup` is the standard time over the
    separable one of the same variant, from paired samples.
    """
    rows = []
    for cell, network in _parts(results):
        for outcome in cell.outcomes:
            declared, kernel = outcome.kernel, outcome.kernel.name
            time, multiply_adds = cell.times.get(kernel, NOTHING), _multiply_adds(cell, declared.operator)
            twin = structs.replace(declared, operator="standard").name
            both = declared.operator == "separable" and {kernel, twin} <= cell.times.keys()
            gflops = 2 * multiply_adds / time.value / 1e9
            rows.append(
                {
                    "machine": cell.run.machine.machine,
                    **structs.asdict(network),
                    "operator": declared.operator,
                    "kernel": kernel,
                    "variant": declared.variant,
                    "library": declared.library,
                    "time_s": time.value,
                    "time_lo_s": time.lo,
                    "time_hi_s": time.hi,
                    "speedup": ratio(cell.samples[twin], cell.samples[kernel]).value if both else np.nan,
                    "multiply_adds": multiply_adds,
                    "gflops": gflops,
                    "eta": gflops * 1e9 / cell.peak,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "run": cell.run.number,
                }
            )
    return pd.DataFrame(rows, columns=None if rows else ["part", "kernel", "status"])


def layers(results: Results) -> pd.DataFrame:
    """One row a part of MobileNet-V1: our time in both networks, the speedup beside the promised one, and the best peer's time.

    `theory_speedup` is that of the multiply-adds, `..._peer_over_ours` the time of the peer that is the fastest on that part
    over ours, from paired samples.
    """
    rows = []
    for cell, network in _parts(results):
        operators = ["pointwise"] * 2 if network.part == "classifier" else ["standard", "separable"]
        if network.part == "conv":
            operators = ["standard"] * 2
        timed = [cell.declared[name] for name in cell.times]
        plans: dict[str, str] = {one.operator: one.name for one in timed if one.library == OURS}
        ours = [plans.get(operator, "") for operator in operators]
        if not all(ours):
            continue
        counts = [_multiply_adds(cell, operator) for operator in operators]
        speedup = ratio(*(cell.samples[name] for name in ours))
        row = {
            "machine": cell.run.machine.machine,
            **structs.asdict(network),
            **sizes(cell.shape),
            "standard_multiply_adds": counts[0],
            "separable_multiply_adds": counts[1],
            "theory_speedup": counts[0] / counts[1],
            "speedup": speedup.value,
            "speedup_lo": speedup.lo,
            "speedup_hi": speedup.hi,
        }
        for side, operator, name, count in zip(("standard", "separable"), operators, ours, counts, strict=True):
            rivals = [one for one in timed if one.is_peer and one.operator == operator]
            fastest = min(rivals, key=lambda one: cell.times[one.name].value, default=None)
            over = ratio(cell.samples[fastest.name], cell.samples[name]) if fastest else NOTHING
            row |= {
                f"{side}_s": cell.times[name].value,
                f"{side}_eta": 2 * count / cell.times[name].value / cell.peak,
                f"{side}_peer": fastest.variant if fastest else "",
                f"{side}_peer_over_ours": over.value,
                f"{side}_peer_over_ours_lo": over.lo,
                f"{side}_peer_over_ours_hi": over.hi,
            }
        rows.append(row | {"run": cell.run.number})
    return pd.DataFrame(rows, columns=None if rows else ["part", "speedup"])


def _parts(results: Results) -> Iterator[tuple[Cell, NetworkPart]]:
    """Every part of a network, and which it is."""
    for cell in results.parts():
        if cell.network is not None:
            yield cell, cell.network


def _multiply_adds(cell: Cell, operator: str) -> int:
    network = cell.network
    if network is None or network.part != WHOLE:
        return theory.multiplications(operator, cell.shape)
    layers = mobilenet_v1(network.alpha, network.resolution, network.batch, separable=operator == "separable")
    return multiply_adds(layers)


def samples(results: Results) -> pd.DataFrame:
    """One row a sample: seconds a launch, by shape, kernel, block and round; `ceiling.fma` is the machine's peak."""
    found = [
        (sizes(cell.shape), kernel, number, block)
        for cell in results.cells()
        for kernel, blocks in cell.samples.items()
        for number, block in enumerate(blocks)
    ]
    counts = [len(block) for *_, block in found]
    rows = {axis: np.repeat([shape[axis] for shape, *_ in found], counts) for axis in AXES}
    rows["kernel"] = np.repeat(np.array([kernel for _, kernel, *_ in found], object), counts)
    rows["block"] = np.repeat([number for *_, number, _ in found], counts)
    rows["round"] = np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, int)
    rows["time_s"] = np.concatenate([block for *_, block in found]) if found else np.empty(0)
    return pd.DataFrame(rows).dropna()


def table(results: Results, name: str) -> pd.DataFrame:
    """The table of that name, one of TABLES."""
    tables = (timings, ratios, why, peers, sums, network, layers, samples)
    return dict(zip(TABLES, tables, strict=True))[name](results)


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


def sizes(shape: ConvShape) -> dict[str, int]:
    return {axis: getattr(shape, axis) for axis in AXES}


def _told_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
