"""The arrays of one operator on one shape: checked when a user brings them, drawn when they are to be timed.

Everything that compiled code relies on is established here. It has no bounds checks: nothing wrong may get past.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import psutil

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.model.shapes import ConvShape, whole
from sepconv_bench.model.theory import known

_LINE = 64  # bytes of a cache line; every drawn array starts on one
_PAGE = 4096
WEIGHT_NAMES = {
    "standard": ("K",),
    "depthwise": ("K_hat",),
    "pointwise": ("K_tilde",),
    "separable": ("K_hat", "K_tilde"),
}
_LAYOUT = {
    "F": "(D_F, D_F, M) or (batch, D_F, D_F, M)",
    "K": "(D_K, D_K, M, N)",
    "K_hat": "(D_K, D_K, M)",
    "K_tilde": "(M, N)",
}
_RANKS = {"F": (3, 4), "K": (4,), "K_hat": (3,), "K_tilde": (2,)}


class Gpu(Protocol):
    """What it takes to work on arrays that lie on a GPU."""

    def host(self, array: DeviceArray) -> np.ndarray:
        """A copy on the host."""

    def empty(self, shape: tuple[int, ...]) -> Any:
        """A new array on the GPU."""


@dataclass(frozen=True)
class Problem:
    """What a kernel binds to. F is (batch, D_F, D_F, M), G (batch, D_G, D_G, N), or M channels for depthwise;
    for pointwise F is the intermediate map (batch, D_G, D_G, M) and `stride` is 1.

    All are float32 with contiguous channels; the other strides of F and G are free, weights are C-contiguous.
    G overlaps nothing else. A launch must write every element of G and read none.
    For a CUDA kernel that is called with arrays on the GPU, F and G are their descriptions, `DeviceArray`.
    """

    operator: str
    shape: ConvShape
    F: np.ndarray
    weights: tuple[np.ndarray, ...]
    G: np.ndarray

    @property
    def stride(self) -> int:
        """Step of the window over F: the shape's, but 1 for pointwise, whose input is the intermediate map."""
        return 1 if self.operator == "pointwise" else self.shape.stride

    @property
    def K(self) -> np.ndarray:
        """Weights of standard, (D_K, D_K, M, N)."""
        return self._weight("K")

    @property
    def K_hat(self) -> np.ndarray:
        """Depthwise weights, (D_K, D_K, M)."""
        return self._weight("K_hat")

    @property
    def K_tilde(self) -> np.ndarray:
        """Pointwise weights, (M, N)."""
        return self._weight("K_tilde")

    def _weight(self, name: str) -> np.ndarray:
        names = WEIGHT_NAMES[self.operator]
        if name not in names:
            raise AttributeError(f"{self.operator} has no {name}; its weights are {', '.join(names)}")
        return self.weights[names.index(name)]

    @classmethod
    def draw(cls, operator: str, shape: ConvShape, rng: np.random.Generator) -> Problem:
        """Standard normal F and weights, G all NaN. ShapeError where they would not fit in memory."""
        require_memory(arrays_bytes(known(operator), shape), f"the arrays of {operator} on {shape}")
        F = rng.standard_normal(shape.F_shape(operator), np.float32)
        weights = tuple(rng.standard_normal(weight, np.float32) for weight in shape.weight_shapes(operator))
        return cls(operator, shape, F, weights, np.full(shape.G_shape(operator), np.nan, np.float32))

    def placed_anew(self, rng: np.random.Generator) -> Problem:
        """The same values in new memory, each array at a random cache line of a page, and G all NaN again.

        Page placement and cache colours are luck that lasts as long as a buffer: each block of samples draws again.
        ShapeError where there is no memory for another copy.
        """
        require_memory(arrays_bytes(self.operator, self.shape), f"a copy of the arrays of {self.operator} on {self.shape}")
        G = _empty(self.G.shape, rng)
        G.fill(np.nan)
        weights = tuple(_copy(weight, rng) for weight in self.weights)
        return Problem(self.operator, self.shape, _copy(self.F, rng), weights, G)


