"""Machines side by side: speedup beside the promised one and both etas."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model.shapes import IDENTITY, ConvShape
from sepconv_bench.report.figures.palette import INK, RULE, of_series
from sepconv_bench.report.figures.points import reach
from sepconv_bench.report.figures.style import SPEEDUP, log_axis, styled, title

_SHAPE = [*IDENTITY]


@styled
def machines(table: pd.DataFrame) -> Figure | None:
    """Speedup beside the promised one and both etas: a row a shape, a colour and a marker a machine."""
    if table.empty:
        return None
    shapes = table[_SHAPE].drop_duplicates().itertuples(index=False, name=None)
    least, most = reach(table)
    low, high = min(least, table.theory_speedup.min()) / 1.1, max(most, table.theory_speedup.max()) * 1.1
    heights = {shape: -number for number, shape in enumerate(shapes)}
    looks = of_series(table.machine)
    figure, panels = plt.subplots(
        1, 3, figsize=(9.6, 1.9 + 0.25 * len(heights)), sharey=True, width_ratios=[2, 1, 1], squeeze=True
    )
    handles = []
    for number, (machine, (colour, marker)) in enumerate(looks.items()):
        rows = table[table.machine == machine]
        # Beside each other within the row, for machines that are alike hide one another.
        middle = np.array([heights[shape] for shape in rows[_SHAPE].itertuples(index=False, name=None)])
        height = middle + 0.5 * ((len(looks) - 1) / 2 - number) / len(looks)
        look = {"color": colour, "marker": marker, "s": 22, "linewidths": 0, "alpha": 0.8, "zorder": 4}
        handles.append(Line2D([], [], linestyle="", color=colour, marker=marker, label=machine))
        ends = (ends.clip(low, high).fillna(rows.speedup) for ends in (rows.speedup_lo, rows.speedup_hi))
        panels[0].hlines(height, *ends, color=colour, linewidth=1.4)
        panels[0].scatter(rows.speedup, height, **look)
        for panel, side in zip(panels[1:], ("standard", "separable"), strict=True):
            panel.scatter(rows[f"eta_{side}"], height, **look)
    promised = table.drop_duplicates(_SHAPE)
    panels[0].scatter(promised.theory_speedup, list(heights.values()), marker="|", s=110, color=INK, zorder=3)
    _dress(panels, [str(ConvShape.of_row(dict(zip(_SHAPE, shape, strict=True)))) for shape in heights], list(heights.values()))
    panels[0].set_xlim(low, high)
    handles.append(Line2D([], [], linestyle="", color=INK, marker="|", markersize=10, label="promised"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), columnspacing=1.4)
    title(figure, "Machines side by side: one row a shape, fastest kernels of each side")
    return figure


def _dress(panels: Sequence[Axes], labels: Sequence[str], heights: Sequence[float]) -> None:
    panels[0].set_xscale("log")
    log_axis(panels[0].xaxis)
    panels[0].axvline(1, color=RULE, linewidth=0.9, zorder=1)
    panels[0].set_xlabel(SPEEDUP)
    panels[0].set_yticks(heights, labels)
    panels[0].set_ylim(min(heights) - 0.7, max(heights) + 0.7)
    for panel, side in zip(panels[1:], ("standard", "separable"), strict=True):
        panel.set_xlim(0, 1.05)
        panel.set_xlabel(f"share of FMA peak,\n{side}")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")
