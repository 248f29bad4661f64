"""What the numbers of a sweep say, in sentences."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Any

import numpy as np
import pandas as pd

from sepconv_bench.measure.grades import GRADES
from sepconv_bench.model.shapes import FIELDS, OPTIONAL_AXES, ConvShape
from sepconv_bench.results.sums import BEST_PAIR

FACTORS = {
    "roofline": "memory bandwidth",
    "overhead": "the fixed cost of a launch",
    "separable": "the separable kernel, further from its roofline than the standard one",
    "standard": "the standard kernel, which is far from its roofline and so flatters the other",
}


def describe_ratios(pairs: pd.DataFrame) -> list[str]:
    """What the numbers say, in sentences; each aggregate says which it is."""
    best = pairs[pairs.best]
    if best.empty:
        return ["No standard kernel was timed against a separable one, so there is no speedup to speak of."]
    kept = best.speedup / best.theory_speedup
    sentences = [
        f"{describe_grades(pairs)}. Of the {len(best)} between the fastest kernels {_count_grades(best)}.",
        f"Fastest against fastest, separable convolution is {best.speedup.median():.1f} times as fast as standard (median of"
        f" {len(best)} shapes, {best.speedup.min():.2g}x to {best.speedup.max():.2g}x). 1/N + 1/D_K² promises"
        f" {best.theory_speedup.median():.1f} times (median of the same shapes). A shape keeps {kept.median():.0%} of its"
        " promise (median of measured / promised).",
        f"Perfect kernels on both sides would reach {best.roofline_speedup.median():.1f} times on this machine (median):"
        f" memory bandwidth explains {_share_of_gap(best)}.",
        f"The rest is how well each side uses the machine: the standard kernels reach {best.eta_standard.median():.0%} of its"
        f" FMA peak, the separable ones {best.eta_separable.median():.0%} (medians). Measured speedup = promised x"
        " eta(separable) / eta(standard), an identity: a slow standard kernel flatters separable convolution as much as a fast"
        " separable one.",
    ]
    slower = int((best.speedup_hi < 1).sum())
    if slower:
        sentences.append(f"On {slower} of {len(best)} shapes separable is the slower one, beyond its interval.")
    return sentences


def describe_caches(cold: bool) -> list[str]:
    """A sentence where launches found their data in memory; none where they found it as it comes."""
    if not cold:
        return []
    return [
        "Each launch found its map and weights outside the caches. The roofs are those of warm caches: what memory takes beyond"
        " them is in the kernels' shares."
    ]


def _count_grades(pairs: pd.DataFrame) -> str:
    return ", ".join(f"{count} {grade}" for grade, count in sorted(Counter(pairs.grade).items()))


def describe_grades(pairs: pd.DataFrame) -> str:
    """How many ratios have which grade, and for those of B why."""
    counted = Counter(pairs.grade)
    remarks = Counter(pairs.remark[pairs.grade == "B"]).most_common()
    why = {"B": ": " + ", ".join(f"{remark} {count}" for remark, count in remarks)}
    listed = [
        f"{counted[grade]} {meaning} ({grade}{why.get(grade, '')})" for grade, meaning in GRADES.items() if counted[grade]
    ]
    return f"Of {len(pairs)} ratios {', '.join(listed)}"


def describe_sums(totals: pd.DataFrame) -> list[str]:
    """Of each network whose convolutions were all timed, what they add up to, fastest against fastest."""
    return [
        f"The {row.layers} convolutions of {row.network} of 3 x 3 and up add up to {row.standard_s * 1e3:.3g} ms standard and"
        f" {row.separable_s * 1e3:.3g} ms separable, each as often as it occurs: {row.speedup:.2f}x ({row.speedup_lo:.2f} to"
        f" {row.speedup_hi:.2f}), where the summed multiply-adds promise {row.theory_speedup:.2f}x: {row.held:.0%} of the"
        f" promise. {row.longest_share:.0%} of the standard time is in {row.longest}."
        for _, row in totals[totals.comparison == BEST_PAIR].iterrows()
    ]


def describe_reasons(why: pd.DataFrame) -> list[str]:
    """What dominates the gap, in a sentence or two; none where nothing is known."""
    best = explained(why)
    if best.empty:
        return []
    sentences = []
    below = best.speedup < best.theory_speedup
    for where, rows in (("below", best[below]), ("above", best[~below])):
        counted = Counter(rows.dominant[rows.dominant != "none"]).most_common()
        if counted:
            moved = "; ".join(f"on {count} {FACTORS[name]}" for name, count in counted)
            total = sum(count for _, count in counted)
            shapes = f"{total} shapes {where} their" if total > 1 else f"one shape {where} its"
            sentences.append(f"What moves the {shapes} promise most: {moved}.")
    most = best.iloc[int(np.argmax(np.abs(np.log((best.speedup / best.theory_speedup).to_numpy()))))]
    sentences.append(f"Furthest from it is {describe_shape(most)}: {most.explanation}.")
    return sentences


def explained(why: pd.DataFrame) -> pd.DataFrame:
    """The rows of the fastest kernels of each side whose factors are known."""
    return why[why.best & (why.dominant != "unknown")]


def describe_shape(row: pd.Series) -> str:
    size: dict[str, Any] = {name: int(row[name]) for name in FIELDS}
    general = ConvShape(**size).general
    more = "".join(f", {name} {size[name]}" for name in OPTIONAL_AXES if size[name] != 1)
    more += "".join(f", {name} {value}" for name, value in general.items() if name not in ("D_K_w", "D_G_w"))
    channels = f"{size['M']} to {size['N']}"
    return f"{size['D_K']} x {size['D_K_w']}, {channels}, {size['D_G']} x {size['D_G_w']}{more}"


def _share_of_gap(best: pd.DataFrame) -> str:
    gap: pd.Series = (best.theory_speedup / best.speedup).map(log)
    explained: pd.Series = (best.theory_speedup / best.roofline_speedup).map(log)
    if gap.median() < 0.05:
        return "nothing, for there is hardly a gap"
    share = float(np.clip((explained / gap)[gap > 0].median(), 0, 1))
    return f"{share:.0%} of the gap (median of the shapes below their promise)" if share >= 0.005 else "none of the gap"
