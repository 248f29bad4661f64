"""What rows of several tables share."""

from __future__ import annotations

import pandas as pd

from sepconv_bench.model.dtypes import DTYPES
from sepconv_bench.model.pairing import Pair
from sepconv_bench.model.shapes import GENERAL, SECOND_AXES, USUAL, ConvShape
from sepconv_bench.results.cell import Cell


def sizes(shape: ConvShape) -> dict[str, object]:
    """All that the shape says; second axes as they are, also where they are as the first."""
    return {**shape.resolved, "dtype": shape.dtype}


def of_first_dtype(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one dtype, the first of DTYPES that is there: what is drawn and summed up is never of several."""
    there = [dtype for dtype in DTYPES if (frame["dtype"] == dtype).any()]
    return frame[frame["dtype"] == there[0]] if there else frame


def _unusual(frame: pd.DataFrame, name: str) -> pd.Series:
    """Which rows say something of this field that a shape of the paper does not."""
    return frame[name] != (frame[SECOND_AXES[name]] if name in SECOND_AXES else USUAL[name])


def said(frame: pd.DataFrame) -> tuple[str, ...]:
    """What some row of a table with shapes says beyond the axes, general fields and a dtype: the rest need not be shown."""
    more = ("dtype",) if "dtype" in frame and (frame["dtype"] != "f32").any() else ()
    return (*(name for name in GENERAL if _unusual(frame, name).any()), *more)


def of_the_paper(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose shape is one of the paper's: square, valid, undilated, one stride, no groups, no multiplier."""
    return frame[~pd.concat([_unusual(frame, name) for name in GENERAL], axis=1).any(axis=1)]


def pair_columns(cell: Cell, pair: Pair, best: bool) -> dict[str, object]:
    """Both kernels of a pair, what they declare, and why they are compared."""
    sides = {"standard": cell.declared[pair.standard], "separable": cell.declared[pair.separable]}
    return {
        **{f"{side}_kernel": declared.name for side, declared in sides.items()},
        **{f"{side}_{what}": getattr(declared, what) for side, declared in sides.items() for what in ("variant", "library")},
        "rung": pair.rung,
        "best": best,
    }
