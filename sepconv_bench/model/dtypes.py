"""Of which numbers a convolution's factors are, and in how many bytes they are stored: float32, TF32, bfloat16 or float16.

Sums are float32 for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Dtype = Literal["f32", "tf32", "bf16", "fp16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
ITEMSIZE: Mapping[Dtype, int] = MappingProxyType({"f32": 4, "tf32": 4, "bf16": 2, "fp16": 2})
