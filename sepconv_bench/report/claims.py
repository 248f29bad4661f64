"""What a page says first: four numbers, one sentence why, and the claim that each figure shows. All of it is computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from sepconv_bench.model.dtypes import DTYPES
from sepconv_bench.model.shapes import FIELDS, IDENTITY
from sepconv_bench.report.figures.over import sliced
from sepconv_bench.report.network import largest, whole
from sepconv_bench.report.sentences import FACTORS, describe_shape, explained

_AXES = ("N", "D_K", "M", "D_G")


@dataclass(frozen=True)
class Tile:
    """A number of the first screen: what it is, the number, and what one must know to quote it."""

    name: str
    value: str
    note: str


def tiles(ratios: pd.DataFrame, layers: pd.DataFrame) -> list[Tile]:
    """Gain, promise, share of the peak and grades: of the fastest pairs of a sweep, or of a network timed without one."""
    best = ratios[ratios.best]
    if best.empty:
        return _tiles_of_network(whole(layers, largest(layers)))
    n = len(best)
    # A median can only grow with what it is of: it is within the medians of the intervals' ends where each is within its own.
    ends = f"{best.speedup_lo.median():.2f} to {best.speedup_hi.median():.2f}"
    least, most = (f"{end:.2g}x" for end in (best.speedup.min(), best.speedup.max()))
    kept = (best.speedup / best.theory_speedup).median()
    counted = Counter(best.grade)
    return [
        Tile("Measured gain", f"{best.speedup.median():.1f}x", f"{ends} at 95%; median of {n} shapes, {least} to {most}"),
        Tile(
            "Promised gain",
            f"{best.theory_speedup.median():.1f}x",
            f"median of the same shapes; measured / promised: {kept:.0%} (median)",
        ),
        Tile(
            "Share of the peak",
            f"{best.eta_standard.median():.0%} and {best.eta_separable.median():.0%}",
            "in multiply-adds: standard kernel, separable kernel (medians)",
        ),
        Tile(
            "Grades",
            ", ".join(f"{counted[grade]} {grade}" for grade in "ABC" if counted[grade]),
            f"of {n} pairs. A: interval closed, clean; B: with a remark; C: not closed",
        ),
    ]


def _tiles_of_network(rows: pd.DataFrame) -> list[Tile]:
    if rows.empty:
        return []
    row = rows.iloc[-1]
    kept = row.speedup / row.theory_speedup
    eta = row.separable_eta, row.standard_eta
    return [
        Tile("Measured gain", f"{row.speedup:.2f}x", f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f} at 95%; whole network"),
        Tile("Promised gain", f"{row.theory_speedup:.2f}x", f"by the multiply-adds; measured / promised: {kept:.0%}"),
        Tile("Share of the peak", f"{eta[1]:.0%} and {eta[0]:.0%}", "in multiply-adds: all-standard network, MobileNet-V1"),
        Tile("Grade", row.grade or "none", row.remark or "A: interval closed, and nothing speaks against it"),
    ]


def reason(why: pd.DataFrame, layers: pd.DataFrame) -> str:
    """One sentence on what takes the difference; empty where nothing is known."""
    best = explained(why)
    below = best[best.speedup < best.theory_speedup]
    moved = Counter(below.dominant[below.dominant != "none"]).most_common()
    if moved:
        name, count = moved[0]
        total = sum(number for _, number in moved)
        factor = below[below.dominant == name][name].median()
        did = f"cuts the gain by {1 - factor:.0%}" if factor < 1 else f"raises the gain by {factor - 1:.0%}"
        return (
            f"What makes most of the difference is {FACTORS[name]}. On {count} of the {total} shapes below their promise it is"
            f" the largest factor, and there it {did} (median)."
        )
    if len(best):
        return f"Furthest from its promise is {describe_shape(best.iloc[0])}: {best.iloc[0].explanation}."
    steps = largest(layers)
    rows = whole(layers, steps)
    if rows.empty or steps.empty:
        return ""
    row, alone = rows.iloc[-1], steps.separable_s.sum()
    blocks = steps[steps.standard_multiply_adds != steps.separable_multiply_adds]
    kept = (blocks.speedup / blocks.theory_speedup).median()
    outside = kept > row.speedup / row.theory_speedup
    whose = "The difference is mostly outside the blocks: by themselves they" if outside else "The blocks by themselves"
    return (
        f"{whose} keep {kept:.0%} of their promise (median of {len(blocks)}). The steps, each timed by itself"
        f" with warm caches, add up to {alone * 1e3:.2f} ms; the whole network takes {row.separable_s * 1e3:.2f} ms."
    )


def claims(ratios: pd.DataFrame, why: pd.DataFrame, timings: pd.DataFrame) -> dict[str, str]:
    """By figure, what it shows in this file's numbers."""
    best = ratios[ratios.best]
    found = dict.fromkeys(("speedup", "why", "plane", "crossover", "rungs", "ladder", "efficiency", "roofline"), "")
    found |= {f"over_{axis}": f"Speedup over {axis}" for axis in _AXES}
    timed = timings[(timings.status == "ok") & timings.eta.notna()]
    if len(timed):
        top = timed.nlargest(1, "eta").iloc[0]
        found["roofline"] = f"Nearest to the roof is {top.kernel} with {top.eta:.0%} of the peak"
        best_of = timed.groupby("operator").eta.max()
        found["ladder"] = "The best kernels reach " + ", ".join(f"{eta:.0%} ({name})" for name, eta in best_of.items())
        sides = timed[timed.operator.isin(["standard", "separable"])].groupby(["operator", *IDENTITY]).eta.max()
        if len(sides):
            found["efficiency"] = f"The fastest kernels reach {sides.min():.0%} to {sides.max():.0%} of the peak"
    if best.empty:
        return found
    kept = best.speedup / best.theory_speedup
    found["speedup"] = (
        f"Separable convolution is {best.speedup.median():.1f} times as fast;"
        f" {best.theory_speedup.median():.1f} times were promised (medians)"
    )
    found["plane"] = f"Shapes keep {kept.min():.0%} to {kept.max():.0%} of their promise"
    slower = int((best.speedup < 1).sum())
    found["crossover"] = (
        f"The fastest separable kernel is the slower one on {slower} of {len(best)} shapes"
        if slower
        else f"The fastest separable kernel is the faster one on all {len(best)} shapes"
    )
    rungs = ratios[ratios.rung != ""].groupby("rung").speedup.median().sort_values()
    if len(rungs) > 1:
        low, high = rungs.index[0], rungs.index[-1]
        found["rungs"] = f"It depends on the kernels: from {rungs[low]:.1f}x ({low}) to {rungs[high]:.1f}x ({high}), medians"
    elif len(rungs):
        found["rungs"] = f"Like with like, it is {rungs.iloc[0]:.1f}x ({rungs.index[0]}, median)"
    shown = explained(why)
    below = shown[shown.speedup < shown.theory_speedup]
    counted = Counter(below.dominant[below.dominant != "none"]).most_common(1)
    found["why"] = "What leads from the promise to what was measured"
    if counted:
        short = FACTORS[counted[0][0]].partition(",")[0]
        found["why"] = f"Most below its promise is due to {short}: {counted[0][1]} of {len(below)} shapes"
    return found | {f"over_{axis}": _over(best, axis) for axis in _AXES}


