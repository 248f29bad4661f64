"""What is right: the four equations in float64, by another route than any kernel takes.

Windows of F are a view (no shifted loops), the contraction is einsum's, and every float32 result is held against
a bound on the rounding that float32 may honestly show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sepconv_bench.model.operators import Convolution, Operator, get_operator
from sepconv_bench.model.shapes import ConvShape

_ROWS_BYTES = 64 << 20  # the windows that einsum copies at a time
_UNIT = 2.0**-24  # half an ulp of float32 at 1
# By how much of itself a map may move where a kernel rounds it: half an ulp of what it is stored in. Of TF32, where only an
# intermediate map is rounded, a whole one: the instruction cuts off what it has no bits for.
_MAP_UNITS = {"f32": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-8, "fp16": 2.0**-11}
_SMALLEST = 2.0**-25  # and near zero: half of float16's least number
_DEVIATIONS = 8  # of a sum of independent errors, which 1 in 10^13 exceeds (Hoeffding's inequality)


def reference_bytes(operator: Operator | str, shape: ConvShape) -> int:
    """Bytes that a Reference takes at most while it computes: every tensor in float64 and its magnitudes, a map four times."""
    operator = get_operator(operator)
    pixels = prod(shape.G_map)
    *inner, last = (shape.batch * pixels * one.out_channels(shape) for one in operator.convolutions)
    rounding = 0 if shape.dtype == "f32" else 4 * last + 3 * sum(inner)
    outer = 2 * prod(operator.seen_shape(shape)) + 2 * sum(map(prod, operator.weight_shapes(shape))) + 4 * last
    windows = 0
    if any(one.windowed for one in operator.convolutions):
        windows = 8 * prod(shape.window) * shape.G_map[1] * shape.M * shape.multiplier * shape.batch  # of one row of G
    windows = min(windows * shape.D_G, max(windows, _ROWS_BYTES))
    return 8 * (outer + 2 * sum(inner) + rounding) + 3 * windows


def convolve(
    operator: Operator | str,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    stride: int | tuple[int, int] = 1,
    biases: Sequence[np.ndarray] = (),
    *,
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> np.ndarray:
    """G in float64, shape (batch, D_G, D_G_w, N), from F (batch, D_F, D_F_w, M) and the operator's weights.

    The operator's convolutions, one on the map that the other has given. Groups and the channel multiplier are those of the
    weights' shapes. `padding`: rows of zeros above and below F, columns left and right of it. With `biases`, one for each of
    the weights, every map is min(max(sum + bias, 0), 6), as in a MobileNet.
    """
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    steps = _Steps(strides, dilation, padding)
    return _convolve(get_operator(operator), F, weights, steps, biases, lambda G: G.clip(0, 6))


class _Steps(NamedTuple):
    """How the window of the first convolution moves."""

    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def of(cls, operator: Operator, shape: ConvShape) -> _Steps:
        first = operator.convolutions[0]
        return cls(first.strides(shape), first.dilations(shape), first.padding(shape))


def _convolve(
    operator: Operator,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    steps: _Steps,
    biases: Sequence[np.ndarray],
    epilogue: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    G = F
    for number, (one, K) in enumerate(zip(operator.convolutions, weights, strict=True)):
        G = _sums(one, G, K, steps)
        if len(biases):
            G = epilogue(G + biases[number])
    return G


def _sums(convolution: Convolution, F: np.ndarray, K: np.ndarray, steps: _Steps) -> np.ndarray:
    K = K.astype(np.float64)
    if not convolution.windowed:
        return np.einsum(convolution.contraction, F.astype(np.float64), K, optimize=True)
    top, bottom, left, right = steps.padding
    if any(steps.padding):
        F = np.pad(F, ((0, 0), (top, bottom), (left, right), (0, 0)))
    (down, along), (apart, apart_w) = steps.strides, steps.dilations
    extents = [(size - 1) * dilation + 1 for size, dilation in zip(K.shape[:2], steps.dilations, strict=True)]
    windows = sliding_window_view(F, extents, axis=(1, 2))[:, ::down, ::along, :, ::apart, ::apart_w]
    M, N = F.shape[3], K.shape[-1]
    if convolution.depthwise:
        return _by_rows(convolution.contraction, windows, K, N // M)
    # Each group by itself: its input channels, its output channels.
    inputs = K.shape[2]
    groups = M // inputs
    outputs = N // groups
    parts = [
        _by_rows(
            convolution.contraction,
            windows[:, :, :, group * inputs : (group + 1) * inputs],
            K[..., group * outputs : (group + 1) * outputs],
        )
        for group in range(groups)
    ]
    return parts[0] if groups == 1 else np.concatenate(parts, axis=3)


def _by_rows(contraction: str, windows: np.ndarray, K: np.ndarray, multiplier: int = 1) -> np.ndarray:
    """A few rows of G at a time: the copy of their windows is D_K^2 times the map. Each channel comes `multiplier` times."""
    rows = max(1, _ROWS_BYTES // (8 * windows[:, 0].size * multiplier))
    parts = []
    for first in range(0, windows.shape[1], rows):
        some = windows[:, first : first + rows].astype(np.float64)
        parts.append(np.einsum(contraction, some.repeat(multiplier, axis=3) if multiplier > 1 else some, K, optimize=True))
    return np.concatenate(parts, axis=1)


def tolerance(
    operator: Operator | str,
    shape: ConvShape,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Largest |G - G64| that float32 rounding explains, for each output.

    A sum of L products in any order errs by about sqrt(L) units of the sum of their magnitudes for data without
    a pattern (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019); a single lost term is far above that.
    """
    operator = get_operator(operator)
    # Cut off at 0 and 6, a map differs from the right one by no more than before.
    K, bias = (tuple(np.abs(array) for array in arrays) for arrays in (weights, biases))
    magnitude = _convolve(operator, np.abs(F), K, _Steps.of(operator, shape), bias, lambda G: G)
    return (8 + 2 * np.sqrt(operator.terms(shape))) * _UNIT * magnitude + np.finfo(np.float32).tiny


