"""A list of verdicts in words: for a terminal, and in Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sepconv_bench.measure.verdicts import NEGLIGIBLE, NOISE, Verdict
from sepconv_bench.report.plain import in_markdown
from sepconv_bench.report.view import TextTable, markdown_table, terminal_table

_HEADINGS = ["", "kernel and shape", "change of time", "95% interval, all together"]
_TEXTS = [True, True, False, False]
_WORDS = ("slower", "faster", "ambiguous", "same")


def regressions(verdicts: Sequence[Verdict], threshold: float) -> list[Verdict]:
    """Those that are slower, by `threshold` (a share) or more."""
    return [verdict for verdict in verdicts if verdict.word == "slower" and verdict.ratio.value >= 1 + threshold]


def text(verdicts: Sequence[Verdict], left_out: Mapping[str, str]) -> str:
    """A line a comparison, the ones that matter first."""
    rows = [[v.word, v.name, _share(v.ratio.value), f"({_interval(v)})"] for v in _in_order(verdicts)]
    lines = [terminal_table(TextTable(_HEADINGS, _TEXTS, rows), heading=False)] if rows else []
    lines += [f"not compared: {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join([*lines, _summary(verdicts)])


def markdown(verdicts: Sequence[Verdict], left_out: Mapping[str, str], old: str, new: str, threshold: float) -> str:
    """A table that a pull request can show."""
    bad = regressions(verdicts, threshold)
    found = f"**{len(bad)} slower by {threshold:.1%} or more**" if bad else f"nothing slower by {threshold:.1%} or more"
    rows = [[v.word, in_markdown(v.name), _share(v.ratio.value), _interval(v)] for v in _in_order(verdicts)]
    lines = [
        f"### {in_markdown(new)} vs {in_markdown(old)}: {found}",
        "",
        markdown_table(TextTable(_HEADINGS, _TEXTS, rows)),
        "",
        _summary(verdicts),
    ]
    if left_out:
        lines += ["", "Not compared:", *(f"- {in_markdown(name)}: {in_markdown(reason)}" for name, reason in left_out.items())]
    return "\n".join(lines) + "\n"


def _in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: (_WORDS.index(verdict.word), -verdict.ratio.value))


def _summary(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.word for verdict in verdicts)
    counted = ", ".join(f"{counts[word]} {word}" for word in _WORDS if counts[word])
    return (
        f"{counted or 'nothing was compared'}. Slower and faster: the whole interval is beyond {NOISE:.0%}; same: it is within"
        f" {NEGLIGIBLE:.0%}; ambiguous: neither."
    )


def _interval(verdict: Verdict) -> str:
    return f"{_share(verdict.ratio.lo)} to {_share(verdict.ratio.hi)}"


def _share(ratio: float) -> str:
    return f"{ratio - 1:+.1%}" if ratio < 10 else f"x {ratio:.3g}"
