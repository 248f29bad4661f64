"""
Step 4: fused
=============

A separable convolution in two passes writes the map between them, and reads it again: 2 x 4 M D_G^2 bytes for nothing.
Fused, a thread filters a few rows into a buffer of its own, which stays in the caches of its core, and multiplies them with the
pointwise weights at once. The suite's kernels ``tiled`` (two passes) and ``fused`` (one) differ in nothing else; both use the
tiles of step 3, cut to fit the machine.
"""

import matplotlib.pyplot as plt
import numpy as np
from pairs import paired, speedup

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.model.reference import Reference

# %%
# A kernel of the suite *binds* a problem: it packs the weights, allocates, compiles, and gives back a launch of no arguments.
# ``G`` is full of NaN until the launch has written it.

widths = (14, 28, 56, 112)
rng, found, megabytes = np.random.default_rng(0), [], []
for D_G in widths:
    layer = ConvShape(D_K=3, M=64, N=128, D_G=D_G)
    launches = {}
    for variant in ("tiled", "fused"):
        problem = Problem.draw("separable", layer, rng)
        launches[variant] = get_kernel(f"cpu.separable.{variant}").bind(problem)
        launches[variant]()
        assert Reference("separable", layer, problem.F, problem.weights).error(problem.G) <= 1
    found.append(speedup(paired(launches), "tiled", "fused"))
    megabytes.append(4 * layer.M * D_G**2 / 2**20)
    print(f"{D_G} x {D_G}: the map between has {megabytes[-1]:.2f} MB, one pass is {found[-1]:.2f} times as fast as two")

# %%
# While the map between fits into the caches, saving it saves little. Once it does not, it is memory traffic.

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(megabytes, found, marker="o", color="#0072b2")
axes.axhline(1, color="#999999", linewidth=1)
axes.set_xscale("log", base=2)
axes.set_xlabel("size of the intermediate map (MB)")
axes.set_ylabel("T(two passes) / T(one pass)")
axes.set_title("Step 4: what one pass saves, 3 x 3, 64 to 128 channels", fontsize=10)
plt.show()
