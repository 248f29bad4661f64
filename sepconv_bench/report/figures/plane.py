"""The plane that the formula spans over N and D_K, with the measured shapes on it."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from sepconv_bench.report.figures.style import (
    AXIS_NAMES,
    log_axis,
    styled,
)
from sepconv_bench.results.rows import of_the_paper


@styled
def plane(ratios: pd.DataFrame) -> Figure | None:
    """The promise over N and D_K as ground, and on it the measured speedups of the fastest kernels in the same colours."""
    best = of_the_paper(ratios[ratios.best] if len(ratios) else ratios)
    if best.empty or best.N.nunique() < 2 or best.D_K.nunique() < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.6, 5.2))
    N = np.geomspace(best.N.min() / 1.6, best.N.max() * 1.6, 160)
    D_K = np.linspace(max(best.D_K.min() - 0.6, 0.5), best.D_K.max() + 0.6, 120)
    promised = 1 / (1 / N[None, :] + 1 / D_K[:, None] ** 2)
    low, high = (float(reach(reach(best.speedup), reach(promised.ravel()))) for reach in (min, max))
    norm = LogNorm(low, high)
    ground = axes.pcolormesh(N, D_K, promised, norm=norm, cmap="viridis", shading="gouraud", rasterized=True)
    levels = [level for level in (0.5, 1, 2, 4, 8, 16, 32, 64, 128) if promised.min() < level < promised.max()]
    lines = axes.contour(N, D_K, promised, levels=levels, colors="white", linewidths=0.8, alpha=0.8)
    axes.clabel(lines, fmt=lambda value: f"{value:g}x", fontsize=8)
    # Shapes of the same N and D_K stand side by side.
    rank = best.groupby(["N", "D_K"]).cumcount()
    size = best.groupby(["N", "D_K"]).N.transform("size")
    x = best.N * 1.09 ** (rank - (size - 1) / 2).clip(-3.5, 3.5)
    faces = matplotlib.colormaps["viridis"](norm(best.speedup))
    axes.scatter(x, best.D_K, s=64, c=faces, edgecolors="white", linewidths=1.1, zorder=4)
    axes.set_xscale("log")
    log_axis(axes.xaxis, sorted(best.N.unique()))
    axes.set_yticks(sorted(best.D_K.unique()))
    axes.set_xlim(N[0], N[-1])
    axes.set_ylim(D_K[0], D_K[-1])
    axes.set_xlabel(AXIS_NAMES["N"])
    axes.set_ylabel(AXIS_NAMES["D_K"])
    axes.grid(visible=False)
    bar = figure.colorbar(ground, ax=axes, label="speedup: ground promised, points measured", pad=0.02)
    log_axis(bar.ax.yaxis)
    axes.set_title("The promise over $N$ and $D_K$, and what was measured", fontsize=12)
    return figure
