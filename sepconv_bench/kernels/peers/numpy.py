"""The numpy peer: windows of F copied into a matrix once a launch, then BLAS (im2col and GEMM). Always there."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import DEPTHWISE
from sepconv_bench.model.shapes import PROPERTIES


def _standard(F: np.ndarray, K: np.ndarray, G: np.ndarray, one: GroupedConvolution) -> Launch:
    D_K, D_K_w, M, N = K.shape  # M of one group
    taps = _windows(F, D_K, D_K_w, one)
    windows = taps.reshape(*taps.shape[:3], one.groups, M, D_K, D_K_w).transpose(0, 1, 2, 3, 5, 6, 4)
    require_memory(windows.size * 4, "the windows of F as a matrix")
    columns = np.empty(windows.shape, np.float32)
    rows = columns.reshape(-1, one.groups, D_K * D_K_w * M)
    multiply = _matmul(rows[:, 0], K.reshape(-1, N), G) if one.groups == 1 else _grouped_matmul(rows, K, G)

    def launch() -> None:
        np.copyto(columns, windows)
        multiply()

    return launch


def _windows(F: np.ndarray, D_K: int, D_K_w: int, one: GroupedConvolution) -> np.ndarray:
    """A view of F: (batch, D_G, D_G_w, M, D_K, D_K_w)."""
    (down, along), (apart, apart_w) = one.strides, one.dilations
    extent = ((D_K - 1) * apart + 1, (D_K_w - 1) * apart_w + 1)
    return sliding_window_view(F, extent, axis=(1, 2))[:, ::down, ::along, :, ::apart, ::apart_w]


def _depthwise(F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, one: GroupedConvolution) -> Launch:
    D_K, D_K_w, N = K_hat.shape
    windows, sums = _windows(F, D_K, D_K_w, one), G
    if F.shape[3] < N:  # what becomes of a channel lies side by side
        windows, sums = windows[:, :, :, :, np.newaxis], G.reshape(*G.shape[:3], F.shape[3], -1)
    taps = [(windows[..., i, j], K_hat[i, j].reshape(sums.shape[3:])) for i in range(D_K) for j in range(D_K_w)]
    product = np.empty(sums.shape, np.float32)

    def launch() -> None:
        (shifted, weight), *others = taps
        np.multiply(shifted, weight, out=sums)
        for shifted, weight in others:
            np.multiply(shifted, weight, out=product)
            np.add(sums, product, out=sums)

    return launch


def _grouped_matmul(rows: np.ndarray, K: np.ndarray, G: np.ndarray) -> Launch:
    """A GEMM a group, of rows (pixels, groups, taps) and K (D_K, D_K_w, M, N)."""
    by_group, groups = rows.transpose(1, 0, 2), rows.shape[1]
    weights = np.ascontiguousarray(K.reshape(rows.shape[2], groups, -1).transpose(1, 0, 2))
    buffer = np.empty((groups, len(rows), weights.shape[2]), np.float32)
    target = G.reshape(*G.shape[:3], groups, -1)

    def launch() -> None:
        np.matmul(by_group, weights, out=buffer)
        np.copyto(target, buffer.transpose(1, 0, 2).reshape(target.shape))

    return launch


def _matmul(rows: np.ndarray, weights: np.ndarray, G: np.ndarray) -> Launch:
    """G = rows x weights by one GEMM; a G of other strides than C order gets it through a buffer."""
    if G.flags.c_contiguous:
        out = G.reshape(len(rows), -1)
        return lambda: np.matmul(rows, weights, out=out)
    buffer = np.empty((len(rows), weights.shape[1]), np.float32)

    def launch() -> None:
        np.matmul(rows, weights, out=buffer)
        np.copyto(G, buffer.reshape(G.shape))

    return launch


def _pointwise(F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray, one: GroupedConvolution) -> Launch:
    if F.flags.c_contiguous:
        return _matmul(F.reshape(-1, F.shape[3]), K_tilde, G)
    return _standard(F, K_tilde[np.newaxis, np.newaxis], G, one)


_numpy = partial(kernel, library="numpy", takes=PROPERTIES)


@_numpy("cpu.standard.numpy", algorithm="im2col")
def standard(problem: Problem) -> Launch:
    return _standard(problem.F, problem.K, problem.G, *problem.convolutions)


@_numpy("cpu.depthwise.numpy")
def depthwise(problem: Problem) -> Launch:
    return _depthwise(problem.F, problem.K_hat, problem.G, *problem.convolutions)


@_numpy("cpu.pointwise.numpy")
def pointwise(problem: Problem) -> Launch:
    return _pointwise(problem.F, problem.K_tilde, problem.G, *problem.convolutions)


@_numpy("cpu.separable.numpy")
def separable(problem: Problem) -> Launch:
    first, second = problem.convolutions
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    filter_channels = _depthwise(problem.F, problem.K_hat, G_hat, first)
    combine = _pointwise(G_hat, problem.K_tilde, problem.G, second)

    def launch() -> None:
        filter_channels()
        combine()

    return launch
