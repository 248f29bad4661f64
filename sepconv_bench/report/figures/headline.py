"""The headline: measured against promised speedup of the fastest kernels."""

from __future__ import annotations

from collections.abc import Hashable
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.report.figures.points import interval_handles, points, promise_handle, speedup_axes, spread
from sepconv_bench.report.figures.saving import CROWD
from sepconv_bench.report.figures.style import (
    MEASURED_GREY,
    SPEEDUP,
    kernel_labels,
    look_handles,
    looks_of,
    styled,
)


@styled
def headline(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, the fastest standard kernel against the fastest separable one."""
    best = ratios[ratios.best] if len(ratios) else ratios
    if best.empty:
        return None
    figure, axes = plt.subplots(figsize=(7.2, 6.0))
    headline_on(axes, best)
    return figure


def headline_on(axes: Axes, best: pd.DataFrame) -> None:
    """The figure on axes that are there: rows of `ratios` that are `best`, at least one."""
    looks = looks_of(best.D_K)
    speedup_axes(axes, [best])
    x = spread(best)
    colours = [looks[D_K][0] for D_K in best.D_K]
    axes.vlines(x, best.speedup, best.roofline_speedup, colors=colours, alpha=0.3, linewidth=0.8, zorder=2)
    axes.scatter(x, best.roofline_speedup, s=49, marker="_", c=colours, linewidths=1.0, zorder=3)
    points(axes, best, x, looks)
    right = (axes.get_xlim()[1], 1)
    axes.annotate(
        "separable is slower", right, xytext=(-6, -4), textcoords="offset points", ha="right", va="top", color="#777777"
    )
    winners = _winners(best)
    axes.set_title(
        "What depthwise separable convolution buys, and what it promises", fontsize=12, pad=12 + 14 * len(winners.splitlines())
    )
    axes.text(0, 1.025, winners, transform=axes.transAxes, color="#555555", in_layout=False)
    axes.set_ylabel(f"measured {SPEEDUP}")
    roofline = [_roofline_handle()] if best.roofline_speedup.notna().any() else []
    handles = [*look_handles("$D_K$ = ", looks), promise_handle(), *roofline, *interval_handles(best)]
    # Where there is room; among thousands of points there is none to look for, and the upper left is emptiest.
    axes.legend(
        handles=handles, loc="best" if len(best) < CROWD else "upper left", frameon=True, framealpha=0.9, edgecolor="none"
    )


def places(headline: Figure, ratios: pd.DataFrame) -> dict[Hashable, tuple[float, float]]:
    """Where the points of a saved `headline` are, by the index of their row: shares of its width from the left, of its height
    from the top."""
    best = ratios[ratios.best]
    at = headline.axes[0].transData.transform(np.column_stack([spread(best), best.speedup])) / headline.bbox.size
    return dict(zip(best.index, ((float(x), 1 - float(y)) for x, y in at), strict=True))


def _winners(best: pd.DataFrame) -> str:
    """Which kernels were the fastest, most often first."""

    def names(side: str) -> str:
        counted = kernel_labels(best, f"{side}_").groupby(best[f"{side}_kernel"]).agg(["first", "size"])
        return ", ".join(dict.fromkeys(counted.sort_values("size", ascending=False, kind="stable")["first"]))

    standard, separable = names("standard"), names("separable")
    return fill(
        f"the fastest standard kernel ({standard}) against the fastest separable one ({separable}); a point a shape", 80
    )


def _roofline_handle() -> Line2D:
    return Line2D([], [], linestyle="", marker="_", markersize=10, color=MEASURED_GREY, label="perfect kernels here (roofline)")
