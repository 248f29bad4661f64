"""The headline: measured against promised speedup of the fastest kernels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model.shapes import AXES
from sepconv_bench.report.figures.palette import SOFT, Look, of_widths
from sepconv_bench.report.figures.points import (
    PROMISED,
    interval_handles,
    panels_of_widths,
    parts_of_widths,
    points,
    promise_handle,
    speedup_axes,
)
from sepconv_bench.report.figures.style import SPEEDUP, kernel_labels, legend_below, look_handles, styled, title

TITLE = "Measured against promised speedup, one point a shape"
_MOST_NAMES = 16  # points that have room for a name
_LINE = 45  # letters of names that have room on the right of the points
_NEAR = 0.1  # relative distance of speedups, below which their names would lie on each other


@styled
def headline(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, the fastest standard kernel against the fastest separable one; a panel a D_K."""
    best = ratios[ratios.best] if len(ratios) else ratios
    if best.empty:
        return None
    looks = of_widths(best.D_K)
    figure, panels = panels_of_widths(best)
    bounds = False
    for axes, part in panels:
        bounds |= headline_on(axes, part, looks)
        if len(panels) == 1 and part.theory_speedup.nunique() == 1:
            _name(axes, part)
    title(figure, TITLE)
    legend_below(figure, _handles(best, looks, bounds)).set_title(_winners(best))
    return figure


def headline_alone(axes: Axes, ratios: pd.DataFrame) -> None:
    """The figure in one panel, on axes that are there; at least one of the rows of `ratios` is `best`."""
    best = ratios[ratios.best]
    looks = of_widths(best.D_K)
    speedup_axes(axes, [best])
    bounds = headline_on(axes, best, looks)
    axes.set_xlabel(PROMISED)
    axes.set_ylabel(f"measured {SPEEDUP}")
    axes.set_title(TITLE)
    axes.legend(handles=_handles(best, looks, bounds), title=_winners(best), loc="best")


def _handles(best: pd.DataFrame, looks: Mapping[int, Look], bounds: bool) -> list[Line2D]:
    """What a legend shows; `bounds`: whether a bound is on the axes."""
    bound = [_bound_handle()] if bounds else []
    return [*look_handles("$D_K$ = ", looks), promise_handle(), *bound, *interval_handles(best)]


def headline_on(axes: Axes, best: pd.DataFrame, looks: Mapping[int, Look]) -> bool:
    """A panel of the figure, on `speedup_axes`: rows of `ratios` that are `best`; gives whether a bound is on them."""
    bounds = _bounds(axes, best)
    points(axes, best, looks)
    return bounds


def places(headline: Figure, ratios: pd.DataFrame) -> dict[Hashable, tuple[float, float]]:
    """Where the points of a saved `headline` are, by the index of their row: shares of its width from the left, of its height
    from the top."""
    found: dict[Hashable, tuple[float, float]] = {}
    for axes, part in zip(headline.axes, parts_of_widths(ratios[ratios.best]), strict=True):
        at = axes.transData.transform(np.column_stack([part.theory_speedup, part.speedup])) / headline.bbox.size
        found |= dict(zip(part.index, ((float(x), 1 - float(y)) for x, y in at), strict=True))
    return found


def _bounds(axes: Axes, part: pd.DataFrame) -> bool:
    """A dash at what no separable kernel can exceed here; one that is far above everything says nothing, and is left out.
    Gives whether there is any."""
    seen = part[part.bound_speedup <= axes.get_ylim()[1]]
    axes.scatter(seen.theory_speedup, seen.bound_speedup, s=90, marker="_", color=SOFT, linewidths=1.0, alpha=0.7, zorder=3)
    return len(seen) > 0


def _name(axes: Axes, part: pd.DataFrame) -> None:
    """Next to each point in what its shape differs, where all shapes promise the same; what lies together is named together."""
    differs = [name for name in AXES if part[name].nunique() > 1]
    if not differs or len(part) > _MOST_NAMES:
        return
    sizes = part[differs].apply(lambda row: ", ".join(f"{name} {size}" for name, size in row.items()), axis=1)
    together = (part.speedup.sort_values().pct_change() > _NEAR).cumsum()
    for _, group in part.groupby(together):
        words = _lines(sizes[group.sort_values("speedup", ascending=False).index])
        at = (group.theory_speedup.iloc[0], float(np.sqrt(group.speedup.min() * group.speedup.max())))
        axes.annotate(words, at, xytext=(9, 0), textcoords="offset points", va="center", fontsize=7.5, color=SOFT)


def _lines(names: Iterable[str]) -> str:
    """Names in lines that end within the figure, none of them broken."""
    whole = (name.replace(" ", "\N{NO-BREAK SPACE}") for name in names)
    return fill("; ".join(whole), _LINE, break_long_words=False)


def _bound_handle() -> Line2D:
    return Line2D([], [], linestyle="", marker="_", markersize=10, color=SOFT, label="bound: a perfect separable kernel")


def _winners(best: pd.DataFrame) -> str:
    """Which kernels were the fastest, most often first."""
    names = {side: winners(best, side) for side in ("standard", "separable")}
    return fill("; ".join(f"fastest {side} kernel: {found}" for side, found in names.items()), 130)


def winners(best: pd.DataFrame, side: str) -> str:
    """The fastest kernels of a side, most often first."""
    counted = kernel_labels(best, f"{side}_").groupby(best[f"{side}_kernel"]).agg(["first", "size"])
    return ", ".join(dict.fromkeys(counted.sort_values("size", ascending=False, kind="stable")["first"]))
