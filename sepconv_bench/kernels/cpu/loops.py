"""Rung 1, loops: the equations as written, one thread, n outside the reduction. The floor to compare with.

The reduction over m strides through K by N floats and a float sum may not be reordered, so nothing vectorises.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sepconv_bench.compile_once import compile_once
from sepconv_bench.kernels.cpu.launch import compiled
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.operators import DEPTHWISE


@compile_once
@njit(error_model="numpy")
def _standard(F, K, G, stride):
    D_K, _, M, N = K.shape
    batch, D_G = G.shape[:2]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G):
                for n in range(N):
                    total = np.float32(0)
                    for i in range(D_K):
                        for j in range(D_K):
                            for m in range(M):
                                total += K[i, j, m, n] * F[b, k * stride + i, l * stride + j, m]
                    G[b, k, l, n] = total


@compile_once
@njit(error_model="numpy")
def _depthwise(F, K_hat, G, stride):
    D_K, _, M = K_hat.shape
    batch, D_G = G.shape[:2]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G):
                for m in range(M):
                    total = np.float32(0)
                    for i in range(D_K):
                        for j in range(D_K):
                            total += K_hat[i, j, m] * F[b, k * stride + i, l * stride + j, m]
                    G[b, k, l, m] = total


@compile_once
@njit(error_model="numpy")
def _pointwise(F, K_tilde, G):
    M, N = K_tilde.shape
    batch, D_G = G.shape[:2]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G):
                for n in range(N):
                    total = np.float32(0)
                    for m in range(M):
                        total += K_tilde[m, n] * F[b, k, l, m]
                    G[b, k, l, n] = total


@compile_once
@njit(error_model="numpy")
def _separable(F, K_hat, K_tilde, G_hat, G, stride):
    _depthwise(F, K_hat, G_hat, stride)
    _pointwise(G_hat, K_tilde, G)


@kernel("cpu.standard.loops", library=OURS)
def standard(problem: Problem) -> Launch:
    return compiled(_standard, problem.F, problem.K, problem.G, problem.stride)


@kernel("cpu.depthwise.loops", library=OURS)
def depthwise(problem: Problem) -> Launch:
    return compiled(_depthwise, problem.F, problem.K_hat, problem.G, problem.stride)


@kernel("cpu.pointwise.loops", library=OURS)
def pointwise(problem: Problem) -> Launch:
    return compiled(_pointwise, problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.loops", library=OURS)
def separable(problem: Problem) -> Launch:
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    return compiled(_separable, problem.F, problem.K_hat, problem.K_tilde, G_hat, problem.G, problem.stride)
