"""An array that lies on a GPU, as its owner describes it: shape, strides and address, but no elements.

Whoever checks arrays looks at these; nothing here follows the address, which would end the process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sepconv_bench.errors import ShapeError


class DeviceArray:
    """Described by `__cuda_array_interface__` of `owner`: a torch or CuPy array, or one of numba.cuda's."""

    def __init__(self, owner: object, address: int, sizes: np.ndarray, read_only: bool) -> None:
        self.owner, self.address, self.read_only = owner, address, read_only
        # Its elements are not there: only its shape, its strides and the start of a part of it are ever read.
        self._sizes = sizes

    @classmethod
    def of(cls, name: str, owner: object) -> DeviceArray:
        """ShapeError, with the array's name in it, where the description does not hold together."""
        try:
            described = owner.__cuda_array_interface__  # type: ignore[attr-defined]
            address, read_only = described["data"]
            shape, dtype = tuple(described["shape"]), np.dtype(described["typestr"])
            strides = described.get("strides")
            nothing = np.zeros((), dtype)
            if strides is None:
                strides = tuple(dtype.itemsize * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
            sizes = np.lib.stride_tricks.as_strided(nothing, shape, strides)
        except Exception as error:
            raise ShapeError(f"{name} does not describe itself as a device array: {error}") from error
        if described.get("mask") is not None:
            raise ShapeError(f"{name} is masked; it must be a plain array of float32")
        return cls(owner, int(address), sizes, bool(read_only))

    def __getitem__(self, key: Any) -> DeviceArray:
        part = self._sizes[key]
        moved = part.__array_interface__["data"][0] - self._sizes.__array_interface__["data"][0]
        return DeviceArray(self.owner, self.address + moved, part, self.read_only)

    @property
    def __cuda_array_interface__(self) -> dict:
        return {
            "shape": self.shape,
            "strides": self.strides,
            "typestr": self.dtype.str,
            "data": (self.address, self.read_only),
            "version": 3,
        }

    @property
    def shape(self) -> tuple[int, ...]:
        return self._sizes.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self._sizes.strides

    @property
    def dtype(self) -> np.dtype:
        return self._sizes.dtype

    @property
    def ndim(self) -> int:
        return self._sizes.ndim

    @property
    def size(self) -> int:
        return self._sizes.size

    @property
    def itemsize(self) -> int:
        return self._sizes.itemsize

    @property
    def span(self) -> tuple[int, int]:
        """First and last address of its elements, the last exclusive."""
        reaches = [(size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)]
        return (
            self.address + sum(reach for reach in reaches if reach < 0),
            self.address + sum(reach for reach in reaches if reach > 0) + self.itemsize,
        )
