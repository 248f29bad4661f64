"""MobileNet-V1 end to end: its table, and what the numbers say in words.

Works on the tidy tables `network` and `layers` of the results.
"""

from __future__ import annotations

import pandas as pd

from sepconv_bench.model.networks import WHOLE
from sepconv_bench.report.view import TextTable, terminal_table, view
from sepconv_bench.results import columns

CONFIGURATION = ["alpha", "resolution", "batch"]
_SIZES = ("M", "N", "D_G", "stride")
_COMPARED = ("standard_s", "theory_speedup", "speedup")
_PEER = ("separable_peer_over_ours", "separable_peer")
_COLUMNS = ("part", *_SIZES, "standard_s", "separable_s", *_COMPARED[1:], "separable_eta", *_PEER)


def largest(layers: pd.DataFrame) -> pd.DataFrame:
    """The steps of the largest network that was timed step by step, in order; without the whole."""
    steps = layers[layers.part != WHOLE]
    if steps.empty:
        return steps
    *_, (_, rows) = steps.groupby(CONFIGURATION)
    return rows


def whole(layers: pd.DataFrame, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """The networks as wholes; only that of the rows `like` if given."""
    rows = layers[layers.part == WHOLE]
    if like is None or like.empty:
        return rows
    return rows[(rows[CONFIGURATION] == like[CONFIGURATION].iloc[0]).all(axis=1)]


def describe_network(layers: pd.DataFrame, network: pd.DataFrame) -> list[str]:
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
            f"The steps, each timed by itself, add up to {total * 1e3:.2f} ms of the {row.separable_s * 1e3:.2f};"
            f" the longest are {parts}."
        )
    return sentences


def layer_view(layers: pd.DataFrame) -> TextTable:
    """The layers of the largest network and the whole, as texts; a layer that both networks share has no speedup."""
    steps = largest(layers)
    frame = pd.concat([steps, whole(layers, steps)])
    shown = view(columns.LAYERS, frame, _COLUMNS)
    shared = frame.standard_multiply_adds == frame.separable_multiply_adds
    for row, is_whole, is_shared, peer in zip(shown.rows, frame.part == WHOLE, shared, frame.separable_peer, strict=True):
        hidden = {*(_SIZES if is_whole else ()), *(_COMPARED if is_shared else ()), *(() if peer else _PEER)}
        for name in hidden:
            row[_COLUMNS.index(name)] = ""
    return shown


def describe_layers(layers: pd.DataFrame, network: pd.DataFrame) -> str:
    """The table for a terminal, and the sentences under it."""
    return "\n".join([terminal_table(layer_view(layers)), *describe_network(layers, network)])
