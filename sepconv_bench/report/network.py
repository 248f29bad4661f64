"""MobileNet-V1 end to end: its figures, its table, and what they say in words.

Figures take the tidy tables `network` and `layers` of the results and give None where there is nothing for them.
"""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.model.networks import WHOLE
from sepconv_bench.report.figures import LOOKS, MEASURED_GREY, log_axis, styled

_CONFIGURATION = ["alpha", "resolution", "batch"]
_COLOURS = {"standard": LOOKS[1][0], "separable": LOOKS[0][0]}
_PEER_COLOUR = "#222222"


def largest(layers: pd.DataFrame) -> pd.DataFrame:
    """The steps of the largest network that was timed step by step, in order; without the whole."""
    steps = layers[layers.part != WHOLE]
    if steps.empty:
        return steps
    *_, (_, rows) = steps.groupby(_CONFIGURATION)
    return rows


def whole(layers: pd.DataFrame, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """The networks as wholes; only that of the rows `like` if given."""
    rows = layers[layers.part == WHOLE]
    if like is None or like.empty:
        return rows
    return rows[(rows[_CONFIGURATION] == like[_CONFIGURATION].iloc[0]).all(axis=1)]


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
        times.plot(at + shift, peers, linestyle="", marker="_", markersize=14, markeredgewidth=4, color="white", zorder=4)
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
    gains.plot(at[blocks], steps.theory_speedup[blocks], color="#222222", linewidth=1.2, marker="_", label="promised")
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
    gains.axhline(1, color="#999999", linewidth=0.9)
    gains.set_ylim(bottom=0)
    gains.set_ylabel("speedup")
    gains.legend(loc="upper left", bbox_to_anchor=(0, 0.4))
    for axes in (times, gains):
        axes.grid(axis="x", visible=False)
    labels = [part.replace("block", "") for part in steps.part]
    gains.set_xticks(at, labels)
    gains.set_xlabel("first convolution, blocks, classifier")
    times.set_title(_told(steps, "MobileNet-V1 and its all-standard counterpart, layer by layer"), fontsize=12)
    return figure


@styled
def end_to_end(layers: pd.DataFrame, network: pd.DataFrame) -> Figure | None:
    """Time of both networks whole, a pair of bars a library, the fastest on top."""
    rows = whole(layers, largest(layers))
    if rows.empty:
        return None
    chosen = network[(network.part == WHOLE) & (network.status == "ok")]
    chosen = chosen[(chosen[_CONFIGURATION] == rows[_CONFIGURATION].iloc[0]).all(axis=1)]
    times = chosen.pivot(index="variant", columns="operator", values="time_s").dropna().sort_values("separable") * 1e3
    figure, axes = plt.subplots(figsize=(7.6, 1.6 + 0.75 * len(times)))
    at = np.arange(len(times))[::-1]
    for side, shift in (("separable", 0.19), ("standard", -0.19)):
        bars = axes.barh(at + shift, times[side], 0.36, color=_COLOURS[side], label=_NAMES[side])
        axes.bar_label(bars, [f"{value:.3g} ms" for value in times[side]], padding=3, fontsize=9)
    promise = float(rows.theory_speedup.iloc[0])
    speedups = chosen[chosen.operator == "separable"].set_index("variant").speedup
    labels = [f"{'ours' if name == 'plan' else name}\n{speedups[name]:.2f}x" for name in times.index]
    axes.set_yticks(at, labels)
    axes.set_xlim(right=times.to_numpy().max() * 1.15)
    axes.set_xlabel("time of a batch (ms)" if rows.batch.iloc[0] > 1 else "time of an image (ms)")
    figure.legend(loc="outside lower center", ncols=2)
    axes.grid(axis="y", visible=False)
    axes.set_title(_told(rows, f"End to end: the multiply-adds promise {promise:.2f}x"), fontsize=12)
    return figure


@styled
def latency(layers: pd.DataFrame) -> Figure | None:
    """Time against multiply-adds over alpha and resolution, of both networks."""
    rows = whole(layers)
    rows = rows[rows.batch == rows.batch.max()] if len(rows) else rows
    if len(rows) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.2, 5.4))
    alphas = sorted(rows.alpha.unique())
    for side, filled in (("separable", True), ("standard", False)):
        for alpha, (colour, marker) in zip(alphas, LOOKS, strict=False):
            part = rows[rows.alpha == alpha].sort_values("resolution")
            axes.plot(
                part[f"{side}_multiply_adds"] / 1e6,
                part[f"{side}_s"] * 1e3,
                color=colour,
                marker=marker,
                linewidth=0.9,
                markerfacecolor=colour if filled else "white",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis)
    axes.set_xlabel("multiply-adds (millions)")
    axes.set_ylabel("time of a batch (ms)" if rows.batch.iloc[0] > 1 else "time of an image (ms)")
    handles = [
        Line2D([], [], color=colour, marker=marker, label=rf"$\alpha$ = {alpha:g}")
        for alpha, (colour, marker) in zip(alphas, LOOKS, strict=False)
    ]
    handles += [
        Line2D([], [], linestyle="", color=MEASURED_GREY, marker="o", label="MobileNet-V1"),
        Line2D([], [], linestyle="", color=MEASURED_GREY, marker="o", markerfacecolor="white", label="all standard"),
    ]
    axes.legend(handles=handles, loc="upper left")
    resolutions = ", ".join(f"{value}" for value in sorted(rows.resolution.unique()))
    axes.set_title(f"Latency against multiply-adds, resolutions {resolutions}", fontsize=12)
    return figure