def claim_of_dtypes(ratios: pd.DataFrame) -> str:
    """What the fastest kernels gain in each dtype: medians over the shapes that were timed in all of them, or where there is
    none over all of each. Empty where there are not two dtypes."""
    best = ratios[ratios.best]
    dtypes = [dtype for dtype in DTYPES if (best["dtype"] == dtype).any()]
    if len(dtypes) < 2:
        return ""
    alike = best[best.groupby([*FIELDS])["dtype"].transform("nunique") == len(dtypes)]
    rows, count = (alike, len(alike[[*FIELDS]].drop_duplicates())) if len(alike) else (best, 0)
    whose = f"of {count} shape{'s' * (count != 1)}, the same in each" if count else "of other shapes in each"
    medians = rows.groupby("dtype")[["speedup", "theory_speedup"]].median()
    gains, promised = medians.speedup, medians.theory_speedup
    said = [
        f"{dtype} {gains[dtype]:.1f}x" + f" of {promised[dtype]:.1f}x" * (not count or not n) for n, dtype in enumerate(dtypes)
    ]
    said[0] += " promised"
    return f"Median gain {whose}: {', '.join(said)}"


def claims_of_network(layers: pd.DataFrame) -> dict[str, str]:
    """By figure of a network, what it shows in this file's numbers; an empty text where it shows nothing."""
    found = dict.fromkeys(("network", "layers", "latency"), "")
    steps, wholes = largest(layers), whole(layers)
    if len(steps):
        blocks = steps[steps.standard_multiply_adds != steps.separable_multiply_adds]
        kept = blocks.speedup / blocks.theory_speedup
        found["layers"] = f"The blocks keep {kept.min():.0%} to {kept.max():.0%} of their promise"
    drawn = whole(layers, steps)
    if len(drawn):
        row = drawn.iloc[0]
        found["network"] = (
            f"MobileNet-V1 is {row.speedup:.2f} times as fast as its all-standard counterpart; {row.theory_speedup:.2f} times"
            " were promised"
        )
    if len(wholes):
        by_work = wholes[wholes.batch == wholes.batch.max()].sort_values("separable_multiply_adds")
        first, last = by_work.iloc[0], by_work.iloc[-1]
        found["latency"] = (
            f"From {first.separable_multiply_adds / 1e6:.0f} to {last.separable_multiply_adds / 1e6:.0f} million multiply-adds"
            f" the gain goes from {first.speedup:.1f}x to {last.speedup:.1f}x"
        )
    return found


def _over(best: pd.DataFrame, axis: str) -> str:
    """From the first to the last value of an axis, of the D_K (or N) that has most of them."""
    by = "N" if axis == "D_K" else "D_K"
    rows, _ = sliced(best, axis, by)
    if rows.empty:
        return f"Speedup over {axis}"
    _, line = max(rows.groupby(by), key=lambda group: len(group[1]))
    line = line.sort_values(axis)
    first, last = line.iloc[0], line.iloc[-1]
    return (
        f"From {axis} = {first[axis]} to {last[axis]} the gain goes from {first.speedup:.1f}x to {last.speedup:.1f}x"
        f" ({by} = {first[by]})"
    )
