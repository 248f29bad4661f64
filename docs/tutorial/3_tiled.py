"""
Step 3: tiled
=============

In step 2 every multiply-add loads a vector of G, a vector of weights, and stores G again: the loads take the time, not
the multiplications. A **register tile** turns that round. A block of G, MR pixels by some vectors of channels, stays in
registers for the *whole* sum. Each float of F that is loaded meets all channels of the tile, each vector of weights all
its pixels:

==========================  ===========  ================  =======================
tile                        loads        multiply-adds     multiply-adds per load
==========================  ===========  ================  =======================
none (step 2)               2 + a store  1                 1/2
1 pixel x 2 vectors         3            2                 2/3
4 pixels x 3 vectors        7            12                1.7
==========================  ===========  ================  =======================

There is a limit: sums, weights and one pixel must fit into 16 (AVX2) or 32 (AVX-512, NEON) registers. Beyond it they *spill*.
"""

import matplotlib.pyplot as plt
import numpy as np
from numba import njit, prange
from pairs import paired

from sepconv_bench import ConvShape, Problem
from sepconv_bench.kernels.cpu.registers import Tile, host_vectors
from sepconv_bench.kernels.cpu.tile import rank_1, store, zeros
from sepconv_bench.measure.ceilings import fma_peak
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.theory import multiplications

layer = ConvShape(D_K=1, M=64, N=192, D_G=28)  # N is a multiple of all the tiles here
lanes = host_vectors().lanes
print(f"vectors of {lanes} floats, {host_vectors().registers} registers")

# %%
# Numba has no vector type. The suite gives it one, in ``kernels/cpu/tile.py``: ``zeros`` makes the sums of a tile,
# ``rank_1`` multiplies MR floats with NR weights into them, ``store`` writes them. Addresses are plain numbers, and nothing
# checks a bound. With these, the product of a pixel map and the pointwise weights is three loops.


def pointwise_by(tile):
    """A pointwise convolution for weights packed in panels of the tile's NR channels: (panels, M, NR)."""
    MR, NR = tile.MR, tile.NR

    @njit(parallel=True, error_model="numpy")
    def pointwise(F, panels, G):
        pixels, M = F.shape
        N = G.shape[1]
        for first in prange(pixels // MR):
            for panel in range(N // NR):
                sums = zeros(tile)
                pixel, weights = F.ctypes.data + first * MR * M * 4, panels.ctypes.data + panel * M * NR * 4
                for m in range(M):
                    sums = rank_1(tile, sums, pixel + m * 4, M * 4, weights + m * NR * 4)
                store(tile, sums, G.ctypes.data + (first * MR * N + panel * NR) * 4, N * 4, NR)

    return pointwise


# %%
# Packing puts the weights of a panel in the order in which the tile reads them. It is done once and never timed, as in
# every library.

rng = np.random.default_rng(0)
problem = Problem.draw("pointwise", layer, rng)
F, G = problem.F.reshape(-1, layer.M), problem.G.reshape(-1, layer.N)


def bound(tile):
    panels = np.ascontiguousarray(problem.K_tilde.reshape(layer.M, -1, tile.NR).transpose(1, 0, 2))
    kernel = pointwise_by(tile)
    return lambda: kernel(F, panels, G)


tiles = [Tile(MR, NV, lanes) for MR, NV in ((1, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 3), (8, 3))]
launches = {f"{tile.MR} x {tile.NV}": bound(tile) for tile in tiles}
for name, launch in launches.items():
    G.fill(np.nan)
    launch()
    assert Reference("pointwise", layer, problem.F, problem.weights).error(problem.G) <= 1, name

# %%
# A larger tile loads less for each multiply-add and comes nearer to the peak, until it spills.

peak = fma_peak(rng)
times = paired({**launches, "peak": peak.launch})
flop = 2 * multiplications("pointwise", layer)
eta = {name: float(np.median(flop / times[name] / (peak.flop / times["peak"]))) for name in launches}
for name, share in eta.items():
    print(f"tile {name}: {share:.0%} of the peak")

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.bar([*eta], [100 * share for share in eta.values()], color="#0072b2")
axes.set_xlabel("tile: pixels x vectors of channels")
axes.set_ylabel("eta: share of the peak (%)")
axes.set_title("Step 3: a pointwise convolution by register tiles", fontsize=10)
plt.show()
