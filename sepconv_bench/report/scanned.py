"""A scanned model in words: its table, what to replace, and what that comes to. Works on the table `scan` and its total."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from sepconv_bench.predict.advice import LEAST_SAVING, Total
from sepconv_bench.predict.knowledge import DIRECT
from sepconv_bench.predict.prediction import Accuracy
from sepconv_bench.report.plain import in_markdown
from sepconv_bench.report.predicted import describe_accuracy
from sepconv_bench.report.view import TextTable, markdown_table, terminal_table

_REPLACED = ("standard", "grouped")  # operators in whose place a separable one could be
_TEXT = ("layer", "operator", "peer", "gain over", "replace", "why")
_BEYOND = "*"  # after a time that is beyond what was measured
_LONGEST = 44  # letters of a layer's name on a terminal; its end says more than its beginning


@dataclass(frozen=True)
class Scan:
    """A model that was scanned: a row a distinct layer in `table` (docs/tables.md has its columns), the same rows once a layer,
    in the model's order, in `layers`, and what it comes to in `total`; `accuracy` is that of the predictions, None where all
    was measured; `machine`: whose times they are, and of which day. `print` it, or look at it in a notebook."""

    source: str
    input: tuple[int, ...]
    table: pd.DataFrame
    layers: pd.DataFrame
    total: Total
    accuracy: Accuracy | None
    folder: Path
    machine: str

    def __str__(self) -> str:
        blocks = [heading(self), terminal_table(shown(self.table))]
        if (others := uncovered(self.table)).rows:
            blocks.append(terminal_table(others, heading=False))
        return "\n\n".join([*blocks, "\n".join(verdict(self.table, self.total)), "\n".join(how_to_read(self))])

    def _repr_html_(self) -> str:
        view = shown(self.table)
        frame = pd.DataFrame(view.rows, columns=view.headings)
        lines = "".join(f"<p>{escape(line)}</p>" for line in (*verdict(self.table, self.total), *how_to_read(self)))
        return f"<p><b>{escape(heading(self))}</b></p>{frame.to_html(index=False)}{lines}"

    def markdown(self) -> str:
        view = shown(self.table)
        rows = [[in_markdown(cell) for cell in row] for row in view.rows]
        lines = [in_markdown(line) for line in (*verdict(self.table, self.total), *how_to_read(self))]
        whole = markdown_table(TextTable(view.headings, view.texts, rows))
        return "\n\n".join([f"**{in_markdown(heading(self))}**", whole, *lines]) + "\n"


def heading(scan: Scan) -> str:
    distinct = len(convolutions(scan.table))
    return (
        f"{scan.source}, input {' x '.join(map(str, scan.input))}: {scan.total.convolutions} convolutions, {distinct} of them"
        f" different; {_count(scan.total.multiply_adds)} multiply-adds in all"
    )


def convolutions(table: pd.DataFrame) -> pd.DataFrame:
    """Its rows that are two-dimensional convolutions."""
    return table[table.kernel_height.notna()]


def shown(table: pd.DataFrame) -> TextTable:
    """The convolutions, as people read them."""
    rows = convolutions(table)
    frame = pd.DataFrame({"layer": [_shortened(name) for name in rows.layer], "times": rows.times.map(str)})
    frame["operator"] = list(rows.operator)
    frame["channels"] = [f"{one.in_channels} -> {one.out_channels}" for one in _each(rows)]
    frame["window"] = [_window(one) for one in _each(rows)]
    frame["map"] = [f"{one.output_height} x {one.output_width}" for one in _each(rows)]
    frame["now ms"] = [_ms(one.now_s) + _BEYOND * ("beyond" in one.basis) for one in _each(rows)]
    if (rows.ours_s.notna() | rows.peer_s.notna()).any():
        frame["ours ms"] = [_ms(one.ours_s) for one in _each(rows)]
        frame["peer ms"] = [_ms(one.peer_s) for one in _each(rows)]
        frame["peer"] = list(rows.peer)
    frame["separable ms"] = [_ms(one.separable_s) if one.operator in _REPLACED else "" for one in _each(rows)]
    frame["gain"] = [_gain(one) if one.operator in _REPLACED else "" for one in _each(rows)]
    if (~rows.gain_over[rows.operator.isin(_REPLACED)].isin(["", DIRECT])).any():
        frame["gain over"] = [one.gain_over if one.operator in _REPLACED else "" for one in _each(rows)]
    frame["promised"] = [f"{one.promised:.1f}x" if one.operator in _REPLACED else "" for one in _each(rows)]
    frame["share of time"] = [f"{share:.1%}" if share == share else "" for share in rows.share]
    frame["replace"] = list(rows.worth_replacing)
    frame["why"] = list(rows.reason)
    frame = frame.fillna("")
    return TextTable([*frame], [name in _TEXT for name in frame], frame.astype(str).to_numpy().tolist())


def verdict(table: pd.DataFrame, total: Total) -> list[str]:
    """What to replace, what the model would gain, and what is not in it."""
    chosen = table[table.worth_replacing == "yes"]
    lines = []
    if total.now_s == 0:
        lines.append("No time is known of any convolution of it.")
    elif chosen.empty:
        lines.append(f"Nothing is worth replacing: its convolutions take {_ms(total.now_s)} ms here and stay as they are.")
    else:
        first = chosen.sort_values("share", ascending=False, kind="stable")
        names = ", ".join(f"{row.layer}" + (f" ({row.times} alike)" if row.times > 1 else "") for row in _each(first))
        lines.append(f"Replace {total.replaced} of {total.convolutions} layers, the most rewarding first: {names}.")
        lo, hi = total.now_s / total.replaced_hi_s, total.now_s / total.replaced_lo_s
        lines.append(
            f"All convolutions take {_ms(total.now_s)} ms now, and would take {_ms(total.replaced_s)} ms with those replaced:"
            f" {total.speedup:.2f}x as fast ({lo:.2f} to {hi:.2f})."
        )
        if total.staying_s > 0:
            lines[-1] += (
                f" What stays takes {_ms(total.staying_s)} ms of it: if those replaced cost nothing at all, it would be"
                f" {total.limit:.2f}x (Amdahl's law)."
            )
        lines.append("A replaced layer computes something else: the network must be trained again, and its accuracy checked.")
    if total.uncovered or total.unknown:
        unknown = f", and {total.unknown} more whose size is not known" if total.unknown else ""
        lines.append(f"Not covered: {total.uncovered_share:.2%} of multiply-adds{unknown}.")
    return lines


def how_to_read(scan: Scan) -> list[str]:
    """What the columns mean, and how far to believe them."""
    lines = [
        "A standard convolution sums over its window and all channels at once. A separable one does it in two: depthwise, the"
        " window of each channel by itself, then pointwise, 1 x 1 over all channels. map: the output's height x width.",
        "now: the fastest kernel known on this machine (ours or another library's), in float32, each layer by itself. gain: how"
        " many times as fast a separable one in its place would be, with an interval; promised: by their multiply-adds alone."
        f" yes: it surely gains, and saves {LEAST_SAVING:.0%} of the time or more; unclear: it may as well lose.",
    ]
    if scan.total.now_s == 0:
        return []
    if (scan.table.ours_s.notna() | scan.table.peer_s.notna()).any():
        lines.append(
            "ours, peer: our fastest kernel and the fastest other library on the layer as it is, where it was measured. gain"
            " over: whose kernel the gain is counted from, which is the one of now; by Winograd's algorithm, where that was"
            " measured and is the fastest; direct, where now is predicted."
        )
    if scan.accuracy is None:
        return [*lines, f"All times are measured ({scan.folder})."]
    if (beyond := scan.table[scan.table.basis.str.contains("beyond")]).size:
        sizes = " ".join(dict.fromkeys(" ".join(basis.partition(": ")[2] for basis in beyond.basis).split()))
        lines.append(f"{_BEYOND} beyond the sizes that were measured ({sizes}): believe it less.")
    if (scan.table.gain_over == DIRECT).any():
        lines.append(
            "A standard layer is predicted by direct kernels, which do every multiplication. Winograd's algorithm does fewer:"
            " where it is faster here, now and the gain are less than predicted. `--measure` tells."
        )
    return [*lines, f"Predicted {describe_accuracy(scan.accuracy)} ({scan.folder}). `--measure` measures instead."]


def uncovered(table: pd.DataFrame) -> TextTable:
    """A row a layer without a time."""
    rows = table[table.reason.str.startswith("not covered")]
    told = []
    for row in _each(rows):
        count = "size unknown" if pd.isna(row.multiply_adds) else f"{_count(int(row.multiply_adds))} multiply-adds"
        told.append([_shortened(row.layer), f"{row.times}", row.operator, count, row.reason])
    return TextTable(["layer", "times", "operator", "multiply-adds", "why"], [True, False, True, False, True], told)


def _each(rows: pd.DataFrame) -> Iterator[Any]:
    """Rows by the names of their columns, each value of its column's type."""
    return iter(rows.itertuples())


def _window(row: object) -> str:
    kernel, stride, dilation = (
        (getattr(row, f"{name}_height"), getattr(row, f"{name}_width")) for name in ("kernel", "stride", "dilation")
    )
    words = [f"{kernel[0]} x {kernel[1]}"]
    if stride != (1, 1):
        words.append(f"stride {stride[0]}" if stride[0] == stride[1] else f"stride {stride[0]} x {stride[1]}")
    if dilation != (1, 1):
        words.append(f"dilation {dilation[0]}" if dilation[0] == dilation[1] else f"dilation {dilation[0]} x {dilation[1]}")
    return " ".join(words)


def _gain(row: Any) -> str:
    if pd.isna(row.gain):
        return ""
    return f"{row.gain:.1f}x ({row.gain_lo:.1f} to {row.gain_hi:.1f})"


def _ms(seconds: float) -> str:
    return "" if pd.isna(seconds) else f"{seconds * 1e3:#.3g}".rstrip(".")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"


def _count(number: int) -> str:
    """As 4.09 G."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)
