"""
Step 1: loops
=============

A convolution is six nested loops. A *depthwise separable* one is two shorter nests: the first filters each channel by itself,
the second mixes the channels. This step writes both down as the equations say, checks them, and asks how much the
second way gains.

One layer serves all five steps: windows of 3 x 3 (``kernel_size``, here D_K), 64 channels in (``in_channels``, M),
128 channels out (``out_channels``, N), and an output map of 28 x 28 pixels (D_G).
"""

import matplotlib.pyplot as plt
import numpy as np
from numba import njit
from pairs import paired, speedup

from sepconv_bench import ConvShape, Problem
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.theory import multiplications

layer = ConvShape(D_K=3, M=64, N=128, D_G=28)

# %%
# The standard convolution
# ------------------------
# Every output channel n of every output pixel (k, l) sums over the window and over all input channels. Maps are stored
# channel last, with the batch in front, as ``F[b, row, column, channel]``.


@njit
def standard(F, K, G):
    for k in range(G.shape[1]):
        for l in range(G.shape[2]):
            for n in range(G.shape[3]):
                total = np.float32(0)
                for i in range(K.shape[0]):
                    for j in range(K.shape[1]):
                        for m in range(K.shape[2]):
                            total += K[i, j, m, n] * F[0, k + i, l + j, m]
                G[0, k, l, n] = total


# %%
# The separable one
# -----------------
# Depthwise: one window for each channel, and no sum over channels. Pointwise: a sum over channels, and no window.


@njit
def depthwise(F, K_hat, G_hat):
    for k in range(G_hat.shape[1]):
        for l in range(G_hat.shape[2]):
            for m in range(G_hat.shape[3]):
                total = np.float32(0)
                for i in range(K_hat.shape[0]):
                    for j in range(K_hat.shape[1]):
                        total += K_hat[i, j, m] * F[0, k + i, l + j, m]
                G_hat[0, k, l, m] = total


@njit
def pointwise(G_hat, K_tilde, G):
    for k in range(G.shape[1]):
        for l in range(G.shape[2]):
            for n in range(G.shape[3]):
                total = np.float32(0)
                for m in range(G_hat.shape[3]):
                    total += K_tilde[m, n] * G_hat[0, k, l, m]
                G[0, k, l, n] = total


# %%
# First right
# -----------
# ``Problem.draw`` makes random maps and weights and an output full of NaN; ``Reference`` computes the answer in float64.
# Its error is in units of what float32 rounding explains, so at most 1 is right.

rng = np.random.default_rng(0)
one, two = (Problem.draw(operator, layer, rng) for operator in ("standard", "separable"))
G_hat = np.empty((1, layer.D_G, layer.D_G, layer.M), np.float32)


def by_standard():
    standard(one.F, one.K, one.G)


def by_separable():
    depthwise(two.F, two.K_hat, G_hat)
    pointwise(G_hat, two.K_tilde, two.G)


for problem, launch in ((one, by_standard), (two, by_separable)):
    launch()
    error = Reference(problem.operator, layer, problem.F, problem.weights).error(problem.G)
    assert error <= 1
    print(f"{problem.operator}: error {error:.2f}, right")

# %%
# Then fast?
# ----------
# Count the multiplications of both: their ratio is exactly 1/N + 1/D_K^2. That is the promise.

times = paired({"standard": by_standard, "separable": by_separable}, rounds=9)
promised = multiplications("standard", layer) / multiplications("separable", layer)
measured = speedup(times, "standard", "separable")
print(f"promised {promised:.2f} times, measured {measured:.2f} times")
for name in times:
    print(f"{name}: {2 * multiplications(name, layer) / np.median(times[name]) / 1e9:.1f} GFLOP/s")

# %%
# The loops may well gain *more* than was promised. That is no good news: the standard nest strides through its weights by N
# floats and is slower for each multiplication. A slow standard kernel makes separable convolution look good. The next steps
# make both fast.

figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
axes.barh(["measured", "promised"], [measured, promised], color=["#0072b2", "#999999"])
axes.set_xlabel("speedup of separable over standard convolution (times)")
axes.set_title("Step 1: the equations as loops, one thread", fontsize=10)
plt.show()