def arrays_bytes(operator: str, shape: ConvShape) -> int:
    """Bytes of F, the weights and G in float32."""
    tensors = (shape.F_shape(operator), shape.G_shape(operator), *shape.weight_shapes(operator))
    return 4 * sum(prod(tensor) for tensor in tensors)


def require_memory(needed: int, what: str) -> None:
    """ShapeError unless `needed` bytes are free, before anything of that size is asked for."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise ShapeError(f"{what} need {_gib(needed)}; {_gib(free)} of memory are free")


def _gib(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB"


def _empty(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    count = 4 * prod(shape)
    raw = np.empty(count + 2 * _PAGE, np.uint8)
    first = -raw.ctypes.data % _PAGE + _LINE * int(rng.integers(_PAGE // _LINE))
    return raw[first : first + count].view(np.float32).reshape(shape)


def _copy(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    copy = _empty(array.shape, rng)
    np.copyto(copy, array)
    return copy


# ------------------------------------------------------------------------------------ a user's arrays


def problem_from_arrays(
    operator: str, arrays: tuple[object, ...], stride: object = 1, out: object = None, gpu: Gpu | None = None
) -> tuple[Problem, Any]:
    """The problem that these arrays pose, and G in the rank that F came in. `arrays` is F and then the weights.

    With `gpu` they may also lie there; G then lies where F does, unless `out` says otherwise.
    ShapeError says what came and what would fit, before any compiled code runs.
    """
    names = ("F", *WEIGHT_NAMES[known(operator)])
    if len(arrays) != len(names):
        raise ShapeError(f"{operator} takes the {len(names)} arrays {', '.join(names)}; {len(arrays)} came")
    checked = {name: _checked(name, array, gpu) for name, array in zip(names, arrays, strict=True)}
    if gpu is not None:
        # Weights are packed by the host.
        checked |= {name: gpu.host(checked[name]) for name in names[1:] if isinstance(checked[name], DeviceArray)}
    step = whole("stride", stride)
    F = checked["F"]
    maps: Any = F if F.ndim == 4 else F[np.newaxis]
    shape = _shape(operator, maps, checked, step)
    if operator == "pointwise":
        maps = maps[:, ::step, ::step]
        shape = ConvShape(1, shape.M, shape.N, shape.D_G, batch=shape.batch)
    wanted = shape.G_shape(operator)[4 - F.ndim :]
    intermediate = 4 * prod(shape.G_shape("depthwise")) * (operator == "separable")
    G, on_gpu = out, out is None and isinstance(F, DeviceArray)
    if on_gpu:
        assert gpu is not None
        G = gpu.empty(wanted)
    else:
        require_memory(4 * prod(wanted) * (out is None) + intermediate, f"the maps that {operator} gives, G {wanted},")
    if G is None:
        G = np.full(wanted, np.nan, np.float32)
    written = _checked_out(G, wanted, checked, gpu)
    # As much of F as the windows touch: a last row or column that no window reaches is left out.
    maps = maps[:, : shape.F_shape(operator)[1], : shape.F_shape(operator)[2]]
    copied = sum(checked[name].size for name in names[1:] if not checked[name].flags.c_contiguous)
    require_memory(4 * copied, "contiguous copies of the weights")
    weights = tuple(np.ascontiguousarray(checked[name]) for name in names[1:])
    return Problem(operator, shape, maps, weights, written if written.ndim == 4 else written[np.newaxis]), G


def _shape(operator: str, maps: Any, checked: dict[str, Any], stride: int) -> ConvShape:
    batch, D_F, width, M = maps.shape
    if width != D_F:
        raise ShapeError(f"F has maps of {D_F} x {width}; maps must be square, D_F x D_F")
    D_K = 1
    for name in ("K", "K_hat"):
        if name in checked:
            weight = checked[name]
            D_K = weight.shape[0]
            if weight.shape[1] != D_K:
                raise ShapeError(f"{name} has shape {weight.shape}; its first two axes must be equal, D_K x D_K")
            if weight.shape[2] != M:
                raise ShapeError(f"{name} has shape {weight.shape} but F has M={M} channels; {name} must be {_LAYOUT[name]}")
    if "K_tilde" in checked and checked["K_tilde"].shape[0] != M:
        raise ShapeError(f"K_tilde has shape {checked['K_tilde'].shape} but F has M={M} channels; K_tilde must be (M, N)")
    if D_F < D_K:
        raise ShapeError(f"F is {D_F} wide and the kernel D_K={D_K}; valid padding needs D_F >= D_K")
    N = M if operator == "depthwise" else checked["K" if operator == "standard" else "K_tilde"].shape[-1]
    return ConvShape(D_K, M, N, (D_F - D_K) // stride + 1, stride, batch)


def _checked(name: str, array: object, gpu: Gpu | None) -> Any:
    found = _array(name, array, gpu, _LAYOUT[name])
    if found.ndim not in _RANKS[name]:
        raise ShapeError(f"{name} has shape {found.shape}, rank {found.ndim}; it must be {_LAYOUT[name]}")
    _check_layout(name, found)
    return found


def _array(name: str, array: object, gpu: Gpu | None, wanted: object) -> Any:
    """A numpy array as it is, and one of the GPU as its description."""
    if isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray):
        return np.asarray(array)
    if gpu is not None and hasattr(array, "__cuda_array_interface__"):
        return DeviceArray.of(name, array)
    where = "a numpy array of float32" if gpu is None else "an array of float32, numpy's or one on the GPU"
    raise ShapeError(f"{name} is a {type(array).__name__}; it must be {where}, shape {wanted}")


def _check_layout(name: str, array: Any) -> None:
    if array.dtype != np.float32:
        raise ShapeError(f"{name} has dtype {array.dtype.str}; it must be float32 in native byte order")
    if 0 in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}; every size must be at least 1")
    if array.shape[-1] > 1 and array.strides[-1] != array.itemsize:
        raise ShapeError(
            f"the channels of {name} lie {array.strides[-1]} bytes apart; they must be contiguous, {array.itemsize} bytes apart"
        )
    on_gpu = isinstance(array, DeviceArray)
    address = array.address if on_gpu else array.ctypes.data
    if address % array.itemsize or any(step % array.itemsize for step in array.strides):
        raise ShapeError(f"{name} is not aligned to float32: strides {array.strides}; they must be multiples of 4 bytes")
    if on_gpu and any(size > 1 and step < 0 for size, step in zip(array.shape, array.strides, strict=True)):
        raise ShapeError(f"{name} runs backwards on the GPU: strides {array.strides}; they must not be negative there")


def _checked_out(out: object, wanted: tuple[int, ...], checked: dict[str, Any], gpu: Gpu | None) -> Any:
    G = _array("out", out, gpu, wanted)
    if G.shape != wanted:
        raise ShapeError(f"out has shape {G.shape}; G of these arrays is {wanted}")
    _check_layout("out", G)
    if G.read_only if isinstance(G, DeviceArray) else not G.flags.writeable:
        raise ShapeError("out is read-only; G is written into it")
    if _overlaps_itself(G):
        raise ShapeError(f"elements of out share memory: strides {G.strides} of shape {G.shape}; each needs its own")
    for name, array in checked.items():
        if _share(G, array):
            raise ShapeError(f"out shares memory with {name}; G needs memory of its own")
    return G


def _overlaps_itself(array: Any) -> bool:
    """Whether two elements may lie at one address: exact for views cut from a dense array, else on the safe side."""
    reach = 0
    for size, step in sorted(zip(array.shape, array.strides, strict=True), key=lambda axis: abs(axis[1])):
        if size > 1:
            if abs(step) < reach + array.itemsize:
                return True
            reach += (size - 1) * abs(step)
    return False


def _share(first: Any, second: Any) -> bool:
    if isinstance(first, DeviceArray) or isinstance(second, DeviceArray):
        if type(first) is not type(second):
            return False
        (begin, end), (start, stop) = first.span, second.span
        return begin < stop and start < end
    if not np.may_share_memory(first, second):
        return False
    try:
        return np.shares_memory(first, second, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
