"""
Step 2: parallel
================

The loops of step 1 reach a few per cent of a core. Two changes, and neither touches a multiplication:

* **Order.** The innermost loop runs over contiguous output channels, so it needs no reduction and the compiler uses vectors.
* **Threads.** Rows of the output are independent: ``prange`` shares them among the cores. (``pairs.py`` holds all steps to one
  thread, which a busy machine disturbs least; the end of this one shows all of them.)
"""

import matplotlib.pyplot as plt
import numba
import numpy as np
from numba import njit, prange
from pairs import paired, speedup

from sepconv_bench import ConvShape, Problem
from sepconv_bench.measure.ceilings import fma_peak
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.theory import multiplications

layer = ConvShape(D_K=3, M=64, N=128, D_G=28)

# %%
# One function serves both sides: a pointwise convolution is a standard one with a window of 1 x 1. For each input channel,
# one float of F meets a whole row of weights. G is read and written M D_K^2 times, but its row stays in L1.


@njit(parallel=True, fastmath={"contract"})
def standard(F, K, G):
    for k in prange(G.shape[1]):
        for l in range(G.shape[2]):
            g = G[0, k, l]
            g[:] = 0
            for i in range(K.shape[0]):
                for j in range(K.shape[1]):
                    for m in range(K.shape[2]):
                        f, weights = F[0, k + i, l + j, m], K[i, j, m]
                        for n in range(g.size):
                            g[n] += f * weights[n]


@njit(parallel=True, fastmath={"contract"})
def depthwise(F, K_hat, G_hat):
    for k in prange(G_hat.shape[1]):
        for l in range(G_hat.shape[2]):
            g = G_hat[0, k, l]
            g[:] = 0
            for i in range(K_hat.shape[0]):
                for j in range(K_hat.shape[1]):
                    f, weights = F[0, k + i, l + j], K_hat[i, j]
                    for m in range(g.size):
                        g[m] += f[m] * weights[m]


# %%
# ``fastmath={"contract"}`` allows a multiplication and an addition to become one instruction (FMA), and nothing else.

rng = np.random.default_rng(0)
one, two = (Problem.draw(operator, layer, rng) for operator in ("standard", "separable"))
G_hat = np.empty((1, layer.D_G, layer.D_G, layer.M), np.float32)


def by_standard():
    standard(one.F, one.K, one.G)


def by_separable():
    depthwise(two.F, two.K_hat, G_hat)
    standard(G_hat, two.K_tilde[None, None], two.G)


for problem, launch in ((one, by_standard), (two, by_separable)):
    launch()
    assert Reference(problem.operator, layer, problem.F, problem.weights).error(problem.G) <= 1

# %%
# How much of the machine is that?
# --------------------------------
# The peak is a loop of nothing but multiply-adds. It is timed in the same rounds as the kernels, so a machine that
# slows down slows it, too. **eta** is a kernel's share of it.

peak = fma_peak(rng)
times = paired({"standard": by_standard, "separable": by_separable, "peak": peak.launch})
rates = {name: 2 * multiplications(name, layer) / times[name] for name in ("standard", "separable")}
eta = {name: float(np.median(rate / (peak.flop / times["peak"]))) for name, rate in rates.items()}
promised = multiplications("standard", layer) / multiplications("separable", layer)
measured = speedup(times, "standard", "separable")
print(f"eta: standard {eta['standard']:.0%}, separable {eta['separable']:.0%}")
print(f"promised {promised:.2f}, measured {measured:.2f}")
print(f"promised x eta(separable) / eta(standard) = {promised * eta['separable'] / eta['standard']:.2f}")

# %%
# The last two numbers agree, up to the noise of the rounds: measured speedup = promised speedup x eta(separable) /
# eta(standard). It is an identity, and it says where the difference to the promise comes from: from the side that uses less
# of the machine.

figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
axes.barh(["separable", "standard"], [100 * eta["separable"], 100 * eta["standard"]], color=["#0072b2", "#999999"])
axes.set_xlim(0, 100)
axes.set_xlabel("eta: share of the multiply-add peak (%)")
axes.set_title(f"Step 2: vectors. Promised {promised:.1f}x, measured {measured:.1f}x", fontsize=10)
plt.show()

# %%
# All threads
# -----------
# Twice the threads are never quite twice as fast: waking a thread takes microseconds. The standard layer has eight times
# the work to hide them in, so threads lower the speedup of small layers.

numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
all_threads = paired({"standard": by_standard, "separable": by_separable})
print(f"on {numba.get_num_threads()} threads: measured {speedup(all_threads, 'standard', 'separable'):.2f}")
