"""The arrays of one operator on one shape: checked when a user brings them, drawn when they are to be timed.

Everything that compiled code relies on is established here. It has no bounds checks: nothing wrong may get past.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
import psutil

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.model.dtypes import Dtype
from sepconv_bench.model.operators import Operator, get_operator
from sepconv_bench.model.rounding import rounded
from sepconv_bench.model.shapes import ConvShape, whole

_LINE = 64  # bytes of a cache line; every drawn array starts on one
_PAGE = 4096
_F_LAYOUT = "(D_F, D_F, M) or (batch, D_F, D_F, M)"


class GpuMemory(Protocol):
    """What it takes to work on arrays that lie on a GPU."""

    def host(self, array: DeviceArray) -> np.ndarray:
        """A copy on the host."""

    def empty(self, shape: tuple[int, ...]) -> Any:
        """A new array on the GPU."""


@dataclass(frozen=True)
class GroupedConvolution:
    """A convolution as libraries take it: weights (N, M / groups, D_K, D_K_w), of a problem a view of its own; strides and
    dilations down and along a row; padding above, below, left and right.

    Of a network it also has a bias (N,), which ends the map together with ReLU6.
    """

    weight: np.ndarray
    strides: tuple[int, int] = (1, 1)
    groups: int = 1
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    bias: np.ndarray | None = None

    @property
    def stride(self) -> int:
        """Of an adapter that takes one for both axes."""
        return self.strides[0]

    def width(self, D_F: int) -> int:
        """Columns of the map that it makes of one of D_F columns, undilated."""
        return (D_F + sum(self.padding[2:]) - self.weight.shape[-1]) // self.strides[1] + 1


@dataclass(frozen=True)
class Problem:
    """What a kernel binds to. F is (batch, D_F, D_F_w, M), G (batch, D_G, D_G_w, N), or M x multiplier channels for depthwise;
    for pointwise F is the intermediate map (batch, D_G, D_G_w, M x multiplier) and `strides` are 1.

    With padding, F is the map with its zeros around it, as windows see it: a kernel need not know of any padding. A library
    that pads by itself takes `interior`, which is F without them, and the padding of `convolutions`.

    All are float32, of a drawn problem values of the shape's dtype, with contiguous channels; the other strides of F and G are
    free, weights are C-contiguous.
    G overlaps nothing else. A launch must write every element of G and read none.
    For a CUDA kernel that is called with arrays on the GPU, F and G are their descriptions, `DeviceArray`.
    """

    operator: Operator
    shape: ConvShape
    F: np.ndarray
    weights: tuple[np.ndarray, ...]
    G: np.ndarray

    @property
    def interior(self) -> np.ndarray:
        """F without its padding."""
        top, bottom, left, right = self.operator.convolutions[0].padding(self.shape)
        return self.F[:, top : self.F.shape[1] - bottom, left : self.F.shape[2] - right]

    @property
    def stride(self) -> int:
        """Step of the window over F: the shape's, but 1 for pointwise, whose input is the intermediate map."""
        return self.operator.stride(self.shape)

    @property
    def strides(self) -> tuple[int, int]:
        """Steps of the window over F, down and along a row."""
        return self.operator.convolutions[0].strides(self.shape)

    @property
    def dilations(self) -> tuple[int, int]:
        """Pixels from one tap of the window to the next, down and along a row."""
        return self.operator.convolutions[0].dilations(self.shape)

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
        names = [weight.name for weight in self.operator.weights]
        if name not in names:
            raise AttributeError(f"{self.operator} has no {name}; its weights are {', '.join(names)}")
        return self.weights[names.index(name)]

    @property
    def convolutions(self) -> tuple[GroupedConvolution, ...]:
        """The operator's convolutions, each to be computed on the map that the one before it gives."""
        found = []
        for one, weight in zip(self.operator.convolutions, self.weights, strict=True):
            groups = one.groups(self.shape)
            by_tap = weight.reshape(*one.window(self.shape), -1, one.out_channels(self.shape)).transpose(3, 2, 0, 1)
            steps = one.strides(self.shape), groups, one.dilations(self.shape), one.padding(self.shape)
            found.append(GroupedConvolution(by_tap, *steps))
        return tuple(found)

    @classmethod
    def draw(cls, operator: Operator | str, shape: ConvShape, rng: np.random.Generator) -> Problem:
        """Standard normal F and weights, rounded to the shape's dtype, G all NaN. ShapeError where memory is short."""
        operator = get_operator(operator)
        require_memory(arrays_bytes(operator, shape), f"the arrays of {operator} on {shape}")

        def drawn(size: tuple[int, ...]) -> np.ndarray:
            return rounded(rng.standard_normal(size, np.float32), shape.dtype)

        F = _with_halo(drawn(operator.F_shape(shape)), operator, shape)
        weights = tuple(map(drawn, operator.weight_shapes(shape)))
        return cls(operator, shape, F, weights, np.full(operator.G_shape(shape), np.nan, np.float32))

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


