"""The roofline: every kernel and shape under the machine's roofs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from sepconv_bench.model.shapes import IDENTITY
from sepconv_bench.report.figures.palette import INK, OPERATORS, PEER
from sepconv_bench.report.figures.saving import CROWD
from sepconv_bench.report.figures.style import legend_below, log_axis, styled, title
from sepconv_bench.results.records import Run
from sepconv_bench.results.roofs import rates

_MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "separable": "D"}


@styled
def roofline(timings: pd.DataFrame, run: Run) -> Figure | None:
    """Every kernel and shape under the machine's roof, as a share of the FMA peak timed in the same rounds."""
    rows = timed(timings)
    if rows.empty:
        return None
    figure, axes = plt.subplots(figsize=(8.2, 5.0))
    legend_below(figure, roofline_on(axes, rows, run))
    title(figure, "Every kernel under the machine's roofs")
    return figure


def timed(timings: pd.DataFrame) -> pd.DataFrame:
    """The rows of `timings` that can be drawn."""
    return timings[(timings.status == "ok") & timings.eta.notna()]


def roofline_on(axes: Axes, rows: pd.DataFrame, run: Run) -> list[Line2D]:
    """The figure on axes that are there, of rows as `timed` gives them, at least one; gives what its legend shows."""
    rows = rows.assign(intensity=2 * rows.multiplications / rows.bytes)
    fastest = rows.index.isin(rows.groupby(["operator", *IDENTITY]).eta.idxmax())
    footprints, bytes_per_flop = rates(run.ceilings.levels, launched=run.machine.gpu is not None)
    x = np.geomspace(min(rows.intensity.min() / 1.6, 0.5 / max(bytes_per_flop)), rows.intensity.max() * 2.0, 200)
    peak = run.ceilings.peak.value
    roofs: list[Line2D] = []
    for number, dash in zip(_three(footprints), ((0, ()), (0, (5, 2)), (0, (1, 1.5))), strict=True):
        words = f"roof of {_size(footprints[number])}: {bytes_per_flop[number] * peak / 1e9:.0f} GB/s"
        roof = np.minimum(1, x * bytes_per_flop[number])
        roofs += axes.plot(x, roof, color=INK, linestyle=dash, linewidth=1.3, zorder=2, label=words)
    others, small = rows[~fastest], 14 if len(rows) < CROWD else 4
    axes.scatter(others.intensity, others.eta, s=small, color=PEER, alpha=0.6, linewidth=0, zorder=3)
    for operator, part in rows[fastest].groupby("operator", sort=False):
        marker, colour = _MARKERS[str(operator)], OPERATORS[str(operator)]
        axes.scatter(part.intensity, part.eta, s=2.2 * small, marker=marker, color=colour, alpha=0.75, linewidth=0, zorder=4)
    _scales(axes, peak / 1e9)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(rows.eta.min() / 1.6, 1.6)
    kinds = [
        Line2D([], [], linestyle="", marker=marker, color=OPERATORS[operator], label=f"fastest {operator}")
        for operator, marker in _MARKERS.items()
        if (rows.operator == operator).any()
    ]
    kinds.append(Line2D([], [], linestyle="", marker="o", markersize=4, color=PEER, label="all other kernels"))
    return [*roofs, *kinds]


def _three(footprints: tuple[int, ...]) -> list[int]:
    """Numbers of the least, the most, and what a level of cache in between holds: L2, of a GPU as of a CPU."""
    between = 32 * footprints[0]
    middle = min(range(len(footprints)), key=lambda number: abs(footprints[number] - between))
    return [0, middle, len(footprints) - 1]


def _scales(axes: Axes, peak: float) -> None:
    """Logarithmic, in shares of the peak."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("arithmetic intensity, every tensor moved once (FLOP/byte)")
    axes.set_ylabel(f"share of the FMA peak, $\\eta$   (100 % = {peak:,.0f} GFLOP/s)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    log_axis(axes.xaxis)
    axes.yaxis.set_minor_formatter(NullFormatter())


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
