"""The numpy peer: windows of F copied into a matrix once a launch, then BLAS (im2col and GEMM). Always there."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sepconv_bench.kernels.problem import Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import DEPTHWISE


def _standard(F: np.ndarray, K: np.ndarray, G: np.ndarray, stride: int) -> Launch:
    D_K, _, M, N = K.shape
    windows = sliding_window_view(F, (D_K, D_K), axis=(1, 2))[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    require_memory(windows.size * 4, "the windows of F as a matrix")
    columns = np.empty(windows.shape, np.float32)
    matrix = columns.reshape(-1, D_K * D_K * M)
    multiply = _matmul(matrix, K.reshape(-1, N), G)

    def launch() -> None:
        np.copyto(columns, windows)
        multiply()

    return launch


def _depthwise(F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, stride: int) -> Launch:
    D_K, D_G = K_hat.shape[0], G.shape[1]
    reach = (D_G - 1) * stride + 1
    taps = [(F[:, i : i + reach : stride, j : j + reach : stride], K_hat[i, j]) for i in range(D_K) for j in range(D_K)]
    product = np.empty(G.shape, np.float32)

    def launch() -> None:
        (shifted, weight), *others = taps
        np.multiply(shifted, weight, out=G)
        for shifted, weight in others:
            np.multiply(shifted, weight, out=product)
            np.add(G, product, out=G)

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


def _pointwise(F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray) -> Launch:
    if F.flags.c_contiguous:
        return _matmul(F.reshape(-1, F.shape[3]), K_tilde, G)
    return _standard(F, K_tilde[np.newaxis, np.newaxis], G, 1)


_numpy = partial(kernel, library="numpy")


@_numpy("cpu.standard.numpy", algorithm="im2col")
def standard(problem: Problem) -> Launch:
    return _standard(problem.F, problem.K, problem.G, problem.stride)


@_numpy("cpu.depthwise.numpy")
def depthwise(problem: Problem) -> Launch:
    return _depthwise(problem.F, problem.K_hat, problem.G, problem.stride)


@_numpy("cpu.pointwise.numpy")
def pointwise(problem: Problem) -> Launch:
    return _pointwise(problem.F, problem.K_tilde, problem.G)


@_numpy("cpu.separable.numpy")
def separable(problem: Problem) -> Launch:
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    filter_channels = _depthwise(problem.F, problem.K_hat, G_hat, problem.stride)
    combine = _pointwise(G_hat, problem.K_tilde, problem.G)

    def launch() -> None:
        filter_channels()
        combine()

    return launch
