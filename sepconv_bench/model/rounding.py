"""Numbers of a dtype as numpy arrays. numpy has no TF32 and no bfloat16: they are float32 arrays of values that fit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sepconv_bench.model.dtypes import Dtype

# How an element lies in a GPU's memory. Of bfloat16 the bits do, the upper half of a float32.
STORED: Mapping[Dtype, np.dtype] = MappingProxyType(
    {"f32": np.dtype("f4"), "tf32": np.dtype("f4"), "bf16": np.dtype("u2"), "fp16": np.dtype("f2")}
)
_DROPPED: Mapping[Dtype, int] = MappingProxyType({"tf32": 13, "bf16": 16})  # bits of float32's mantissa that they lack


def rounded(values: np.ndarray, dtype: Dtype) -> np.ndarray:
    """float32 to the nearest values of `dtype`, halves to even, as float32; beyond the largest is infinity."""
    if dtype == "f32":
        return values
    if dtype == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    bits, dropped = np.asarray(values, np.float32).view(np.uint32), _DROPPED[dtype]
    # Up to half of the last bit that stays, and the half itself where that bit is odd, carries over.
    carried = bits + np.uint32((1 << dropped - 1) - 1) + (bits >> np.uint32(dropped) & np.uint32(1))
    nearest = (carried & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)).view(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), nearest)


def stored(values: np.ndarray, dtype: Dtype) -> np.ndarray:
    """float32 as its elements lie in memory, those that do not fit rounded to the nearest."""
    if dtype == "bf16":
        return (rounded(values, dtype).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    with np.errstate(over="ignore"):
        return values.astype(STORED[dtype], copy=False)


def widened(elements: np.ndarray) -> np.ndarray:
    """What is stored as float32; two bytes without a sign are a bfloat16."""
    if elements.dtype == STORED["bf16"]:
        return (elements.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return elements.astype(np.float32, copy=False)
