"""Maps on the device: copied there from the host, or taken as they lie there already."""

from __future__ import annotations

from ctypes import c_ubyte
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from sepconv_bench import gpu
from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.cuda.vectors import SIMULATED
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.model.dtypes import Dtype
from sepconv_bench.model.rounding import STORED, stored, widened

_ALIGNED = 16  # bytes of the widest load


@dataclass(frozen=True)
class Layout:
    """Steps in elements of image, row and pixel of a map, and whether every pixel of it starts on 16 bytes."""

    image: int
    row: int
    pixel: int
    aligned: bool

    @classmethod
    def dense(cls, shape: tuple[int, int, int, int], itemsize: int = 4) -> Layout:
        _, height, width, channels = shape
        return cls(height * width * channels, width * channels, channels, channels * itemsize % _ALIGNED == 0)

    @classmethod
    def of(cls, array: DeviceArray) -> Layout:
        """Of a map that lies on the device."""
        # Along an axis of one nobody steps; loops that count by steps need one all the same.
        together = _ALIGNED // array.itemsize
        steps = [
            together if size == 1 else step // array.itemsize for size, step in zip(array.shape, array.strides, strict=True)
        ]
        aligned = array.span[0] % _ALIGNED == 0 and all(step % together == 0 for step in steps[:3])
        return cls(steps[0], steps[1], steps[2], aligned)


@dataclass(frozen=True)
class DeviceMap:
    """A map (batch, D, D, channels) on the device: the elements from its first to its last, and their layout. Of a dtype of two
    bytes they lie as `sepconv_bench.model.dtypes.STORED` says, and `floats` are float16 or the bits of bfloat16."""

    floats: Any
    layout: Layout
    shape: tuple[int, int, int, int]


class DeviceMemory:
    """What the checked call needs where arrays lie on the GPU."""

    def __init__(self) -> None:
        cuda.synchronize()  # whoever made them may still be writing

    def host(self, array: DeviceArray) -> np.ndarray:
        elements = _flat(array).copy_to_host()
        # Spans of no negative stride begin at element 0.
        return widened(np.lib.stride_tricks.as_strided(elements, array.shape, array.strides))

    def empty(self, shape: tuple[int, ...]) -> Any:
        _require(4 * prod(shape))
        return cuda.device_array(shape, np.float32)


def maps(problem: Problem) -> tuple[DeviceMap, DeviceMap]:
    """F and G of a problem on the device, in the shape's dtype. ShapeError where they do not fit there."""
    return placed(problem.F, problem.shape.dtype), placed(problem.G, problem.shape.dtype)


def empty(shape: tuple[int, int, int, int], dtype: Dtype = "f32") -> DeviceMap:
    """A dense map with nothing in it."""
    of = STORED[dtype]
    _require(of.itemsize * prod(shape))
    return DeviceMap(cuda.device_array(prod(shape), of, stream=gpu.stream()), Layout.dense(shape, of.itemsize), shape)


def zeros(shape: tuple[int, int, int, int]) -> DeviceArray:
    """A dense map of zeros on the device, described, so that it can be cut into views."""
    host = np.zeros(shape, np.float32)
    if SIMULATED:
        return DeviceArray(host, host.ctypes.data, host, False)
    return DeviceArray.of("a map of zeros", copied(host).reshape(shape))


def copied(array: np.ndarray) -> Any:
    """A flat copy on the device."""
    _require(array.nbytes)
    return cuda.to_device(np.ascontiguousarray(array).reshape(-1), stream=gpu.stream())


def placed(array: np.ndarray | DeviceArray, dtype: Dtype = "f32") -> DeviceMap:
    """A map on the device: copied there as `dtype` is stored, or as it lies there."""
    if isinstance(array, np.ndarray):
        return DeviceMap(copied(stored(array, dtype)), Layout.dense(array.shape, STORED[dtype].itemsize), array.shape)
    return DeviceMap(_flat(array), Layout.of(array), array.shape)  # type: ignore[arg-type]


def twin(array: DeviceArray) -> DeviceArray:
    """The same values in new memory."""
    new = nothing(array.shape, array.dtype)
    placed(new).floats.copy_to_device(placed(array).floats, stream=gpu.stream())
    return new


