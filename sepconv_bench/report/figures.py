"""The figures: measured speedup beside the promised one, over each axis, and the roofline under it all.

Every function takes the tidy tables and gives a matplotlib Figure, or None where the results have nothing for it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import ceil
from pathlib import Path
from textwrap import fill

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from sepconv_bench import files
from sepconv_bench.measure.records import Ceilings
from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.report.plain import in_figure

# What each figure is written as, and what must not be in it for the same results to give the same bytes.
KINDS: dict[str, dict | None] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
STYLE = Path(__file__).with_name("style.mplstyle")
# Okabe and Ito's palette, told apart by the colour-blind; each colour goes with a marker of its own, for print in grey.
LOOKS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)
_CROWD = 2500  # marks in a figure
MEASURED_GREY = "#444444"
_OPERATOR_MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "separable": "D"}
AXIS_NAMES = {
    "D_K": "kernel width $D_K$",
    "M": "input channels $M$",
    "N": "output channels $N$",
    "D_G": "output width $D_G$ (pixels)",
}
_SPEEDUP = "speedup  $T_{\\mathrm{standard}}\\,/\\,T_{\\mathrm{separable}}$"


def styled(draw: Callable[..., Figure | None]) -> Callable[..., Figure | None]:
    """Draw under the suite's one style, whatever the caller's matplotlib is set to."""

    def wrapper(*args: object, **kwargs: object) -> Figure | None:
        with plt.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    wrapper.__doc__ = draw.__doc__
    return wrapper


@styled
def headline(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, the fastest standard kernel against the fastest separable one."""
    best = ratios[ratios.best] if len(ratios) else ratios
    if best.empty:
        return None
    figure, axes = plt.subplots(figsize=(7.2, 6.0))
    looks = _looks(best.D_K)
    _speedup_axes(axes, [best])
    x = _spread(best)
    colours = [looks[D_K][0] for D_K in best.D_K]
    axes.vlines(x, best.speedup, best.roofline_speedup, colors=colours, alpha=0.3, linewidth=0.8, zorder=2)
    axes.scatter(x, best.roofline_speedup, s=49, marker="_", c=colours, linewidths=1.0, zorder=3)
    _points(axes, best, x, looks)
    right = (axes.get_xlim()[1], 1)
    axes.annotate(
        "separable is slower", right, xytext=(-6, -4), textcoords="offset points", ha="right", va="top", color="#777777"
    )
    told = _told_winners(best)
    axes.set_title(
        "What depthwise separable convolution buys, and what it promises", fontsize=12, pad=12 + 14 * len(told.splitlines())
    )
    axes.text(0, 1.025, told, transform=axes.transAxes, color="#555555", in_layout=False)
    axes.set_ylabel(f"measured {_SPEEDUP}")
    roofline = [_roofline_handle()] if best.roofline_speedup.notna().any() else []
    handles = [*_look_handles("$D_K$ = ", looks), _promise_handle(), *roofline, *_interval_handles(best)]
    # Where there is room; among thousands of points there is none to look for, and the upper left is emptiest.
    axes.legend(
        handles=handles, loc="best" if len(best) < _CROWD else "upper left", frameon=True, framealpha=0.9, edgecolor="none"
    )
    return figure


