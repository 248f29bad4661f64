"""The roofline: every kernel and shape under the machine's roofs."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from sepconv_bench.measure.records import Ceilings, Level
from sepconv_bench.report.figures.style import (
    MEASURED_GREY,
    kernel_labels,
    log_axis,
    looks_of,
    styled,
)

_OPERATOR_MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "separable": "D"}


@styled
def roofline(timings: pd.DataFrame, ceilings: Ceilings) -> Figure | None:
    """Every kernel and shape under the machine's roof, as a share of the FMA peak timed in the same rounds."""
    rows = timed(timings)
    if rows.empty:
        return None
    figure, axes = plt.subplots(figsize=(8.2, 5.6))
    figure.legend(handles=roofline_on(axes, rows, ceilings), loc="outside lower center", ncols=4, columnspacing=1.4)
    return figure


def timed(timings: pd.DataFrame) -> pd.DataFrame:
    """The rows of `timings` that can be drawn."""
    return timings[(timings.status == "ok") & timings.eta.notna()]


def roofline_on(axes: Axes, rows: pd.DataFrame, ceilings: Ceilings) -> list[Artist]:
    """The figure on axes that are there, of rows as `timed` gives them, at least one; gives what its legend shows."""
    rows = rows.assign(intensity=2 * rows.multiplications / rows.bytes, label=kernel_labels(rows))
    left = min(rows.intensity.min() / 1.6, 0.5 / max(level.bytes_per_flop for level in ceilings.levels))
    x = np.geomspace(left, rows.intensity.max() * 2.0, 200)
    _roofs(axes, x, ceilings.levels)
    looks = looks_of(rows.label)
    for (operator, label), part in rows.groupby(["operator", "label"], sort=False):
        axes.scatter(
            part.intensity,
            part.eta,
            s=26,
            marker=_OPERATOR_MARKERS[str(operator)],
            color=looks[str(label)][0],
            alpha=0.75,
            linewidth=0,
            zorder=3,
        )
    _scales(axes, ceilings.peak.value / 1e9)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(rows.eta.min() / 1.6, 1.6)
    axes.set_title("The roofline, and every kernel under it", fontsize=12)
    roofs, _ = axes.get_legend_handles_labels()
    kinds = [
        Line2D([], [], linestyle="", marker=marker, color=MEASURED_GREY, label=operator)
        for operator, marker in _OPERATOR_MARKERS.items()
        if (rows.operator == operator).any()
    ]
    colours = [Line2D([], [], linestyle="", marker="o", color=colour, label=label) for label, (colour, _) in looks.items()]
    return [*roofs, *kinds, *colours]


def _roofs(axes: Axes, x: np.ndarray, levels: Sequence[Level]) -> None:
    """The least footprint, the most, and what a level of cache in between holds: L2, of a GPU as of a CPU."""
    between = 32 * levels[0].footprint
    shown = [levels[0], min(levels, key=lambda level: abs(level.footprint - between)), levels[-1]]
    for level, dash in zip(shown, ((0, ()), (0, (5, 2)), (0, (1, 1.5))), strict=True):
        axes.plot(
            x,
            np.minimum(1, x * level.bytes_per_flop),
            color="#222222",
            linestyle=dash,
            linewidth=1.3,
            zorder=2,
            label=f"copy of {_size(level.footprint)}: {level.bandwidth.value / 1e9:.0f} GB/s",
        )


def _scales(axes: Axes, peak: float) -> None:
    """Logarithmic, in shares of the peak on the left and in GFLOP/s on the right."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("arithmetic intensity, every tensor moved once (FLOP/byte)")
    axes.set_ylabel("share of the machine's FMA peak, $\\eta$")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    log_axis(axes.xaxis)
    axes.yaxis.set_minor_formatter(NullFormatter())
    both = (lambda share: np.multiply(share, peak), lambda rate: np.divide(rate, peak))
    right = axes.secondary_yaxis("right", functions=both)
    right.set_ylabel(f"GFLOP/s at the run's peak of {peak:.0f}")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
