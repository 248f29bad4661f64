"""What is right: the four equations in float64, by another route than any kernel takes.

Windows of F are a view (no shifted loops), the contraction is einsum's, and every float32 result is held against
a bound on the rounding that float32 may honestly show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import known

_CONTRACTION = {
    "standard": "bklmij,ijmn->bkln",
    "depthwise": "bklmij,ijm->bklm",
    "pointwise": "bklm,mn->bkln",
}
_ROWS_BYTES = 64 << 20  # the windows that einsum copies at a time
_UNIT = 2.0**-24  # half an ulp of float32 at 1


def reference_bytes(operator: str, shape: ConvShape) -> int:
    """Bytes that an Reference takes at most while it computes: every tensor in float64 and its magnitudes, a map four times."""
    F, G, G_hat = (prod(one) for one in (shape.F_shape(operator), shape.G_shape(operator), shape.G_shape("depthwise")))
    weights = sum(map(prod, shape.weight_shapes(operator)))
    windows = 0 if operator == "pointwise" else 8 * shape.D_K**2 * shape.D_G * shape.M * shape.batch  # of one row of G
    windows = min(windows * shape.D_G, max(windows, _ROWS_BYTES))
    return 8 * (2 * F + 2 * weights + 4 * G + (operator == "separable") * 2 * G_hat) + 3 * windows


def convolve(
    operator: str, F: np.ndarray, weights: tuple[np.ndarray, ...], stride: int = 1, biases: tuple[np.ndarray, ...] = ()
) -> np.ndarray:
    """G in float64, shape (batch, D_G, D_G, N), from F (batch, D_F, D_F, M) and the operator's weights.

    Equations 1 to 4 of DESIGN's numbering: standard, depthwise, pointwise, and separable as the third after the second.
    With `biases`, one for each of the weights, every map is min(max(sum + bias, 0), 6), as in a MobileNet.
    """
    return _convolve(operator, F, weights, stride, biases, lambda G: G.clip(0, 6))


def _convolve(
    operator: str,
    F: np.ndarray,
    weights: tuple[np.ndarray, ...],
    stride: int,
    biases: tuple[np.ndarray, ...],
    end: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    if known(operator) == "separable":
        G_hat = _convolve("depthwise", F, weights[:1], stride, biases[:1], end)
        return _convolve("pointwise", G_hat, weights[1:], 1, biases[1:], end)
    G = _sums(operator, F, weights, stride)
    return end(G + biases[0]) if biases else G


def _sums(operator: str, F: np.ndarray, weights: tuple[np.ndarray, ...], stride: int) -> np.ndarray:
    (K,) = (weight.astype(np.float64) for weight in weights)
    if operator == "pointwise":
        return np.einsum(_CONTRACTION[operator], F.astype(np.float64), K, optimize=True)
    D_K = K.shape[0]
    windows = sliding_window_view(F, (D_K, D_K), axis=(1, 2))[:, ::stride, ::stride]
    # A few rows of G at a time: the copy of their windows is D_K^2 times the map.
    rows = max(1, _ROWS_BYTES // (8 * windows[:, 0].size))
    parts = [
        np.einsum(_CONTRACTION[operator], windows[:, first : first + rows].astype(np.float64), K, optimize=True)
        for first in range(0, windows.shape[1], rows)
    ]
    return np.concatenate(parts, axis=1)


def tolerance(
    operator: str,
    shape: ConvShape,
    F: np.ndarray,
    weights: tuple[np.ndarray, ...],
    stride: int,
    biases: tuple[np.ndarray, ...] = (),
) -> np.ndarray:
    """Largest |G - G64| that float32 rounding explains, for each output.

    A sum of L products in any order errs by about sqrt(L) units of the sum of their magnitudes for data without
    a pattern (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019); a single lost term is far above that.
    """
    lengths = {
        "standard": shape.D_K**2 * shape.M,
        "depthwise": shape.D_K**2,
        "pointwise": shape.M,
        "separable": shape.D_K**2 + shape.M,
    }
    # Cut off at 0 and 6, a map differs from the right one by no more than before.
    K, bias = (tuple(np.abs(array) for array in arrays) for arrays in (weights, biases))
    magnitude = _convolve(operator, np.abs(F), K, stride, bias, lambda G: G)
    return (8 + 2 * np.sqrt(lengths[operator])) * _UNIT * magnitude + np.finfo(np.float32).tiny


class Reference:
    """The right answer to one operator on one set of arrays, and the verdict on a kernel's answer.

    With `images`, numbers within the batch, those alone are computed and compared; of the others G must be finite.
    """

    def __init__(
        self,
        operator: str,
        shape: ConvShape,
        F: np.ndarray,
        weights: tuple[np.ndarray, ...],
        biases: tuple[np.ndarray, ...] = (),
        images: Sequence[int] | None = None,
    ) -> None:
        stride = 1 if operator == "pointwise" else shape.stride
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
