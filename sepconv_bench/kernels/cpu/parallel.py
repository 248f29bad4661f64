"""Rung 2, parallel: all threads, and an order of loops in which memory is walked along its channels.

A strip of output pixels that fits into L1 is one unit of work. The innermost loop runs over contiguous output
channels, so it vectorises without reordering a sum; four input channels at a time share each load and store of G.
Expected over loops: the vector width times the threads, less what the traffic of G between L1 and registers costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.launch import compiled, flat
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.operators import DEPTHWISE
from sepconv_bench.model.shapes import PROPERTIES

_STRIP_FLOATS = 4096  # of G in one strip: 16 KiB, half of the smallest L1d in use
_CONTRACT = {"contract"}  # a multiplication and an addition may become one FMA; nothing is reordered


class Window(NamedTuple):
    """The window of a convolution, and how it moves: rows and columns, stride and dilation down and along a row."""

    rows: int
    columns: int
    stride: int
    stride_w: int
    dilation: int
    dilation_w: int


@njit(error_model="numpy", fastmath=_CONTRACT, inline="always")
def _add_products(G, g, N, F, f, M, K, w, step):
    """G[g + n] += sum_m F[f + m] K[w + m step + n] for n < N: one tap of one pixel."""
    G_n = G[g : g + N]
    whole = M - M % 4
    for m in range(0, whole, 4):
        f0, f1, f2, f3 = F[f + m], F[f + m + 1], F[f + m + 2], F[f + m + 3]
        first = w + m * step
        K0 = K[first : first + N]
        K1 = K[first + step : first + step + N]
        K2 = K[first + 2 * step : first + 2 * step + N]
        K3 = K[first + 3 * step : first + 3 * step + N]
        for n in range(N):
            G_n[n] += f0 * K0[n] + f1 * K1[n] + f2 * K2[n] + f3 * K3[n]
    for m in range(whole, M):
        f0 = F[f + m]
        K0 = K[w + m * step : w + m * step + N]
        for n in range(N):
            G_n[n] += f0 * K0[n]


@compile_once
@njit(error_model="numpy", fastmath=_CONTRACT, parallel=True)
def _standard(F, at_F, K, G, at_G, window, M, N, D_G, D_G_w, batch, groups, strip):
    strips = (D_G_w + strip - 1) // strip
    inputs, outputs = M // groups, N // groups
    for work in prange(batch * D_G * strips):
        b, k, first = work // (D_G * strips), work // strips % D_G, work % strips * strip
        g_row = at_G[0] + b * at_G[1] + k * at_G[2]
        last = min(first + strip, D_G_w)
        for l in range(first, last):
            G[g_row + l * at_G[3] : g_row + l * at_G[3] + N] = 0
        for i in range(window.rows):
            f_row = at_F[0] + b * at_F[1] + (k * window.stride + i * window.dilation) * at_F[2]
            for j in range(window.columns):
                w = (i * window.columns + j) * inputs * N
                for l in range(first, last):
                    g, f = g_row + l * at_G[3], f_row + (l * window.stride_w + j * window.dilation_w) * at_F[3]
                    for group in range(groups):
                        n = group * outputs
                        _add_products(G, g + n, outputs, F, f + group * inputs, inputs, K, w + n, N)


@compile_once
@njit(error_model="numpy", fastmath=_CONTRACT, parallel=True)
def _depthwise(F, at_F, K_hat, G, at_G, window, M, multiplier, D_G, D_G_w, batch):
    N = M * multiplier
    for work in prange(batch * D_G):
        b, k = work // D_G, work % D_G
        g_row = at_G[0] + b * at_G[1] + k * at_G[2]
        f_corner = at_F[0] + b * at_F[1] + k * window.stride * at_F[2]
        for l in range(D_G_w):
            g = g_row + l * at_G[3]
            G_n = G[g : g + N]
            G_n[:] = 0
            for i in range(window.rows):
                for j in range(window.columns):
                    f = f_corner + i * window.dilation * at_F[2] + (l * window.stride_w + j * window.dilation_w) * at_F[3]
                    F_m = F[f : f + M]
                    w = (i * window.columns + j) * N
                    K_n = K_hat[w : w + N]
                    if multiplier == 1:
                        for m in range(M):
                            G_n[m] += K_n[m] * F_m[m]
                    else:
                        for m in range(M):
                            for n in range(m * multiplier, (m + 1) * multiplier):
                                G_n[n] += K_n[n] * F_m[m]


@kernel("cpu.standard.parallel", library=OURS, takes=PROPERTIES)
def standard(problem: Problem) -> Launch:
    return _bind_standard(problem.F, problem.K, problem.G, _window(problem), problem.convolutions[0].groups)


@kernel("cpu.depthwise.parallel", library=OURS, takes=PROPERTIES)
def depthwise(problem: Problem) -> Launch:
    return _bind_depthwise(problem.F, problem.K_hat, problem.G, _window(problem))


@kernel("cpu.pointwise.parallel", library=OURS, takes=PROPERTIES)
def pointwise(problem: Problem) -> Launch:
    return _bind_pointwise(problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.parallel", library=OURS, takes=PROPERTIES)
def separable(problem: Problem) -> Launch:
    """Depthwise into a map that is allocated here, then pointwise: two passes."""
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    filter_channels = _bind_depthwise(problem.F, problem.K_hat, G_hat, _window(problem))
    combine = _bind_pointwise(G_hat, problem.K_tilde, problem.G)

    def launch() -> None:
        filter_channels()
        combine()

    return launch


def _window(problem: Problem) -> Window:
    rows, columns = problem.weights[0].shape[:2]
    return Window(rows, columns, *problem.strides, *problem.dilations)


def _bind_standard(F: np.ndarray, K: np.ndarray, G: np.ndarray, window: Window, groups: int = 1) -> Launch:
    M, N = F.shape[3], K.shape[3]
    batch, D_G, D_G_w, _ = G.shape
    strip = max(1, _STRIP_FLOATS // N)
    sizes = (M, N, D_G, D_G_w, batch, groups, strip)
    return compiled(_standard, *flat(F), K.reshape(-1), *flat(G), window, *sizes)


def _bind_depthwise(F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, window: Window) -> Launch:
    M = F.shape[3]
    batch, D_G, D_G_w, N = G.shape
    return compiled(_depthwise, *flat(F), K_hat.reshape(-1), *flat(G), window, M, N // M, D_G, D_G_w, batch)


def _bind_pointwise(F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray) -> Launch:
    """A pointwise convolution is the standard one with D_K = 1."""
    return _bind_standard(F, K_tilde[np.newaxis, np.newaxis], G, Window(1, 1, 1, 1, 1, 1))
