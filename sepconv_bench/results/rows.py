"""What rows of several tables share."""

from __future__ import annotations

from sepconv_bench.model.pairing import Pair
from sepconv_bench.model.shapes import AXES, ConvShape
from sepconv_bench.results.cell import Cell


def sizes(shape: ConvShape) -> dict[str, int]:
    return {axis: getattr(shape, axis) for axis in AXES}


def pair_columns(cell: Cell, pair: Pair, best: bool) -> dict[str, object]:
    """Both kernels of a pair, what they declare, and why they are compared."""
    sides = {"standard": cell.declared[pair.standard], "separable": cell.declared[pair.separable]}
    return {
        **{f"{side}_kernel": declared.name for side, declared in sides.items()},
        **{f"{side}_{what}": getattr(declared, what) for side, declared in sides.items() for what in ("variant", "library")},
        "rung": pair.rung,
        "best": best,
    }
