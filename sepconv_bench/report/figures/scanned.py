"""A scanned model, layer by layer: where its time goes, and what separable layers would leave of it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sepconv_bench.report.figures.palette import DEPTHWISE, GROUND, INK, POINTWISE, SEPARABLE, SOFT, STANDARD
from sepconv_bench.report.figures.style import styled
from sepconv_bench.report.plain import in_figure

_COLOURS = {"standard": STANDARD, "grouped": STANDARD, "depthwise": DEPTHWISE, "pointwise": POINTWISE}
_LONGEST = 22  # letters of a layer's name; its end says more than its beginning
_A_LAYER = 0.2  # inches


@styled
def layer_by_layer(layers: pd.DataFrame) -> Figure | None:
    """A row a layer from the first on top to the last: its share of the time now, and as a separable one of the same time."""
    if not layers.now_s.notna().any():
        return None
    share = 100 * layers.now_s / layers.now_s.sum()
    standard = layers.operator.isin(["standard", "grouped"])
    separable = (share / layers.gain).where(standard)
    at = np.arange(len(layers))
    figure, axes = plt.subplots(figsize=(4.6, 1.5 + _A_LAYER * len(layers)))
    axes.barh(at, share, 0.8, color=[_COLOURS.get(operator, SOFT) for operator in layers.operator])
    axes.barh(at, separable, 0.36, color=SEPARABLE)
    right = float(np.nanmax([share, separable])) * 1.2
    ends = np.fmax(share, separable) + 0.02 * right
    for answer, colour in (("yes", SEPARABLE), ("unclear", GROUND)):
        marked = (layers.worth_replacing == answer).to_numpy()
        axes.plot(ends[marked], at[marked], "D", markersize=5, color=SEPARABLE, markerfacecolor=colour, clip_on=False)
    for place, (answer, gain) in enumerate(zip(layers.worth_replacing, layers.gain, strict=True)):
        if answer == "yes":
            axes.text(ends[place] + 0.035 * right, place, f"{gain:.1f}x", va="center", fontsize=8, color=INK)
        elif layers.now_s.isna().iloc[place]:
            axes.text(0.005 * right, place, "not covered", va="center", fontsize=8, color=SOFT)
    axes.set_yticks(at, [in_figure(_shortened(name)) for name in layers.layer], fontsize=8)
    for label, answer in zip(axes.get_yticklabels(), layers.worth_replacing, strict=True):
        if answer == "yes":
            label.set(color=INK, fontweight="bold")
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.set_xlim(0, right)
    axes.set_xlabel("% of all convolutions' time now")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    # On top: of a deep model one scrolls for long before one is at the bottom.
    axes.legend(handles=_handles(layers), loc="lower right", bbox_to_anchor=(1, 1), ncols=2, columnspacing=1.2)
    return figure


def _handles(layers: pd.DataFrame) -> list[Patch | Line2D]:
    """What is drawn, and nothing else."""
    kinds = {"grouped": "standard"}
    drawn = dict.fromkeys(kinds.get(one, one) for one in layers.operator[layers.now_s.notna()])
    handles: list[Patch | Line2D] = [Patch(color=_COLOURS[one], label=f"{one}, now") for one in drawn]
    if "standard" in drawn:
        handles.append(Patch(color=SEPARABLE, label="as separable"))
    for answer, colour, words in (("yes", SEPARABLE, "worth replacing"), ("unclear", GROUND, "may gain or lose")):
        if (layers.worth_replacing == answer).any():
            mark = Line2D([], [], linestyle="", marker="D", markersize=5, color=SEPARABLE, markerfacecolor=colour, label=words)
            handles.append(mark)
    return handles


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
