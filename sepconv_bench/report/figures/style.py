"""What all figures share: the one style, legends, axes with plain numbers, and what kernels are called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib

if "matplotlib.pyplot" not in sys.modules:  # else somebody draws already, in a notebook say, and chose where
    matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.report.figures.palette import Look
from sepconv_bench.report.plain import in_figure

STYLE = Path(__file__).with_name("style.mplstyle")
AXIS_NAMES = {
    "D_K": "kernel width $D_K$",
    "M": "input channels $M$",
    "N": "output channels $N$",
    "D_G": "output width $D_G$ (pixels)",
}
SPEEDUP = "speedup  $T_{\\mathrm{standard}}\\,/\\,T_{\\mathrm{separable}}$"


def styled(draw: Callable[..., Figure | None]) -> Callable[..., Figure | None]:
    """Draw under the suite's one style, whatever the caller's matplotlib is set to."""

    def wrapper(*args: object, **kwargs: object) -> Figure | None:
        with plt.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    wrapper.__doc__ = draw.__doc__
    return wrapper


def kernel_labels(rows: pd.DataFrame, side: str = "") -> pd.Series:
    """What a figure calls each row's kernel: a rung of ours or a user's variant; of a peer, whichever way it is used, the
    library. `side` is what the columns begin with."""
    variant, library = rows[f"{side}variant"], rows[f"{side}library"]
    return variant.where(library.isin([OURS, USER]), library).map(in_figure)


def facets(count: int, height: float, width: float = 3.3) -> tuple[Figure, Sequence[Axes]]:
    """Panels side by side, in rows of at most four; `height` is that of a row, `width` that of a panel."""
    across = min(count, 4)
    down = ceil(count / across)
    size = (max(4.6, width * across), height + (down - 1) * 0.85 * height)
    figure, grid = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def legend_below(figure: Figure, handles: Sequence[Line2D | Patch]) -> Legend:
    fit = max(2, int(figure.get_size_inches()[0] / 1.55))
    rows = ceil(len(handles) / fit)
    return figure.legend(handles=list(handles), loc="outside lower center", ncols=ceil(len(handles) / rows), columnspacing=1.4)


def look_handles(prefix: str, looks: Mapping[Any, Look]) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=f"{prefix}{value}")
        for value, (colour, marker) in looks.items()
    ]


def title(figure: Figure, words: str) -> None:
    """Over all panels, in the place and the letters of every figure's title."""
    figure.suptitle(words, x=0.01, ha="left", fontsize=12, fontweight="bold")


def log_axis(side: matplotlib.axis.Axis, ticks: Sequence[float] = ()) -> None:
    """Plain numbers on a logarithmic axis, at the given ticks or at 1, 2, 5 of each decade."""
    if len(ticks):
        side.set_major_locator(matplotlib.ticker.FixedLocator(list(ticks)))
        side.set_minor_locator(NullLocator())
    else:
        side.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())
