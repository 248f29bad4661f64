"""What is right: the four equations in float64, by another route than any kernel takes.

Windows of F are a view (no shifted loops), the contraction is einsum's, and every float32 result is held against
a bound on the rounding that float32 may honestly show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sepconv_bench.model.operators import Convolution, Operator, get_operator
from sepconv_bench.model.shapes import ConvShape

_ROWS_BYTES = 64 << 20  # the windows that einsum copies at a time
_UNIT = 2.0**-24  # half an ulp of float32 at 1


def reference_bytes(operator: Operator | str, shape: ConvShape) -> int:
    """Bytes that a Reference takes at most while it computes: every tensor in float64 and its magnitudes, a map four times."""
    operator = get_operator(operator)
    *inner, last = (shape.batch * shape.D_G**2 * one.out_channels(shape) for one in operator.convolutions)
    outer = 2 * prod(operator.F_shape(shape)) + 2 * sum(map(prod, operator.weight_shapes(shape))) + 4 * last
    windows = 0
    if any(one.windowed for one in operator.convolutions):
        windows = 8 * shape.D_K**2 * shape.D_G * shape.M * shape.batch  # of one row of G
    windows = min(windows * shape.D_G, max(windows, _ROWS_BYTES))
    return 8 * (outer + 2 * sum(inner)) + 3 * windows


def convolve(
    operator: Operator | str,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    stride: int = 1,
    biases: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """G in float64, shape (batch, D_G, D_G, N), from F (batch, D_F, D_F, M) and the operator's weights.

    The operator's convolutions, one on the map that the other has given. With `biases`, one for each of the weights, every map
    is min(max(sum + bias, 0), 6), as in a MobileNet.
    """
    return _convolve(get_operator(operator), F, weights, stride, biases, lambda G: G.clip(0, 6))


def _convolve(
    operator: Operator,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    stride: int,
    biases: Sequence[np.ndarray],
    epilogue: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    G = F
    for number, (one, K) in enumerate(zip(operator.convolutions, weights, strict=True)):
        G = _sums(one, G, K, stride if one.windowed else 1)
        if len(biases):
            G = epilogue(G + biases[number])
    return G


def _sums(convolution: Convolution, F: np.ndarray, K: np.ndarray, stride: int) -> np.ndarray:
    K = K.astype(np.float64)
    if not convolution.windowed:
        return np.einsum(convolution.contraction, F.astype(np.float64), K, optimize=True)
    D_K = K.shape[0]
    windows = sliding_window_view(F, (D_K, D_K), axis=(1, 2))[:, ::stride, ::stride]
    # A few rows of G at a time: the copy of their windows is D_K^2 times the map.
    rows = max(1, _ROWS_BYTES // (8 * windows[:, 0].size))
    parts = [
        np.einsum(convolution.contraction, windows[:, first : first + rows].astype(np.float64), K, optimize=True)
        for first in range(0, windows.shape[1], rows)
    ]
    return np.concatenate(parts, axis=1)


def tolerance(
    operator: Operator | str,
    shape: ConvShape,
    F: np.ndarray,
    weights: Sequence[np.ndarray],
    stride: int,
    biases: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Largest |G - G64| that float32 rounding explains, for each output.

    A sum of L products in any order errs by about sqrt(L) units of the sum of their magnitudes for data without
    a pattern (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019); a single lost term is far above that.
    """
    operator = get_operator(operator)
    # Cut off at 0 and 6, a map differs from the right one by no more than before.
    K, bias = (tuple(np.abs(array) for array in arrays) for arrays in (weights, biases))
    magnitude = _convolve(operator, np.abs(F), K, stride, bias, lambda G: G)
    return (8 + 2 * np.sqrt(operator.terms(shape))) * _UNIT * magnitude + np.finfo(np.float32).tiny


class Reference:
    """The right answer to one operator on one set of arrays, and the verdict on a kernel's answer.

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
        stride = operator.stride(shape)
        self.images = range(len(F)) if images is None else images
        if images is not None:
            F = F[list(images)]
        self.G = convolve(operator, F, weights, stride, biases)
        self.tolerance = tolerance(operator, shape, F, weights, stride, biases)

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
