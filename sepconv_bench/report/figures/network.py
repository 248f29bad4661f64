"""MobileNet-V1 in figures: end to end, layer by layer, and latency against multiply-adds."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.networks import WHOLE
from sepconv_bench.report.figures.palette import GROUND, INK, RULE, SEPARABLE, SOFT, STANDARD, of_series
from sepconv_bench.report.figures.style import log_axis, styled, title
from sepconv_bench.report.network import CONFIGURATION, largest, whole

_COLOURS = {"standard": STANDARD, "separable": SEPARABLE}
_NAMES = {"separable": "MobileNet-V1", "standard": "its all-standard counterpart"}
_PEER_COLOUR = INK


@styled
def end_to_end(layers: pd.DataFrame, network: pd.DataFrame) -> Figure | None:
    """Time of both networks whole, a pair of bars a library, the fastest on top."""
    rows = whole(layers, largest(layers))
    if rows.empty:
        return None
    chosen = network[(network.part == WHOLE) & (network.status == "ok")]
    chosen = chosen[(chosen[CONFIGURATION] == rows[CONFIGURATION].iloc[0]).all(axis=1)]
    times = chosen.pivot(index="variant", columns="operator", values="time_s") * 1e3
    times = times.sort_values(["separable", "standard"])  # one that runs only one of the two networks comes last
    figure, axes = plt.subplots(figsize=(7.6, 1.6 + 0.75 * len(times)))
    at = np.arange(len(times))[::-1]
    for side, shift in (("separable", 0.19), ("standard", -0.19)):
        bars = axes.barh(at + shift, times[side], 0.36, color=_COLOURS[side], label=_NAMES[side])
        shown = ["" if np.isnan(value) else f"{value:.3g} ms" for value in times[side]]
        axes.bar_label(bars, shown, padding=3, fontsize=9)
    promise = float(rows.theory_speedup.iloc[0])
    by_variant = chosen.set_index(["operator", "variant"])
    labels = [_library_label(by_variant, name) for name in times.index]
    axes.set_yticks(at, labels)
    axes.set_xlim(right=np.nanmax(times.to_numpy()) * 1.15)
    axes.set_xlabel("time of a batch (ms)" if rows.batch.iloc[0] > 1 else "time of an image (ms)")
    figure.legend(loc="outside lower center", ncols=2)
    axes.grid(axis="y", visible=False)
    title(figure, _title(rows, f"End to end: the multiply-adds promise {promise:.2f}x"))
    return figure


def _library_label(network: pd.DataFrame, variant: str) -> str:
    """A library's name, what it gains, and whether that is against a counterpart by Winograd's algorithm."""
    there = network.xs(variant, level="variant")
    lines = ["ours" if (there.library == OURS).all() else variant]
    if (there.algorithm == "winograd").any():
        lines[0] += ", Winograd"
    speedup = there.speedup.dropna()
    return "\n".join([*lines, *(f"{value:.2f}x" for value in speedup)])


@styled
def by_layer(layers: pd.DataFrame) -> Figure | None:
    """Our time of each step in both networks beside the fastest peer's, and the speedup beside the promised one."""
    steps = largest(layers)
    if steps.empty:
        return None
    figure, (times, gains) = plt.subplots(2, 1, figsize=(8.4, 6.4), sharex=True, height_ratios=(3, 2))
    at = np.arange(len(steps))
    for side, shift in (("standard", -0.2), ("separable", 0.2)):
        times.bar(at + shift, steps[f"{side}_s"] * 1e3, 0.38, color=_COLOURS[side], label=f"{side}, ours")
        peers = steps[f"{side}_s"] * steps[f"{side}_peer_over_ours"] * 1e3
        times.plot(at + shift, peers, linestyle="", marker="_", markersize=14, markeredgewidth=4, color=GROUND, zorder=4)
        times.plot(
            at + shift, peers, linestyle="", marker="_", markersize=13, markeredgewidth=1.6, color=_PEER_COLOUR, zorder=5
        )
    times.set_yscale("log")
    times.set_ylabel("time (ms)")
    log_axis(times.yaxis)
    handles, _ = times.get_legend_handles_labels()
    handles.append(
        Line2D([], [], linestyle="", marker="_", markersize=11, color=_PEER_COLOUR, label="the fastest peer, without ReLU6")
    )
    times.legend(handles=handles, loc="upper center", ncols=3)
    times.set_ylim(top=times.get_ylim()[1] * 2)
    blocks = (steps.standard_multiply_adds != steps.separable_multiply_adds).to_numpy()
    gains.plot(
        at[blocks],
        steps.theory_speedup[blocks],
        color=INK,
        linestyle="",
        marker="_",
        markersize=13,
        markeredgewidth=1.6,
        label="promised",
    )
    spread = [steps.speedup - steps.speedup_lo, steps.speedup_hi - steps.speedup]
    gains.errorbar(
        at[blocks],
        steps.speedup[blocks],
        [side[blocks] for side in spread],
        color=_COLOURS["separable"],
        linestyle="",
        marker="o",
        label="measured",
    )
    gains.axhline(1, color=RULE, linewidth=0.9)
    gains.set_ylim(bottom=0)
    gains.set_ylabel("speedup")
    gains.legend(loc="upper left", bbox_to_anchor=(0, 0.4))
    for axes in (times, gains):
        axes.grid(axis="x", visible=False)
    labels = [part.replace("block", "") for part in steps.part]
    gains.set_xticks(at, labels)
    gains.set_xlabel("first convolution, blocks, classifier")
    title(figure, _title(steps, "MobileNet-V1 and its all-standard counterpart, layer by layer"))
    return figure


@styled
def latency(layers: pd.DataFrame) -> Figure | None:
    """Time against multiply-adds over alpha and resolution, of both networks."""
    rows = whole(layers)
    rows = rows[rows.batch == rows.batch.max()] if len(rows) else rows
    if len(rows) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.2, 5.4))
    looks = of_series(f"{alpha:g}" for alpha in sorted(rows.alpha.unique()))
    for side, filled in (("separable", True), ("standard", False)):
        for alpha, (colour, marker) in looks.items():
            part = rows[rows.alpha == float(alpha)].sort_values("resolution")
            axes.plot(
                part[f"{side}_multiply_adds"] / 1e6,
                part[f"{side}_s"] * 1e3,
                color=colour,
                marker=marker,
                linestyle="",
                markerfacecolor=colour if filled else GROUND,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis)
    axes.set_xlabel("multiply-adds (millions)")
    axes.set_ylabel("time of a batch (ms)" if rows.batch.iloc[0] > 1 else "time of an image (ms)")
    handles = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=rf"$\alpha$ = {alpha}")
        for alpha, (colour, marker) in looks.items()
    ]
    handles += [
        Line2D([], [], linestyle="", color=SOFT, marker="o", label="MobileNet-V1"),
        Line2D([], [], linestyle="", color=SOFT, marker="o", markerfacecolor=GROUND, label="all standard"),
    ]
    axes.legend(handles=handles, loc="upper left")
    resolutions = [str(value) for value in sorted(rows.resolution.unique())]
    title(figure, f"Latency against multiply-adds, resolution{'s' * (len(resolutions) > 1)} {', '.join(resolutions)}")
    return figure


def _title(rows: pd.DataFrame, what: str) -> str:
    first = rows.iloc[0]
    batch = f", batch {first.batch}" if first.batch > 1 else ""
    return fill(what, 70) + f"\n$\\alpha$ = {first.alpha:g}, resolution {first.resolution}{batch}"