_NAMES = {"separable": "MobileNet-V1", "standard": "its all-standard counterpart"}


def _told(rows: pd.DataFrame, what: str) -> str:
    first = rows.iloc[0]
    batch = f", batch {first.batch}" if first.batch > 1 else ""
    return fill(what, 70) + f"\n$\\alpha$ = {first.alpha:g}, resolution {first.resolution}{batch}"


def verdict(layers: pd.DataFrame, network: pd.DataFrame) -> list[str]:
    """What the network's numbers say, in sentences; none where it was not timed."""
    steps = largest(layers)
    rows = whole(layers, steps)
    if rows.empty:
        return []
    row = rows.iloc[-1]
    kept = row.speedup / row.theory_speedup
    images = row.batch / row.separable_s
    sentences = [
        f"MobileNet-V1 (alpha {row.alpha:g}, resolution {row.resolution}, batch {row.batch}) takes"
        f" {row.separable_s * 1e3:.2f} ms, {images:.0f} images a second; its all-standard counterpart"
        f" {row.standard_s * 1e3:.1f} ms. That is {row.speedup:.2f}x"
        f" ({row.speedup_lo:.2f} to {row.speedup_hi:.2f}), where the multiply-adds promise {row.theory_speedup:.2f}x:"
        f" {kept:.0%} of the promise.",
    ]
    if row.separable_peer:
        sentences.append(
            f"The fastest other library ({row.separable_peer}) takes {row.separable_peer_over_ours:.2f} times as long for"
            f" MobileNet-V1, and ({row.standard_peer}) {row.standard_peer_over_ours:.2f} times for the counterpart."
        )
    if len(steps):
        total = steps.separable_s.sum()
        parts = ", ".join(
            f"{step.part} {step.separable_s / total:.0%}" for _, step in steps.nlargest(3, "separable_s").iterrows()
        )
        sentences.append(
            f"The steps, timed each by itself, add up to {total * 1e3:.2f} ms of the {row.separable_s * 1e3:.2f};"
            f" the longest are {parts}."
        )
    return sentences


COLUMNS = (
    "part",
    "M",
    "N",
    "D_G",
    "stride",
    "standard ms",
    "separable ms",
    "promised",
    "measured",
    "eta",
    "peer / ours",
    "peer",
)


def rows_of(layers: pd.DataFrame) -> list[tuple[str, ...]]:
    """The layers of the largest network as texts, in the order of COLUMNS, and the whole."""
    steps = largest(layers)
    shown = pd.concat([steps, whole(layers, steps)])
    told = []
    for _, row in shown.iterrows():
        shared = row.standard_multiply_adds == row.separable_multiply_adds
        sizes = ("", "", "", "") if row.part == WHOLE else tuple(str(size) for size in (row.M, row.N, row.D_G, row.stride))
        told.append(
            (
                row.part,
                *sizes,
                "" if shared else f"{row.standard_s * 1e3:.3f}",
                f"{row.separable_s * 1e3:.3f}",
                "" if shared else f"{row.theory_speedup:.2f}",
                "" if shared else f"{row.speedup:.2f}",
                f"{row.separable_eta:.0%}",
                f"{row.separable_peer_over_ours:.2f}" if row.separable_peer else "",
                row.separable_peer,
            )
        )
    return told


def told_layers(layers: pd.DataFrame, network: pd.DataFrame) -> str:
    """The table as plain text, and the sentences under it."""
    rows = rows_of(layers)
    widths = [max(len(row[column]) for row in (COLUMNS, *rows)) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            word.ljust(width) if column in (0, len(COLUMNS) - 1) else word.rjust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (COLUMNS, *rows)
    ]
    return "\n".join([*lines, *verdict(layers, network)])
