"""What a run says while it goes on, a line a step."""

from __future__ import annotations

from dataclasses import dataclass

from sepconv_bench.measure.records import Ceilings
from sepconv_bench.model import theory
from sepconv_bench.results.records import CellMeasured, NetworkPart


@dataclass(frozen=True)
class Progress:
    """After each step: `done` of `total` cells, and what has happened in one line."""

    done: int
    total: int
    line: str


def describe_ceilings(measured: Ceilings) -> str:
    near, far = measured.levels[0], measured.levels[-1]
    return (
        f"FMA peak {measured.peak.value / 1e9:.0f} GFLOP/s, copy {near.bandwidth.value / 1e9:.0f} GB/s near"
        f" and {far.bandwidth.value / 1e9:.0f} GB/s far"
    )


def describe_cell(measured: CellMeasured) -> str:
    return f"{measured.shape}: theory {float(1 / theory.cost_ratio(measured.shape)):.2f}x, {_describe_end(measured)}"


def describe_part(part: NetworkPart, measured: CellMeasured) -> str:
    return f"alpha {part.alpha:g}, resolution {part.resolution}, {part.part}: {_describe_end(measured)}"


def _describe_end(measured: CellMeasured) -> str:
    bad = [
        f"; {outcome.kernel.name} {outcome.status} ({outcome.reason})"
        for outcome in measured.outcomes
        if outcome.status not in ("ok", "unsupported")
    ]
    closed = "" if measured.converged else ", not converged"
    slowed = f", {measured.slowed} samples with the clock held down" if measured.slowed else ""
    return f"{measured.seconds or 0:.1f} s{closed}{slowed}" + "".join(bad)