def map_rounding(
    operator: Operator | str, shape: ConvShape, F: np.ndarray, weights: Sequence[np.ndarray], G: np.ndarray
) -> np.ndarray:
    """How far off G may be where maps are rounded to the shape's dtype, for each output of G (float64).

    Stored in two bytes, G moves by up to u |G|, with u = 2^-8 for bfloat16 and 2^-11 for float16. Of separable the
    intermediate map G_hat is rounded as well, for TF32 before it is multiplied (u = 2^-10): each term of the sum moves by
    up to u |K_tilde G_hat|. That is u sum |K_tilde G_hat| at worst, and independent errors stay within
    8 u sqrt(sum (K_tilde G_hat)^2) of each other; the lesser of both is allowed.
    """
    operator, unit = get_operator(operator), _MAP_UNITS[shape.dtype]
    allowed = np.zeros_like(G) if shape.itemsize == 4 else unit * np.abs(G) + _SMALLEST
    if len(operator.convolutions) == 1 or not unit:
        return allowed
    first, last = operator.convolutions
    steps = _Steps.of(operator, shape)
    G_hat, K_tilde = np.abs(_sums(first, F, weights[0], steps)), np.abs(weights[1].astype(np.float64))
    worst = _sums(last, G_hat, K_tilde, steps)
    likely = _DEVIATIONS * np.sqrt(_sums(last, G_hat**2, K_tilde**2, steps))
    return allowed + unit * np.minimum(worst, likely) + _SMALLEST * K_tilde.sum(axis=0)


class Reference:
    """The right answer to one operator on one set of arrays, and the verdict on a kernel's answer. F comes without its padding.
    F and the weights are values of the shape's dtype: what may be off is float32's sums, and what rounding maps adds.

    With `images`, numbers within the batch, those alone are computed and compared; of the others G must be finite.
    """

    def __init__(
        self,
        operator: Operator | str,
        shape: ConvShape,
        F: np.ndarray,
        weights: Sequence[np.ndarray],
        biases: Sequence[np.ndarray] = (),
        images: Sequence[int] | None = None,
    ) -> None:
        operator = get_operator(operator)
        self.images = range(len(F)) if images is None else images
        if images is not None:
            F = F[list(images)]
        strides, dilation, padding = _Steps.of(operator, shape)
        self.G = convolve(operator, F, weights, strides, biases, dilation=dilation, padding=padding)
        self.tolerance = tolerance(operator, shape, F, weights, biases)
        if shape.dtype != "f32":
            self.tolerance += map_rounding(operator, shape, F, weights, self.G)

    def error(self, G: np.ndarray) -> float:
        """Worst error of G in units of what rounding explains: at most 1 is right; NaN or Inf in G is infinity."""
        if not np.isfinite(G).all():
            return float("inf")
        return self.error_of(G if len(self.images) == len(G) else G[list(self.images)])

    def error_of(self, images: np.ndarray) -> float:
        """The same of `images` of G alone."""
        if not np.isfinite(images).all():
            return float("inf")
        return float((np.abs(images - self.G) / self.tolerance).max())
