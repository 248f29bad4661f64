"""
Step 5: compare with theory
===========================

Now the question of the suite: how much does separable convolution gain, by kernels that are alike, against the promise
1/N + 1/D_K^2? Here every rung is paired with the same rung (``fused`` with ``tiled``), over layers from few output channels
to many.
"""

import matplotlib.pyplot as plt
import numpy as np
from pairs import paired, speedup

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.model.theory import cost_ratio

channels = (8, 32, 128)
rungs = {"loops": ("loops", "loops"), "parallel": ("parallel", "parallel"), "fused": ("tiled", "fused")}
rng = np.random.default_rng(0)


def launch(operator, variant, layer):
    bound = get_kernel(f"cpu.{operator}.{variant}").bind(Problem.draw(operator, layer, rng))
    bound()
    return bound


found = {name: [] for name in rungs}
for N in channels:
    layer = ConvShape(D_K=3, M=64, N=N, D_G=14)
    for name, (standard, separable) in rungs.items():
        pair = {"standard": launch("standard", standard, layer), "separable": launch("separable", separable, layer)}
        found[name].append(speedup(paired(pair), "standard", "separable"))
promised = [float(1 / cost_ratio(ConvShape(D_K=3, M=64, N=N, D_G=14))) for N in channels]
for name, values in found.items():
    print(
        name,
        *(f"N={N}: {value:.1f} of {most:.1f}" for N, value, most in zip(channels, values, promised, strict=True)),
        sep="  ",
    )

# %%
# Right of the line's bend the promise is 9, the area of the window; left of it, few output channels share the cost of the
# depthwise half. Three kernels, three answers, and only the fast ones say something about the machine. ``sepconv-bench
# run`` measures a whole grid this way, with intervals, checks, peers and the reasons: see :doc:`/why-not-8x`.

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
line = np.geomspace(4, 256)
axes.plot(line, 1 / (1 / line + 1 / 9), color="black", label="promised, 1 / (1/N + 1/9)")
for (name, values), color, marker in zip(found.items(), ("#999999", "#e69f00", "#0072b2"), "sDo", strict=True):
    axes.plot(channels, values, color=color, marker=marker, linestyle="none", label=name)
axes.set_xscale("log", base=2)
axes.set_xlabel("output channels N")
axes.set_ylabel("T(standard) / T(separable)")
axes.set_title("Step 5: measured vs promised, 3 x 3, 64 channels in, 14 x 14", fontsize=10)
axes.legend(fontsize=8)
plt.show()
