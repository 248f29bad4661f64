"""The report in Markdown, for a pull request or a wiki: the sentences, the main figures, and the fastest kernels by shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.report.plain import in_markdown

_PICTURES = ("speedup", "why", "network")
_MOST_ROWS = 100


class Pictured(Protocol):
    """What is asked of a figure here."""

    @property
    def stem(self) -> str: ...
    @property
    def heading(self) -> str: ...
    @property
    def told(self) -> str: ...


def report(
    machine: Fingerprint, verdict: Sequence[str], pairs: pd.DataFrame, network: Sequence[str], figures: Sequence[Pictured]
) -> str:
    """`pairs` is the table `ratios`; figures are taken from figures/ beside the file."""
    lines = [
        f"# What separable convolution buys on {in_markdown(machine.machine)}",
        "",
        *_items(verdict),
        *_items(network),
        "",
    ]
    for figure in figures:
        if figure.stem in _PICTURES:
            lines += [f"## {figure.heading}", "", f"![{in_markdown(figure.told)}](figures/{figure.stem}.png)", ""]
    best = pairs[pairs.best] if len(pairs) else pairs
    if len(best):
        lines += [
            "## The fastest kernels of each shape",
            "",
            "| D_K | M | N | D_G | stride | batch | promised | measured | 95 % interval | eta, standard | eta, separable |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|",
            *(_row(row) for _, row in best.head(_MOST_ROWS).iterrows()),
            "",
        ]
    if len(best) > _MOST_ROWS:
        lines += [f"{len(best) - _MOST_ROWS} more shapes are in `sepconv-bench export DIR`.", ""]
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.cpu}, {machine.threads} threads; {versions}; commit {machine.commit or 'unknown'}."
    lines += [in_markdown(where)]
    return "\n".join(lines) + "\n"


def _items(sentences: Sequence[str]) -> list[str]:
    return [f"* {in_markdown(sentence)}" for sentence in sentences]


def _row(row: pd.Series) -> str:
    sizes = " | ".join(str(int(row[name])) for name in ("D_K", "M", "N", "D_G", "stride", "batch"))
    return (
        f"| {sizes} | {row.theory_speedup:.2f} | {row.speedup:.2f} | {row.speedup_lo:.2f} to {row.speedup_hi:.2f}"
        f" | {row.eta_standard:.0%} | {row.eta_separable:.0%} |"
    )
