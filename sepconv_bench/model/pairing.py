"""Which kernels are compared with which: like with like, and best with best. Works on what kernels declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sepconv_bench.model.declaration import Declaration


@dataclass(frozen=True)
class Pair:
    """The names of a standard and a separable kernel of one device, and why they are compared.

    `rung` is the variant where both are of one rung, "fastest / mine" or "mine / fastest" for a kernel without a like,
    and empty where they are compared only because they are the fastest of each, which `best` says.

    The fastest standard kernel is one that multiplies as often as theory counts, and in float32, where there is one: that is
    what the promise counts on both sides. One by Winograd's algorithm, or on tensor cores, is compared beside it.
    """

    standard: str
    separable: str
    rung: str
    best: bool


def pairs(seconds: Mapping[str, float], declared: Mapping[str, Declaration]) -> list[Pair]:
    """The comparisons among the kernels timed on one shape, from their seconds a launch by name.

    `declared`: by name the timed kernels, and those that were asked for beside them. Each separable kernel goes with the
    standard one that it is like; a kernel that has no such partner even among those asked for with the fastest of the other
    operator; and the fastest of the one with the fastest of the other.
    """
    found: list[Pair] = []
    for device in dict.fromkeys(declared[name].device for name in seconds):
        here = [one for one in declared.values() if one.device == device]
        timed = [one for one in here if one.name in seconds]
        standard, separable = ([one for one in timed if one.operator == side] for side in ("standard", "separable"))
        if not standard or not separable:
            continue
        counted = [one for one in standard if not one.beyond_peak] or standard
        best = tuple(min((one.name for one in side), key=seconds.__getitem__) for side in (counted, separable))
        names = {one.name for one in standard}
        known = {one.name for one in here}
        partners = {one.standard for one in here if one.operator == "separable"}
        rungs = {(one.standard, one.name): one.variant for one in separable if one.standard in names}
        rungs |= {(best[0], one.name): f"fastest / {one.variant}" for one in separable if one.standard not in known}
        rungs |= {(one.name, best[1]): f"{one.variant} / fastest" for one in standard if one.name not in partners}
        found += [Pair(*pair, rung, best=pair == best) for pair, rung in rungs.items()]
        if best not in rungs:
            found.append(Pair(best[0], best[1], "", best=True))
    return found
