"""Rung 2, parallel: all threads, and an order of loops in which memory is walked along its channels.

A strip of output pixels that fits into L1 is one unit of work. The innermost loop runs over contiguous output
channels, so it vectorises without reordering a sum; four input channels at a time share each load and store of G.
Expected over loops: the vector width times the threads, less what the traffic of G between L1 and registers costs.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.launch import compiled, flat
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.operators import DEPTHWISE

_STRIP_FLOATS = 4096  # of G in one strip: 16 KiB, half of the smallest L1d in use
_CONTRACT = {"contract"}  # a multiplication and an addition may become one FMA; nothing is reordered


@njit(error_model="numpy", fastmath=_CONTRACT, inline="always")
def _add_products(G, g, N, F, f, M, K, w):
    """G[g + n] += sum_m F[f + m] K[w + m N + n] for n < N: one tap of one pixel."""
    G_n = G[g : g + N]
    whole = M - M % 4
    for m in range(0, whole, 4):
        f0, f1, f2, f3 = F[f + m], F[f + m + 1], F[f + m + 2], F[f + m + 3]
        K0 = K[w + m * N : w + (m + 1) * N]
        K1 = K[w + (m + 1) * N : w + (m + 2) * N]
        K2 = K[w + (m + 2) * N : w + (m + 3) * N]
        K3 = K[w + (m + 3) * N : w + (m + 4) * N]
        for n in range(N):
            G_n[n] += f0 * K0[n] + f1 * K1[n] + f2 * K2[n] + f3 * K3[n]
    for m in range(whole, M):
        f0 = F[f + m]
        K0 = K[w + m * N : w + (m + 1) * N]
        for n in range(N):
            G_n[n] += f0 * K0[n]


@compile_once
@njit(error_model="numpy", fastmath=_CONTRACT, parallel=True)
def _standard(F, at_F, K, G, at_G, D_K, M, N, D_G, batch, stride, strip):
    strips = (D_G + strip - 1) // strip
    for work in prange(batch * D_G * strips):
        b, k, first = work // (D_G * strips), work // strips % D_G, work % strips * strip
        g_row = at_G[0] + b * at_G[1] + k * at_G[2]
        last = min(first + strip, D_G)
        for l in range(first, last):
            G[g_row + l * at_G[3] : g_row + l * at_G[3] + N] = 0
        for i in range(D_K):
            f_row = at_F[0] + b * at_F[1] + (k * stride + i) * at_F[2]
            for j in range(D_K):
                w = (i * D_K + j) * M * N
                for l in range(first, last):
                    _add_products(G, g_row + l * at_G[3], N, F, f_row + (l * stride + j) * at_F[3], M, K, w)


@compile_once
@njit(error_model="numpy", fastmath=_CONTRACT, parallel=True)
def _depthwise(F, at_F, K_hat, G, at_G, D_K, M, D_G, batch, stride):
    for work in prange(batch * D_G):
        b, k = work // D_G, work % D_G
        g_row = at_G[0] + b * at_G[1] + k * at_G[2]
        f_corner = at_F[0] + b * at_F[1] + k * stride * at_F[2]
        for l in range(D_G):
            g = g_row + l * at_G[3]
            G_m = G[g : g + M]
            G_m[:] = 0
            for i in range(D_K):
                for j in range(D_K):
                    f = f_corner + i * at_F[2] + (l * stride + j) * at_F[3]
                    F_m = F[f : f + M]
                    K_m = K_hat[(i * D_K + j) * M : (i * D_K + j + 1) * M]
                    for m in range(M):
                        G_m[m] += K_m[m] * F_m[m]


@kernel("cpu.standard.parallel", library=OURS)
def standard(problem: Problem) -> Launch:
    return _bind_standard(problem.F, problem.K, problem.G, problem.stride)


@kernel("cpu.depthwise.parallel", library=OURS)
def depthwise(problem: Problem) -> Launch:
    return _bind_depthwise(problem.F, problem.K_hat, problem.G, problem.stride)


@kernel("cpu.pointwise.parallel", library=OURS)
def pointwise(problem: Problem) -> Launch:
    return _bind_pointwise(problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.parallel", library=OURS)
def separable(problem: Problem) -> Launch:
    """Depthwise into a map that is allocated here, then pointwise: two passes."""
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    filter_channels = _bind_depthwise(problem.F, problem.K_hat, G_hat, problem.stride)
    combine = _bind_pointwise(G_hat, problem.K_tilde, problem.G)

    def launch() -> None:
        filter_channels()
        combine()

    return launch


def _bind_standard(F: np.ndarray, K: np.ndarray, G: np.ndarray, stride: int) -> Launch:
    D_K, _, M, N = K.shape
    batch, D_G = G.shape[:2]
    strip = max(1, _STRIP_FLOATS // N)
    return compiled(_standard, *flat(F), K.reshape(-1), *flat(G), D_K, M, N, D_G, batch, stride, strip)


def _bind_depthwise(F: np.ndarray, K_hat: np.ndarray, G: np.ndarray, stride: int) -> Launch:
    D_K, _, M = K_hat.shape
    batch, D_G = G.shape[:2]
    return compiled(_depthwise, *flat(F), K_hat.reshape(-1), *flat(G), D_K, M, D_G, batch, stride)


def _bind_pointwise(F: np.ndarray, K_tilde: np.ndarray, G: np.ndarray) -> Launch:
    """A pointwise convolution is the standard one with D_K = 1."""
    return _bind_standard(F, K_tilde[np.newaxis, np.newaxis], G, 1)
