"""The report in Markdown, for a pull request or a wiki: the sentences, the main figures, and the fastest kernels by shape."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.model.shapes import AXES
from sepconv_bench.report.drawn import FIGURES, DrawnFigure
from sepconv_bench.report.plain import in_markdown
from sepconv_bench.report.view import markdown_table, view
from sepconv_bench.results.columns import RATIOS
from sepconv_bench.results.rows import said

_PICTURES = ("speedup", "dtypes", "why", "network")
_MOST_ROWS = 100
_COLUMNS = ("theory_speedup", "speedup", ("speedup_lo", "speedup_hi"), "eta_standard", "eta_separable", "grade")


def report(
    title: str, machine: Fingerprint, reason: str, sentences: Sequence[str], pairs: pd.DataFrame, figures: Sequence[DrawnFigure]
) -> str:
    """`pairs` is the table `ratios`; figures are taken from figures/ next to the file."""
    lines = [f"# {in_markdown(title)}", ""]
    lines += [f"* {in_markdown(sentence)}" for sentence in (reason, *sentences) if sentence]
    lines += [""]
    for figure in figures:
        if figure.stem in _PICTURES:
            lines += [f"## {figure.heading}", "", f"![{in_markdown(figure.caption)}]({FIGURES}/{figure.stem}.png)", ""]
    best = pairs[pairs.best]
    if len(best):
        shown = best.head(_MOST_ROWS)
        table = markdown_table(view(RATIOS, shown, (*AXES, *said(shown), *_COLUMNS)))
        lines += ["## The fastest kernels of each shape", "", table, ""]
    if len(best) > _MOST_ROWS:
        lines += [f"{len(best) - _MOST_ROWS} more shapes are in `sepconv-bench export DIR`.", ""]
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.cpu}, {machine.threads} threads; {versions}; commit {machine.commit or 'unknown'}."
    lines += [in_markdown(where)]
    return "\n".join(lines) + "\n"
