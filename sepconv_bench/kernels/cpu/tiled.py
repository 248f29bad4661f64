"""Rung 3, tiled: a tile of G, MR pixels by NR channels, stays in registers while the whole sum runs.

Every float of F that is loaded meets NR weights, every vector of weights MR pixels: L1 has to deliver MR + NV loads for
MR x NV multiply-adds, where `parallel` loads and stores G for each. Weights are packed panel by panel when bound, in
the order in which they are used. Expected over parallel: from what L1 delivers to the peak of the multiply-adds.

The tile of a product is in product.py, that of a depthwise convolution in depthwise.py.
"""

from __future__ import annotations

import numba
import numpy as np

from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.depthwise import bind_depthwise
from sepconv_bench.kernels.cpu.layout import aligned
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.region import Region, joined
from sepconv_bench.kernels.cpu.registers import host_vectors
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.shapes import Property

TAKES: tuple[Property, ...] = ("rectangular maps", "padding")


@kernel("cpu.standard.tiled", library=OURS, takes=TAKES)
def standard(problem: Problem) -> Launch:
    return bind_standard(problem.F, problem.K, problem.G, problem.stride)


@kernel("cpu.depthwise.tiled", library=OURS, takes=TAKES)
def depthwise(problem: Problem) -> Launch:
    return bind_depthwise(problem.F, problem.K_hat, problem.G, problem.stride)


@kernel("cpu.pointwise.tiled", library=OURS, takes=TAKES)
def pointwise(problem: Problem) -> Launch:
    return bind_pointwise(problem.F, problem.K_tilde, problem.G)


@kernel("cpu.separable.tiled", library=OURS, takes=TAKES)
def separable(problem: Problem) -> Launch:
    """Depthwise into a map that is allocated here, then pointwise: two passes."""
    return bind_two_passes(problem.F, problem.K_hat, problem.K_tilde, problem.G, problem.stride)


def bind_two_passes(
    F: np.ndarray,
    K_hat: np.ndarray,
    K_tilde: np.ndarray,
    G: np.ndarray,
    stride: int,
    biases: tuple[np.ndarray, np.ndarray] | tuple[None, None] = (None, None),
) -> Region:
    """With `biases` (M,) and (N,), both maps are min(max(sum + bias, 0), 6)."""
    M, N = K_tilde.shape
    batch, rows, width = G.shape[:3]
    G_hat = aligned(batch * rows * width * M).reshape(batch, rows, width, M)
    # On as many threads as will read the map: what another core has just written is slow to read.
    readers = blocking.product_blocks(batch * rows, width, M, N, 1, host_vectors(), numba.get_num_threads()).threads
    filter_channels = bind_depthwise(F, K_hat, G_hat, stride, biases[0], least_threads=readers)
    return joined([filter_channels, bind_pointwise(G_hat, K_tilde, G, biases[1])])