@styled
def rungs(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup, like with like: one panel a rung."""
    parts = panels(ratios, best=False)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=4.0)
    looks = _looks(ratios.D_K)
    for axes, (title, rows) in zip(grid, parts, strict=True):
        _speedup_axes(axes, [rows for _, rows in parts])
        _points(axes, rows, _spread(rows), looks)
        axes.set_title(in_figure(title))
    grid[0].set_ylabel(f"measured {_SPEEDUP}")
    _legend_below(figure, [*_look_handles("$D_K$ = ", looks), _promise_handle(), _slower_handle(), *_interval_handles(ratios)])
    return figure


@styled
def over(ratios: pd.DataFrame, axis: str) -> Figure | None:
    """Speedup over one of D_K, M, N, D_G with the theory's curves, a panel a comparison, the other sizes fixed."""
    by = "N" if axis == "D_K" else "D_K"
    rows, fixed = _slice(ratios, axis, by)
    parts = panels(rows, best=True)
    if not parts:
        return None
    figure, grid = facets(len(parts), height=3.7)
    looks = _looks(rows[by])
    low = min(rows.speedup_lo.min(), rows.theory_speedup.min())
    high = max(rows.speedup_hi.replace(np.inf, np.nan).max(), rows.theory_speedup.max())
    for axes, (title, part) in zip(grid, parts, strict=True):
        for value, line in part.groupby(by):
            line = line.sort_values(axis)
            colour, marker = looks[value]
            curve = _theory_curve(line, axis)
            axes.plot(*curve, color=colour, linestyle=(0, (5, 2)), linewidth=1.2, zorder=2)
            axes.plot(line[axis], line.speedup, color=colour, alpha=0.5, linewidth=1, zorder=3)
            _bars(axes, line[axis], line, colour, marker)
        axes.axhline(1, color="#999999", linewidth=0.9, zorder=1)
        log_axis(axes.xaxis, sorted(rows[axis].unique()))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(low / 1.25, high * 1.25)
        log_axis(axes.xaxis, sorted(rows[axis].unique()))
        log_axis(axes.yaxis)
        axes.set_xlabel(AXIS_NAMES[axis])
        axes.set_title(in_figure(title))
    grid[0].set_ylabel(_SPEEDUP)
    theory = Line2D([], [], color=MEASURED_GREY, linestyle=(0, (5, 2)), linewidth=1.2, label="promised, $1/(1/N + 1/D_K^2)$")
    _legend_below(figure, [*_look_handles(f"${by}$ = ", looks), theory, *_interval_handles(rows)])
    sizes = ", ".join(f"${name}$ = {value}" for name, value in fixed.items())
    figure.suptitle(f"Speedup over {AXIS_NAMES[axis]}   ({sizes})", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def roofline(timings: pd.DataFrame, ceilings: Ceilings) -> Figure | None:
    """Every kernel and shape under the machine's roof, as a share of the FMA peak timed in the same rounds."""
    rows = timings[(timings.status == "ok") & timings.eta.notna()] if len(timings) else timings
    if rows.empty:
        return None
    intensity = 2 * rows.multiplications / rows.bytes
    levels = ceilings.levels
    ridge = {level.footprint: level.bytes_per_flop for level in levels}
    figure, axes = plt.subplots(figsize=(8.2, 5.6))
    left = min(intensity.min() / 1.6, 0.5 / max(ridge.values()))
    x = np.geomspace(left, intensity.max() * 2.0, 200)
    # The least, the most, and what a level of cache in between holds: L2, of a GPU as of a CPU.
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
    whose = labels(rows)
    looks = _looks(whose)
    for (operator, who), part in rows.assign(intensity=intensity, whose=whose).groupby(["operator", "whose"], sort=False):
        axes.scatter(
            part.intensity,
            part.eta,
            s=26,
            marker=_OPERATOR_MARKERS[str(operator)],
            color=looks[str(who)][0],
            alpha=0.75,
            linewidth=0,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(rows.eta.min() / 1.6, 1.6)
    axes.set_xlabel("arithmetic intensity, every tensor moved once (FLOP/byte)")
    axes.set_ylabel("share of the machine's FMA peak, $\\eta$")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    log_axis(axes.xaxis)
    axes.yaxis.set_minor_formatter(NullFormatter())
    peak = ceilings.peak.value / 1e9
    right = axes.secondary_yaxis(
        "right", functions=(lambda share: np.multiply(share, peak), lambda rate: np.divide(rate, peak))
    )
    right.set_ylabel(f"GFLOP/s at the run's peak of {peak:.0f}")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title("The roofline, and every kernel under it", fontsize=12)
    roofs, _ = axes.get_legend_handles_labels()
    kinds = [
        Line2D([], [], linestyle="", marker=marker, color=MEASURED_GREY, label=operator)
        for operator, marker in _OPERATOR_MARKERS.items()
        if (rows.operator == operator).any()
    ]
    colours = [Line2D([], [], linestyle="", marker="o", color=colour, label=who) for who, (colour, _) in looks.items()]
    figure.legend(handles=[*roofs, *kinds, *colours], loc="outside lower center", ncols=4, columnspacing=1.4)
    return figure


def save(figure: Figure, stem: Path) -> bytes:
    """Write the figure as PNG, SVG and PDF files, the same bytes for the same results, and close it; gives the SVG.

    InputError where they cannot be written.
    """
    drawn = {}
    _draw_crowds_as_pictures(figure)
    with plt.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name in a script that the font has not
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # of a name that leaves no room
        for kind, metadata in KINDS.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            with plt.rc_context({"figure.constrained_layout.use": False}):
                figure.set_layout_engine(None)  # as it is now; to lay it out again takes as long as to draw it
            drawn[kind] = buffer.getvalue()
    plt.close(figure)
    for kind, picture in drawn.items():
        files.write(stem.with_name(f"{stem.name}.{kind}"), picture)
    return drawn["svg"]


def places(headline: Figure, ratios: pd.DataFrame) -> dict[Hashable, tuple[float, float]]:
    """Where the points of a saved `headline` are, by the index of their row: shares of its width from the left, of its height
    from the top."""
    best = ratios[ratios.best]
    at = headline.axes[0].transData.transform(np.column_stack([_spread(best), best.speedup])) / headline.bbox.size
    return dict(zip(best.index, ((float(x), 1 - float(y)) for x, y in at), strict=True))


def _draw_crowds_as_pictures(figure: Figure) -> None:
    """Thousands of marks make a heavy page that opens slowly: then they are pixels, and everything else stays as it is."""
    drawn = [marks for axes in figure.axes for marks in axes.collections]
    many = {marks: max(np.shape(marks.get_offsets())[0], len(marks.get_paths())) for marks in drawn}
    if sum(many.values()) > _CROWD:
        for marks, count in many.items():
            marks.set_rasterized(count > 1)


# ---------------------------------------------------------------------------------------------- parts


def panels(ratios: pd.DataFrame, best: bool) -> list[tuple[str, pd.DataFrame]]:
    """The comparisons to draw side by side: best with best if asked, then each rung with its like and each lone kernel."""
    if ratios.empty:
        return []
    found = [("fastest of each", ratios[ratios.best])] if best else []
    found += [(str(rung), rows) for rung, rows in ratios[ratios.rung != ""].groupby("rung", sort=False)]
    return [(title, rows) for title, rows in found if len(rows)]


def _told_winners(best: pd.DataFrame) -> str:
    """Which kernels were the fastest, most often first."""

    def winners(side: str) -> str:
        counted = labels(best, f"{side}_").groupby(best[f"{side}_kernel"]).agg(["first", "size"])
        return ", ".join(dict.fromkeys(counted.sort_values("size", ascending=False, kind="stable")["first"]))

    standard, separable = winners("standard"), winners("separable")
    return fill(
        f"the fastest standard kernel ({standard}) against the fastest separable one ({separable}); a point a shape", 80
    )


def labels(rows: pd.DataFrame, side: str = "") -> pd.Series:
    """What a figure calls each row's kernel: a rung of ours or a user's variant; of a peer, whichever way it is used, the
    library. `side` is what the columns begin with."""
    variant, library = rows[f"{side}variant"], rows[f"{side}library"]
    return variant.where(library.isin([OURS, USER]), library).map(in_figure)


def _slice(ratios: pd.DataFrame, axis: str, by: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of the setting of the other sizes in which `axis` takes most values; none if it takes only one."""
    others = [name for name in ("D_K", "M", "N", "D_G", "stride", "batch") if name not in (axis, by)]
    if ratios.empty:
        return ratios, {}
    groups = [rows for _, rows in ratios.groupby(others)]
    rows = max(groups, key=lambda group: (group[axis].nunique(), len(group)))
    if rows[axis].nunique() < 2:
        return ratios.iloc[:0], {}
    # A line needs two points: what the grid visits at a single value of the axis belongs to another figure.
    lines = rows.groupby(by)[axis].transform("nunique") > 1
    shown = {name: int(rows[name].iloc[0]) for name in others}
    shown = {name: value for name, value in shown.items() if value != 1 or name not in ("stride", "batch")}
    rows = rows[lines]
    if rows[by].nunique() == 1:
        shown = {by: int(rows[by].iloc[0])} | shown
    return rows, shown


def facets(count: int, height: float, width: float = 3.3) -> tuple[Figure, Sequence[Axes]]:
    """Panels side by side, in rows of at most four; `height` is that of a row, `width` that of a panel."""
    across = min(count, 4)
    down = ceil(count / across)
    size = (max(4.6, width * across), height + (down - 1) * 0.85 * height)
    figure, grid = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def _legend_below(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    fit = max(2, int(figure.get_size_inches()[0] / 1.55))
    rows = ceil(len(handles) / fit)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=ceil(len(handles) / rows), columnspacing=1.4)


def _looks(values: Iterable) -> dict:
    """Colour and marker by value, numbers in order."""
    kinds = list(dict.fromkeys(values))
    if all(isinstance(kind, int | np.integer) for kind in kinds):
        kinds = sorted(kinds)
    return {kind: LOOKS[number % len(LOOKS)] for number, kind in enumerate(kinds)}


def _look_handles(prefix: str, looks: dict) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=f"{prefix}{value}")
        for value, (colour, marker) in looks.items()
    ]


def _promise_handle() -> Line2D:
    return Line2D([], [], color="#222222", linewidth=1.2, label="as promised")


def _slower_handle() -> Patch:
    return Patch(color="#000000", alpha=0.06, linewidth=0, label="separable is slower")


def _roofline_handle() -> Line2D:
    return Line2D([], [], linestyle="", marker="_", markersize=10, color=MEASURED_GREY, label="perfect kernels here (roofline)")


def _interval_handles(rows: pd.DataFrame) -> list[Line2D]:
    """What an open marker means, where there is one."""
    if (rows.doubts == "").all():
        return []
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markerfacecolor="white",
            color=MEASURED_GREY,
            label="open: too noisy, see the table",
        )
    ]


def _spread(rows: pd.DataFrame) -> np.ndarray:
    """Promised speedups, points of the same promise moved apart a little so that their bars can be told apart."""
    rank = rows.groupby("theory_speedup").cumcount()
    size = rows.groupby("theory_speedup").theory_speedup.transform("size")
    # The whole group is at most 14 % wide.
    step = 0.14 / np.maximum(size, 8)
    return (rows.theory_speedup * (1 + step * (rank - (size - 1) / 2))).to_numpy()


def _points(axes: Axes, rows: pd.DataFrame, x: np.ndarray, looks: dict) -> None:
    for value in looks:
        chosen = rows.D_K.eq(value).to_numpy()
        if chosen.any():
            _bars(axes, x[chosen], rows[chosen], *looks[value])


def _bars(axes: Axes, x: np.ndarray | pd.Series, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """Points with their 95 % intervals; filled where nothing speaks against them."""
    high = rows.speedup_hi.replace(np.inf, np.nan).fillna(rows.speedup)
    axes.vlines(x, rows.speedup_lo.replace(0, np.nan).fillna(rows.speedup), high, color=colour, linewidth=1.6, zorder=4)
    faces = ["white" if doubts else colour for doubts in rows.doubts]
    scale = min(1.0, (400 / len(rows)) ** 0.5)  # so that a crowd shows where it is densest
    axes.scatter(x, rows.speedup, s=34 * scale, marker=marker, c=faces, edgecolors=colour, linewidths=1.2 * scale, zorder=5)


def _speedup_axes(axes: Axes, parts: Sequence[pd.DataFrame]) -> None:
    """Log-log axes over all the parts, with the line on which the formula would be right and the one of no gain."""
    rows = pd.concat(parts)
    reached = pd.concat(
        [rows.speedup_lo.replace(0, np.nan), rows.speedup_hi.replace(np.inf, np.nan), rows.speedup, rows.roofline_speedup]
    )
    low, high = min(reached.min(), rows.theory_speedup.min()), max(reached.max(), rows.theory_speedup.max())
    x = np.array([rows.theory_speedup.min() / 1.25, rows.theory_speedup.max() * 1.25])
    y = np.array([low / 1.3, high * 1.3])
    axes.set_xscale("log")
    axes.set_yscale("log")
    line = np.array([min(x[0], y[0]), max(x[1], y[1])])
    axes.axhspan(y[0], 1, color="#000000", alpha=0.06, linewidth=0, zorder=0)
    axes.plot(line, line, color="#222222", linewidth=1.2, zorder=1)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    for side, (least, most) in ((axes.xaxis, x), (axes.yaxis, y)):
        # Where all are about the same, 1, 2 and 5 of a decade are too far apart.
        log_axis(side, [tick for tick in range(1, ceil(most)) if tick > least] if most < 4 * least else ())
    axes.set_xlabel("promised speedup  $1/(1/N + 1/D_K^2)$")


def _theory_curve(line: pd.DataFrame, axis: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.geomspace(line[axis].min(), line[axis].max(), 60)
    N = x if axis == "N" else line.N.to_numpy()[0]
    D_K = x if axis == "D_K" else line.D_K.to_numpy()[0]
    return x, np.broadcast_to(1 / (1 / N + 1 / D_K**2), x.shape)


def log_axis(side: matplotlib.axis.Axis, ticks: Sequence[float] = ()) -> None:
    """Plain numbers on a logarithmic axis, at the given ticks or at 1, 2, 5 of each decade."""
    if len(ticks):
        side.set_major_locator(matplotlib.ticker.FixedLocator(list(ticks)))
        side.set_minor_locator(NullLocator())
    else:
        side.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