def nothing(shape: tuple[int, ...], dtype: np.dtype = STORED["f32"]) -> DeviceArray:
    """A dense map of NaN on the device."""
    from numba.cuda.cudadrv import driver  # the simulator has none

    _require(dtype.itemsize * prod(shape))
    floats = cuda.device_array(shape, dtype, stream=gpu.stream())
    driver.device_memset(floats, 0xFF, floats.nbytes, gpu.stream())  # of two or four such bytes, as a float, is NaN
    return DeviceArray.of("a map", floats)


def differ(one: DeviceArray, other: DeviceArray) -> bool:
    """Whether any element of one dense map is not the other's; NaN is no one's equal."""
    flag = cuda.to_device(np.zeros(1, np.int32), stream=gpu.stream())
    arrays = (_numbers(one), _numbers(other), flag)
    gpu.configured(_flag_differences, 8 * gpu.multiprocessors(), 256)(*arrays)
    return bool(flag.copy_to_host(stream=gpu.stream())[0])


def finite(array: DeviceArray) -> bool:
    """Whether no element of a dense map is NaN or infinite."""
    flag = cuda.to_device(np.zeros(1, np.int32), stream=gpu.stream())
    if array.itemsize == 2:
        exponent = np.uint16(0x7C00 if array.dtype == STORED["fp16"] else 0x7F80)
        gpu.configured(_flag_full_exponents, 8 * gpu.multiprocessors(), 256)(_numbers(array), exponent, flag)
    else:
        gpu.configured(_flag_what_is_not_finite, 8 * gpu.multiprocessors(), 256)(_numbers(array), flag)
    return not flag.copy_to_host(stream=gpu.stream())[0]


@cuda.jit
def _flag_differences(one, other, flag):
    step = cuda.gridsize(1)
    for index in range(cuda.grid(1), len(one), step):
        if one[index] != other[index]:
            flag[0] = 1


@cuda.jit
def _flag_what_is_not_finite(values, flag):
    step = cuda.gridsize(1)
    for index in range(cuda.grid(1), len(values), step):
        if not abs(values[index]) < np.float32(np.inf):
            flag[0] = 1


@cuda.jit
def _flag_full_exponents(bits, exponent, flag):
    step = cuda.gridsize(1)
    for index in range(cuda.grid(1), len(bits), step):
        if bits[index] & exponent == exponent:
            flag[0] = 1


def _numbers(array: DeviceArray) -> Any:
    """The elements of a dense map as kernels look at them: float32, or the bits of two bytes."""
    return _flat(array, np.dtype("u2") if array.itemsize == 2 else array.dtype)


def _flat(array: DeviceArray, dtype: np.dtype | None = None) -> Any:
    """The elements from the first of an array to its last, gaps among them."""
    first, last = array.span
    return _at(first, (last - first) // array.itemsize, array.owner, dtype or array.dtype)


def _at(address: int, count: int, owner: object, dtype: np.dtype) -> Any:
    """The elements from an address on; in the simulator that is one of the host's."""
    if SIMULATED:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        memory = (c_ubyte * (count * dtype.itemsize)).from_address(address)
        memory.owner = owner  # type: ignore[attr-defined]  # which must not go away before it
        return FakeCUDAArray(np.ctypeslib.as_array(memory).view(dtype))
    described = {"shape": (count,), "strides": None, "typestr": dtype.str, "version": 3}
    # Not said to be read-only: Numba would compile for another type. F is only read.
    return cuda.from_cuda_array_interface(described | {"data": (address, False)}, owner=owner, sync=False)


def fetch(given: DeviceMap, G: np.ndarray | DeviceArray) -> None:
    """Wait for the launches before, and copy what they gave into G where that is an array of the host's."""
    gpu.stream().synchronize()
    if isinstance(G, np.ndarray):
        np.copyto(G, widened(given.floats.copy_to_host()).reshape(given.shape))


def _require(needed: int) -> None:
    free = gpu.free_bytes()
    if free is not None and needed > free:
        raise ShapeError(f"a map of {needed / 2**30:,.2f} GiB does not fit on the GPU; {free / 2**30:,.2f} GiB are free there")
