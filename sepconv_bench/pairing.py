"""Which kernels are compared with which: like with like, and best with best. Works on names alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The rung of standard that a separable variant is measured against, where it is not the one of its own name.
_STANDARD_RUNG = {"fused": "tiled"}


@dataclass(frozen=True)
class Pair:
    """A standard and a separable kernel of one device. `like`: the same rung; `best`: the fastest of each."""

    standard: str
    separable: str
    like: bool
    best: bool


def pairs(seconds: Mapping[str, float]) -> list[Pair]:
    """The comparisons among the kernels timed on one shape, from their seconds a launch by name.

    Each separable kernel goes with the standard one of its rung; a kernel without such a partner with the fastest of
    the other operator; and the fastest of the one with the fastest of the other.
    """
    found: dict[tuple[str, str], Pair] = {}
    for device in dict.fromkeys(name.split(".")[0] for name in seconds):
        standard, separable = (
            {name.split(".")[2]: name for name in seconds if name.startswith(f"{device}.{operator}.")}
            for operator in ("standard", "separable")
        )
        if not standard or not separable:
            continue
        best = (min(standard.values(), key=seconds.__getitem__), min(separable.values(), key=seconds.__getitem__))
        rungs = [
            (standard[rung], name)
            for variant, name in separable.items()
            if (rung := _STANDARD_RUNG.get(variant, variant)) in standard
        ]
        partnered = {name for rung in rungs for name in rung}
        lone = [(best[0], name) for name in separable.values() if name not in partnered]
        lone += [(name, best[1]) for name in standard.values() if name not in partnered]
        for pair in (*rungs, *lone, best):
            found[pair] = Pair(*pair, like=pair in rungs, best=pair == best)
    return list(found.values())
