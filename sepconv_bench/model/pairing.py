"""Which kernels are compared with which: like with like, and best with best. Works on names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PEERS = ("numpy", "torch", "onnxruntime")  # other people's convolutions; ways of using one are named numpy-..., torch-...

# The rung of standard that a separable variant is measured against, where it is not the one of its own name.
_STANDARD_RUNG = {"fused": "tiled"}


@dataclass(frozen=True)
class Pair:
    """A standard and a separable kernel of one device, and why they are compared.

    `rung` is the variant where both are of one rung, "fastest / mine" or "mine / fastest" for a kernel without a like,
    and empty where they are compared only because they are the fastest of each, which `best` says.
    """

    standard: str
    separable: str
    rung: str
    best: bool


def pairs(seconds: Mapping[str, float], asked: Iterable[str] = ()) -> list[Pair]:
    """The comparisons among the kernels timed on one shape, from their seconds a launch by name.

    Each separable kernel goes with the standard one of its rung; a kernel that has no such partner even among those
    `asked` for with the fastest of the other operator; and the fastest of the one with the fastest of the other.
    """
    known = {*seconds, *asked}
    found: list[Pair] = []
    for device in dict.fromkeys(name.split(".")[0] for name in seconds):
        standard, separable = (
            [name for name in seconds if name.startswith(f"{device}.{operator}.")] for operator in ("standard", "separable")
        )
        if not standard or not separable:
            continue
        best = (min(standard, key=seconds.__getitem__), min(separable, key=seconds.__getitem__))
        rungs = {(standard_rung(name), name): _variant(name) for name in separable if standard_rung(name) in standard}
        partners = {standard_rung(name) for name in known if name.startswith(f"{device}.separable.")}
        rungs |= {(best[0], name): f"fastest / {_variant(name)}" for name in separable if standard_rung(name) not in known}
        rungs |= {(name, best[1]): f"{_variant(name)} / fastest" for name in standard if name not in partners}
        found += [Pair(*pair, rung, best=pair == best) for pair, rung in rungs.items()]
        if best not in rungs:
            found.append(Pair(*best, "", best=True))
    return found


def standard_rung(separable: str) -> str:
    """Name of the standard kernel that a separable one is like: of the same variant, and tiled for fused."""
    device, _, variant = separable.split(".")
    return f"{device}.standard.{_STANDARD_RUNG.get(variant, variant)}"


def _variant(name: str) -> str:
    return name.split(".")[2]


def peer(kernel: str) -> str | None:
    """The library whose convolution a kernel is, one of PEERS; None for one of ours or a user's."""
    library = _variant(kernel).partition("-")[0]
    return library if library in PEERS else None