def arrays_bytes(operator: Operator | str, shape: ConvShape) -> int:
    """Bytes of F with its padding, the weights and G in float32."""
    operator = get_operator(operator)
    return 4 * (operator.elements(shape) + prod(operator.seen_shape(shape)) - prod(operator.F_shape(shape)))


def _with_halo(F: np.ndarray, operator: Operator, shape: ConvShape) -> np.ndarray:
    """F within the zeros that pad it; F itself where nothing does."""
    top, _, left, _ = operator.convolutions[0].padding(shape)
    seen = operator.seen_shape(shape)
    if F.shape == seen:
        return F
    padded = np.zeros(seen, np.float32)
    padded[:, top : top + F.shape[1], left : left + F.shape[2]] = F
    return padded


def require_memory(needed: int, what: str) -> None:
    """ShapeError unless `needed` bytes are free, before anything of that size is allocated."""
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


class Steps(NamedTuple):
    """What a caller says of the window beside its weights, numbers, pairs (down, along a row), or padding as
    `ConvShape.with_padding` takes it; and in which dtype it is computed."""

    stride: object = 1
    padding: object = 0
    dilation: object = 1
    groups: object = 1
    multiplier: object = 1
    dtype: Dtype = "f32"


def problem_from_arrays(
    operator: Operator | str,
    arrays: tuple[object, ...],
    steps: Steps | None = None,
    out: object = None,
    gpu: GpuMemory | None = None,
) -> tuple[Problem, Any]:
    """The problem that these arrays pose, and G in the rank that F came in. `arrays` is F and then the weights.

    With `gpu` they may also lie there; G then lies where F does, unless `out` says otherwise.
    ShapeError says what came and what would fit, before any compiled code runs.
    """
    operator = get_operator(operator)
    F, weights = _checked_arrays(operator, arrays, gpu)
    maps: Any = F if F.ndim == 4 else F[np.newaxis]
    shape = _shape(operator, maps, weights, steps or Steps())
    if not operator.convolutions[0].windowed:
        # A window of one pixel sees each step-th pixel, which is all that there is of the map then.
        maps = maps[:, :: shape.strides[0], :: shape.strides[1]]
        shape = replace(shape, stride=1, stride_w=0)
    if shape.itemsize != 4 and isinstance(F, DeviceArray):
        raise ShapeError(
            f"F lies on the GPU as float32; in {shape.dtype} it must be a numpy array, which is rounded on its way"
        )
    wanted = operator.G_shape(shape)[4 - F.ndim :]
    given = {"F": F} | {weight.name: array for weight, array in zip(operator.weights, weights, strict=True)}
    written, G = _output(operator, shape, wanted, given, out, gpu)
    # As much of F as the windows touch: a last row or column that no window reaches is left out.
    _, rows, width, _ = operator.F_shape(shape)
    copied = sum(weight.size for weight in weights if not weight.flags.c_contiguous)
    require_memory(4 * copied, "contiguous copies of the weights")
    contiguous = tuple(np.ascontiguousarray(weight) for weight in weights)
    maps = maps[:, :rows, :width]
    if maps.shape != operator.seen_shape(shape):
        if isinstance(maps, DeviceArray):
            raise ShapeError("F lies on the GPU, where nothing pads it; bring it with its zeros around it, and say no padding")
        require_memory(4 * prod(operator.seen_shape(shape)), "F with its padding")
        maps = _with_halo(maps, operator, shape)
    return Problem(operator, shape, maps, contiguous, written if written.ndim == 4 else written[np.newaxis]), G


