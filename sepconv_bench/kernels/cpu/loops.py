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
from sepconv_bench.model.shapes import PROPERTIES


@compile_once
@njit(error_model="numpy")
def _standard(F, K, G, stride, dilation, groups):
    D_K, D_K_w, M, N = K.shape  # M of one group
    batch, D_G, D_G_w = G.shape[:3]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G_w):
                for n in range(N):
                    first = n // (N // groups) * M
                    total = np.float32(0)
                    for i in range(D_K):
                        for j in range(D_K_w):
                            row, column = k * stride[0] + i * dilation[0], l * stride[1] + j * dilation[1]
                            for m in range(M):
                                total += K[i, j, m, n] * F[b, row, column, first + m]
                    G[b, k, l, n] = total


@compile_once
@njit(error_model="numpy")
def _depthwise(F, K_hat, G, stride, dilation):
    D_K, D_K_w, N = K_hat.shape
    batch, D_G, D_G_w = G.shape[:3]
    multiplier = N // F.shape[3]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G_w):
                for n in range(N):
                    m = n // multiplier
                    total = np.float32(0)
                    for i in range(D_K):
                        for j in range(D_K_w):
                            row, column = k * stride[0] + i * dilation[0], l * stride[1] + j * dilation[1]
                            total += K_hat[i, j, n] * F[b, row, column, m]
                    G[b, k, l, n] = total


@compile_once
@njit(error_model="numpy")
def _pointwise(F, K_tilde, G):
    M, N = K_tilde.shape
    batch, D_G, D_G_w = G.shape[:3]
    for b in range(batch):
        for k in range(D_G):
            for l in range(D_G_w):
                for n in range(N):
                    total = np.float32(0)
                    for m in range(M):
                        total += K_tilde[m, n] * F[b, k, l, m]
                    G[b, k, l, n] = total


@compile_once
@njit(error_model="numpy")
def _separable(F, K_hat, K_tilde, G_hat, G, stride, dilation):
    _depthwise(F, K_hat, G_hat, stride, dilation)
    _pointwise(G_hat, K_tilde, G)


@kernel("cpu.standard.loops", library=OURS, takes=PROPERTIES)
def standard(problem: Problem) -> Launch:
    return compiled(
        _standard, problem.F, problem.K, problem.G, problem.strides, problem.dilations, problem.convolutions[0].groups
    )


@kernel("cpu.depthwise.loops", library=OURS, takes=PROPERTIES)
def depthwise(problem: Problem) -> Launch:
    return compiled(_depthwise, problem.F, problem.K_hat, problem.G, problem.strides, problem.dilations)


@kernel("cpu.pointwise.loops", library=OURS, takes=PROPERTIES)
def pointwise(problem: Problem) -> Launch:
    return compiled(_pointwise, problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.loops", library=OURS, takes=PROPERTIES)
def separable(problem: Problem) -> Launch:
    G_hat = np.empty(DEPTHWISE.G_shape(problem.shape), np.float32)
    steps = problem.strides, problem.dilations
    return compiled(_separable, problem.F, problem.K_hat, problem.K_tilde, G_hat, problem.G, *steps)
