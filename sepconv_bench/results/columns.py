"""What the columns of each table are: name, type, unit, meaning, and how a value is written where people read it.

Files (CSV, JSON, Parquet), Markdown, the pages and docs/tables.md all go by these. `python -m sepconv_bench.results.columns`
prints docs/tables.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Dtype = Literal["str", "bool", "int64", "Int64", "float64"]


@dataclass(frozen=True)
class Column:
    """One column of a table. A page calls it `heading`, and writes its values times `scale` as `format` says."""

    name: str
    meaning: str
    dtype: Dtype = "float64"
    unit: str = ""
    heading: str = ""
    format: str = ""
    scale: float = 1.0

    @property
    def is_text(self) -> bool:
        return self.dtype == "str"

    def series(self, values: Sequence[Any]) -> pd.Series:
        try:
            return pd.Series(values, dtype=self.dtype)
        except OverflowError:  # multiplications of a shape that no machine has measured may be beyond 2^63
            return pd.Series(values, dtype="float64")

    def text(self, value: Any) -> str:
        """A value as people read it; empty where there is none."""
        if pd.isna(value):
            return ""
        if self.is_text or self.dtype == "bool":
            return str(value)
        return format(value * self.scale if self.scale != 1 else value, self.format)


@dataclass(frozen=True)
class Table:
    """What a row of it is, and its columns in order."""

    row: str
    columns: tuple[Column, ...]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def frame(self, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
        """Rows as a table of these columns and types, also where there is no row. Each row has just these columns."""
        names = [column.name for column in self.columns]
        for row in rows:
            assert [*row] == names, f"{[*row]} are not the columns {names}"
        return pd.DataFrame({column.name: column.series([row[column.name] for row in rows]) for column in self.columns})


def text(name: str, meaning: str, heading: str = "") -> Column:
    return Column(name, meaning, "str", heading=heading or name)


def integer(name: str, meaning: str, unit: str = "", dtype: Dtype = "int64") -> Column:
    return Column(name, meaning, dtype, unit, name, "d")


def times(name: str, meaning: str, heading: str = "") -> Column:
    """How many times as fast, or as long."""
    return Column(name, meaning, heading=heading or name, format=".2f")


def share(name: str, meaning: str, heading: str = "") -> Column:
    return Column(name, meaning, heading=heading or name, format=".1%")


def seconds(name: str, meaning: str, heading: str = "", scale: float = 1e6, spec: str = ",.1f") -> Column:
    return Column(name, meaning, "float64", "s", heading or name, spec, scale)


def milliseconds(name: str, meaning: str, heading: str = "") -> Column:
    return seconds(name, meaning, heading, 1e3, ".3f")


def number(name: str, meaning: str, unit: str = "", heading: str = "", spec: str = ".4g") -> Column:
    return Column(name, meaning, "float64", unit, heading or name, spec)


def flag(name: str, meaning: str) -> Column:
    return Column(name, meaning, "bool", heading=name)


MACHINE = text("machine", "name of the machine: its CPU and threads, or its GPU")
RUN = integer("run", "number of the run in the file")
SHAPE = (
    integer("D_K", "kernel width", "pixels"),
    integer("M", "input channels"),
    integer("N", "output channels"),
    integer("D_G", "output width", "pixels"),
    integer("stride", "pixels from one window to the next", "pixels"),
    integer("batch", "images of a launch"),
)
GENERAL = (
    integer("D_K_w", "columns of the window, D_K being its rows", "pixels"),
    integer("D_G_w", "columns of the output map, D_G being its rows", "pixels"),
    integer("stride_w", "pixels from one window to the next along a row", "pixels"),
    integer("dilation", "pixels from one tap of a window to the next, down", "pixels"),
    integer("dilation_w", "the same along a row", "pixels"),
    *(
        integer(f"pad_{side}", f"{lines} of zeros {where} the input map, as many as windows see", "pixels")
        for side, lines, where in (
            *(("top", "rows", "above"), ("bottom", "rows", "below")),
            *(("left", "columns", "left of"), ("right", "columns", "right of")),
        )
    ),
    integer("multiplier", "maps that depthwise gives of each channel"),
    integer("groups", "groups of the standard convolution"),
)
DTYPE = text("dtype", "what factors are rounded to and maps are stored as: f32, tf32, bf16 or fp16; sums are float32")
COLD = flag("cold", "whether each launch found its map and weights outside the caches")
KERNEL = text("kernel", "name of the kernel, `<device>.<operator>.<variant>`")
OPERATOR = text("operator", "standard, depthwise, pointwise or separable")
VARIANT = text("variant", "which kernel of its operator and device")
LIBRARY = text("library", "whose code computes: ours, user, or the name of another library")
STATUS = text("status", "ok, unsupported, wrong, failed or slow")
REASON = text("reason", "why it is not ok")
GRADE = (
    text("grade", "how far it can be believed: A closed and clean, B closed with a remark, C not closed (docs/grades.md)"),
    text("remark", "the plainest reason for a grade below A"),
    text("flags", "all signs of noise in the samples: wide, few, bimodal, drift, steal; empty where there is none"),
)
TIME = (
    seconds("time_s", "time of a launch: mean of the logarithms of the blocks' medians", "time (µs)"),
    seconds("time_lo_s", "lower end of its 95 % interval"),
    seconds("time_hi_s", "upper end of its 95 % interval"),
)
SPEEDUP = (
    times("speedup", "1 / ratio: T_standard / T_separable", "measured"),
    times("speedup_lo", "lower end of its 95 % interval"),
    times("speedup_hi", "upper end of its 95 % interval"),
)
RATIO = (
    number("ratio", "T_separable / T_standard, from within-round ratios"),
    number("ratio_lo", "lower end of its 95 % interval"),
    number("ratio_hi", "upper end of its 95 % interval"),
)
THEORY_SPEEDUP = times("theory_speedup", "what the multiplications promise, 1 / theory_ratio", "promised")
PAIR = (
    text("standard_kernel", "name of the standard kernel", "standard"),
    text("separable_kernel", "name of the separable kernel", "separable"),
    text("standard_variant", "variant of the standard kernel"),
    text("standard_library", "library of the standard kernel"),
    text("separable_variant", "variant of the separable kernel"),
    text("separable_library", "library of the separable kernel"),
    text("rung", "variant of both, or which of the two is only the fastest; empty where both are only the fastest"),
    flag("best", "whether these are the fastest kernels of each side, Winograd's aside; one row a shape"),
)
NETWORK = (
    number("alpha", "width multiplier", spec="g"),
    integer("resolution", "width of an input image", "pixels"),
    integer("batch", "images of a launch"),
    text("part", "conv, block1 to block13, classifier, or whole"),
)

TIMINGS = Table(
    "a kernel and cell",
    (
        *(MACHINE, KERNEL, OPERATOR, text("device", "cpu or cuda"), VARIANT, LIBRARY, *SHAPE, *GENERAL, DTYPE, COLD, *TIME),
        integer("samples", "rounds in which it was timed"),
        integer("blocks", "blocks of rounds, each on fresh buffers"),
        integer("launches", "launches of a sample; none where it was not timed", dtype="Int64"),
        integer("multiplications", "multiplications of a launch"),
        integer("bytes", "every tensor once in each of the kernel's passes", "bytes"),
        number("gflops", "2 x multiplications / time", "GFLOP/s", "GFLOP/s", ".1f"),
        number("peak_gflops", "rate of the multiply-add loop timed in the same rounds", "GFLOP/s", spec=".1f"),
        share("eta", "rate over that of the peak within the same rounds, median of ratios", "η"),
        seconds("roofline_s", "time of a perfect kernel of the same passes"),
        seconds("compile_s", "time that compiling took", "compile (s)", 1.0, ".2f"),
        number("error", "largest error of its result, in units of what rounding explains"),
        flag("converged", "whether the interval of its time is within the run's target"),
        *(*GRADE, STATUS, REASON),
        seconds("steal_s", "CPU time that the hypervisor or a quota took while the cell was measured", scale=1.0, spec=".2f"),
        text("started", "when the cell was begun, UTC"),
        RUN,
    ),
)
RATIOS = Table(
    "a pair of kernels and cell",
    (
        *(MACHINE, *SHAPE, *GENERAL, DTYPE, COLD, *PAIR, *RATIO),
        number("theory_ratio", "1/N + 1/D_K^2; in general multiplier x groups x (1/N + 1/(D_K D_K_w))"),
        *(*SPEEDUP, THEORY_SPEEDUP),
        times("roofline_speedup", "what perfect kernels of these passes would reach on this machine", "roofline"),
        times("bound_speedup", "T_standard over the roofline of separable in one pass: no kernel gains more here", "bound"),
        share("eta_standard", "share of the peak that the standard kernel attains", "η standard"),
        share("eta_separable", "share of the peak that the separable kernel attains", "η separable"),
        flag("converged", "whether the interval of the ratio is within the run's target"),
        *(*GRADE, RUN),
    ),
)
WHY = Table(
    "a pair of kernels and cell",
    (
        *(MACHINE, *SHAPE, *GENERAL, DTYPE, *PAIR, THEORY_SPEEDUP),
        number("roofline", "factor of memory bandwidth: what perfect kernels would reach over what is promised"),
        number("standard", "factor of the standard kernel: 1 / its efficiency"),
        number("separable", "factor of the separable kernel: its efficiency"),
        number("overhead", "factor of the fixed cost of a launch"),
        SPEEDUP[0],
        *(number(f"log2_{name}", f"log2 of `{name}`") for name in ("roofline", "standard", "separable", "overhead")),
        seconds("standard_overhead_s", "fixed cost of a launch of the standard kernel, fitted over the file's cells"),
        seconds("separable_overhead_s", "fixed cost of a launch of the separable kernel, fitted over the file's cells"),
        text("held_by_memory", "passes of perfect kernels for which memory bandwidth is the roof"),
        text(
            "dominant",
            "factor that moves the speedup most; none: as promised; unknown: no peak, or Winograd's",
        ),
        RUN,
        text("explanation", "the same in words", "why"),
    ),
)
PEERS = Table(
    "a kernel of ours or a user's, and a peer",
    (
        *(OPERATOR, KERNEL),
        DTYPE,
        text("peer", "library; best: in each cell the fastest of all of them"),
        integer("cells", "cells in which both were timed"),
        times("geomean", "the peer's time over the kernel's, geometric mean over cells"),
        times("min", "the least of them"),
        times("max", "the greatest of them"),
        text("least_at", "shape of the least"),
    ),
)
SUMS = Table(
    "a network and comparison, where the file holds all of the network's convolutions",
    (
        MACHINE,
        text("network", "VGG-16 or Inception-V1"),
        text("device", "cpu or cuda"),
        text("comparison", "fastest / fastest, or a rung as in `ratios`"),
        integer("layers", "convolutions of 3 x 3 and up"),
        integer("shapes", "distinct shapes among them"),
        text("standard_kernels", "kernels of the standard layers"),
        text("separable_kernels", "kernels of the separable layers"),
        integer("standard_multiply_adds", "multiply-adds of the standard layers"),
        integer("separable_multiply_adds", "multiply-adds of the separable layers"),
        milliseconds("standard_s", "time of the standard layers, each as often as it occurs"),
        milliseconds("separable_s", "time of the separable layers"),
        *RATIO,
        number("theory_ratio", "ratio of the summed multiply-adds"),
        *SPEEDUP,
        times("theory_speedup", "what the summed multiply-adds promise", "promised"),
        share("held", "speedup / theory_speedup"),
        text("longest", "layer in which the standard network spends most of its time"),
        share("longest_share", "share of the standard time that is spent in it"),
    ),
)
NETWORKS = Table(
    "a part of MobileNet-V1 and a kernel or library that was timed on it",
    (
        *(MACHINE, *NETWORK),
        text("operator", "separable: of MobileNet-V1; standard: of its all-standard counterpart; or that of a shared layer"),
        *(KERNEL, VARIANT, LIBRARY),
        text("algorithm", "direct, im2col, winograd (fewer multiplications than theory counts), or chosen by the library"),
        *(milliseconds(one.name, one.meaning) for one in TIME),
        times("speedup", "T_standard / T_separable of the same variant, from paired samples"),
        integer("multiply_adds", "multiply-adds of the part"),
        number("gflops", "2 x multiply-adds / time", "GFLOP/s", spec=".1f"),
        share("eta", "share of the multiply-add peak"),
        *(STATUS, REASON, RUN),
    ),
)
LAYERS = Table(
    "a part of MobileNet-V1, in both networks",
    (
        *(MACHINE, *NETWORK, *(column for column in SHAPE if column.name != "batch")),
        integer("standard_multiply_adds", "multiply-adds of the part in the all-standard counterpart"),
        integer("separable_multiply_adds", "multiply-adds of the part in MobileNet-V1"),
        times("theory_speedup", "what the multiply-adds promise", "promised"),
        *SPEEDUP,
        *(
            column
            for side in ("standard", "separable")
            for column in (
                milliseconds(f"{side}_s", f"our time, {side}", f"{side} ms"),
                Column(f"{side}_eta", "our share of the multiply-add peak", heading="eta", format=".0%"),
                text(f"{side}_peer", "the fastest other library on that part; whether by Winograd's algorithm", "peer"),
                times(f"{side}_peer_over_ours", "its time over ours, from paired samples", "peer / ours"),
                times(f"{side}_peer_over_ours_lo", "lower end of its 95 % interval"),
                times(f"{side}_peer_over_ours_hi", "upper end of its 95 % interval"),
            )
        ),
        *(
            Column(one.name, f"{one.meaning}; of the speedup, where two kernels make it", "str", heading=one.name)
            for one in GRADE[:2]
        ),
        RUN,
    ),
)
SCAN = Table(
    "a distinct convolution of a model, or a layer of it that is not covered",
    (
        text("layer", "its name in the model, of the first where several are alike"),
        text("layers", "the names of all that are alike"),
        integer("times", "how often the model runs it"),
        text("operator", "standard, depthwise, pointwise, grouped; or what the model calls what is not covered"),
        integer("in_channels", "channels that go in", dtype="Int64"),
        integer("out_channels", "channels that come out", dtype="Int64"),
        *(
            integer(f"{what}_{side}", f"{side} of the {meaning}", "pixels", dtype="Int64")
            for what, meaning in (("kernel", "window"), ("input", "input map"), ("output", "output map"), ("stride", "step"))
            for side in ("height", "width")
        ),
        *(integer(f"dilation_{side}", f"pixels between taps, {side}", "pixels", dtype="Int64") for side in ("height", "width")),
        integer("groups", "groups of channels", dtype="Int64"),
        integer("batch", "images of a launch", dtype="Int64"),
        integer("multiply_adds", "multiply-adds of one; none where its sizes are not known", dtype="Int64"),
        integer("parameters", "weights of one", dtype="Int64"),
        *(
            milliseconds(name, meaning)
            for name, meaning in (
                ("now_s", "time of one as it stands, by the fastest kernel known here"),
                ("now_lo_s", "lower end of its interval"),
                ("now_hi_s", "upper end of its interval"),
                ("ours_s", "time of one as it stands, by our fastest kernel or a user's; none where it was not measured"),
                ("peer_s", "time of one as it stands, by the fastest other library; none where it was not measured"),
                (
                    "standard_s",
                    "time of one as a standard convolution; of a depthwise one together with the pointwise after it",
                ),
                (
                    "separable_s",
                    "time of one as a separable convolution; of a depthwise one as it stands, with the pointwise after it",
                ),
            )
        ),
        text("peer", "that other library"),
        times("gain", "standard over separable, as they would be here"),
        times("gain_lo", "lower end of its interval"),
        times("gain_hi", "upper end of its interval"),
        text(
            "gain_over",
            "whose standard kernel the gain is counted from, which is the fastest: ours, user or the library, and whether by"
            " Winograd's algorithm; direct where it is predicted, of kernels that do every multiplication",
        ),
        times("promised", "what the multiply-adds promise, 1 / (1/N + 1/D_K^2)"),
        share("share", "share of all the model's convolutions' time, of all that are alike"),
        text("basis", "measured (95 % intervals), predicted (90 %), or predicted beyond what was measured, with the sizes"),
        text("worth_replacing", "yes, no, unclear; empty where it is no standard convolution or not covered"),
        text("reason", "why"),
    ),
)
SAMPLES = Table(
    "a sample",
    (
        *(*SHAPE, *GENERAL, DTYPE),
        text("kernel", "name of the kernel; ceiling.fma is the machine's multiply-add peak"),
        integer("block", "number of the block: one draw of buffers"),
        integer("round", "number of the round in its block, in which every open kernel was timed once"),
        Column("time_s", "time of a launch", unit="s", heading="time_s", format=".9g"),
    ),
)

TABLES: Mapping[str, Table] = {
    **{"timings": TIMINGS, "ratios": RATIOS, "why": WHY, "peers": PEERS, "sums": SUMS},
    **{"network": NETWORKS, "layers": LAYERS, "samples": SAMPLES},
}

OTHERS: Mapping[str, Table] = {"scan": SCAN}  # which are no table of a results file


def documented() -> str:
    """docs/tables.md."""
    lines = [
        "# The tables",
        "",
        "`sepconv-bench export DIR --table NAME` writes them as CSV, JSON or Parquet. Every number is computed from the",
        "samples in the results file; `scan` is what `sepconv-bench scan MODEL` writes. This page is written by",
        "`python -m sepconv_bench.results.columns > docs/tables.md`.",
    ]
    for name, table in {**TABLES, **OTHERS}.items():
        rows = [(f"`{column.name}`", column.dtype, column.unit, column.meaning) for column in table.columns]
        frame = pd.DataFrame(rows, columns=["column", "type", "unit", "meaning"])
        lines += ["", f"## {name}", "", f"One row for {table.row}.", "", frame.to_markdown(index=False)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(documented(), end="")