def _checked_arrays(operator: Operator, arrays: tuple[object, ...], gpu: GpuMemory | None) -> tuple[Any, list[np.ndarray]]:
    """F and the weights, each of a rank and a layout that fit."""
    names = ("F", *(weight.name for weight in operator.weights))
    if len(arrays) != len(names):
        raise ShapeError(f"{operator} takes the {len(names)} arrays {', '.join(names)}; {len(arrays)} came")
    F = _checked("F", arrays[0], gpu, _F_LAYOUT, (3, 4))
    weights = [
        _checked(weight.name, array, gpu, weight.layout, (len(weight.axes),))
        for weight, array in zip(operator.weights, arrays[1:], strict=True)
    ]
    if gpu is not None:
        # Weights are packed by the host.
        weights = [gpu.host(weight) if isinstance(weight, DeviceArray) else weight for weight in weights]
    return F, weights


def _output(
    operator: Operator,
    shape: ConvShape,
    wanted: tuple[int, ...],
    given: dict[str, Any],
    out: object,
    gpu: GpuMemory | None,
) -> tuple[Any, Any]:
    """What G is written into, as it is checked and as the caller gets it: `out`, or a new array where F lies."""
    on_gpu = out is None and isinstance(given["F"], DeviceArray)
    G = out
    if on_gpu:
        assert gpu is not None
        G = gpu.empty(wanted)
    else:
        *inner, _ = (shape.batch * prod(shape.G_map) * one.out_channels(shape) for one in operator.convolutions)
        needed = 4 * prod(wanted) * (out is None) + 4 * sum(inner)
        require_memory(needed, f"the maps that {operator} gives, G {wanted},")
    if G is None:
        G = np.full(wanted, np.nan, np.float32)
    return _checked_out(G, wanted, given, gpu), G


def _shape(operator: Operator, maps: Any, weights: list[np.ndarray], steps: Steps) -> ConvShape:
    """The sizes that F and the weights agree on."""
    batch, *size, M = maps.shape
    first = operator.convolutions[0]
    groups, multiplier = (whole(name, getattr(steps, name)) for name in ("groups", "multiplier"))
    for name, number, takes in (
        ("groups", groups, first.windowed and not first.depthwise),
        ("multiplier", multiplier, first.depthwise),
    ):
        if number > 1 and not takes:
            raise ShapeError(f"{name} is {number}; {operator} has none: groups go with standard, a multiplier with depthwise")
    window = weights[0].shape[:2] if first.windowed else (1, 1)
    N = M if operator.convolutions[-1].depthwise else weights[-1].shape[-1]
    shape = ConvShape.of_input(
        *(window, M, N, tuple(size), steps.stride, steps.padding, steps.dilation),  # type: ignore[arg-type]
        **{"groups": groups, "multiplier": multiplier, "batch": batch},
    )
    shape = replace(shape, dtype=steps.dtype)
    if not first.windowed and any(shape.padding):
        raise ShapeError(f"padding is {steps.padding!r}; {operator} sees single pixels and takes none")
    for weight, array, expected in zip(operator.weights, weights, operator.weight_shapes(shape), strict=True):
        if array.shape != expected:
            came = f"{weight.name} has shape {array.shape} but F has M={M} channels; {weight.name} must be"
            plain = groups == multiplier == 1
            raise ShapeError(
                f"{came} {weight.layout}" if plain else f"{came} {expected}, of groups {groups}, multiplier {multiplier}"
            )
    return shape


def _checked(name: str, array: object, gpu: GpuMemory | None, layout: str, ranks: tuple[int, ...]) -> Any:
    found = _array(name, array, gpu, layout)
    if found.ndim not in ranks:
        raise ShapeError(f"{name} has shape {found.shape}, rank {found.ndim}; it must be {layout}")
    _check_layout(name, found)
    return found


def _array(name: str, array: object, gpu: GpuMemory | None, wanted: object) -> Any:
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


def _checked_out(out: object, wanted: tuple[int, ...], checked: dict[str, Any], gpu: GpuMemory | None) -> Any:
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
