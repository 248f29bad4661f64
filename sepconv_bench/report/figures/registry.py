"""Every figure there is: who draws it from which tables, where it stands, and what is said of it.

A new figure is a file beside this one and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from sepconv_bench.report.figures import history, network
from sepconv_bench.report.figures.crossover import crossover
from sepconv_bench.report.figures.dtypes import dtypes
from sepconv_bench.report.figures.efficiency import efficiency
from sepconv_bench.report.figures.headline import headline, places
from sepconv_bench.report.figures.ladder import rungs_to_the_peak
from sepconv_bench.report.figures.machines import machines
from sepconv_bench.report.figures.over import over, shown
from sepconv_bench.report.figures.plane import plane
from sepconv_bench.report.figures.reasons import reasons
from sepconv_bench.report.figures.roofline import roofline
from sepconv_bench.report.figures.rungs import rungs
from sepconv_bench.report.figures.scanned import layer_by_layer

Places = Callable[..., dict[Hashable, tuple[float, float]]]
OF_ALL_DTYPES = "ratios of all dtypes"  # what a figure needs that is not of one


@dataclass(frozen=True)
class Entry:
    """A figure of a page's section. `draw` takes what `needs` names: tables, of one dtype each, OF_ALL_DTYPES, and "run", the
    last one.

    `stem` is the file's name; `short` stands in the contents, `heading` and `caption` over and under the figure. A heading may
    name what the page gives: "{newest}", the label of the newest run of a history, or "{claims[why]}", what the numbers say.
    `tall`: narrower than the page; `intervals`: its bars are intervals; `places` gives where rows of a table are points in the
    saved figure, from the figure and what it was drawn from; `shown` the rows of its first table that it draws, where not all.
    """

    section: str
    stem: str
    short: str
    heading: str
    caption: str
    draw: Callable[..., Figure | None]
    needs: tuple[str, ...]
    tall: bool = True
    intervals: bool = False
    places: Places | None = None
    shown: Callable[..., pd.DataFrame] | None = None


ENTRIES = (
    Entry(
        "sweep",
        "speedup",
        "Measured and promised",
        "{claims[speedup]}",
        (
            "Each point is one shape: the fastest standard kernel's time over the fastest separable kernel's (vertical)"
            " against what the formula 1 / (1/N + 1/D_K²) promises (horizontal). Both axes are logarithmic, one panel a"
            " D_K. On the line a shape gains what was promised. A grey dash is the bound: the same standard kernel against"
            " a separable one at its roofline; a bound beyond the axis is not drawn."
        ),
        headline,
        ("ratios",),
        intervals=True,
        places=places,
    ),
    Entry(
        "sweep",
        "dtypes",
        "In each dtype",
        "{claims[dtypes]}",
        (
            "The axes of the first figure, one point a shape and dtype, of the fastest kernels in that dtype. The formula"
            " counts multiplications and promises the same in all of them; f32 runs on the vector units, the others"
            " on tensor cores where there are any."
        ),
        dtypes,
        (OF_ALL_DTYPES,),
        intervals=True,
    ),
    Entry(
        "sweep",
        "why",
        "What takes the rest",
        "{claims[why]}",
        (
            "Each row is one shape. From the promised speedup, at 1x, bars lead to the measured one, the dot: the factors"
            " by which memory bandwidth, the fixed cost of a launch and the two kernels' distance from their rooflines"
            " move it. Their product is exact. A standard kernel below its roofline raises the speedup."
        ),
        reasons,
        ("why",),
    ),
    Entry(
        "sweep",
        "plane",
        "By D_K and N",
        "{claims[plane]}",
        (
            "Each field is one D_K and N: the measured and the promised speedup, medians over its n shapes. The colour"
            " is the median of measured / promised; a grey field was not measured."
        ),
        plane,
        ("ratios",),
    ),
    Entry(
        "sweep",
        "crossover",
        "Where it loses",
        "{claims[crossover]}",
        (
            "Each point is one shape: its measured speedup against the multiply-adds of its standard layer, one panel a"
            " comparison of kernels. On the shaded ground separable convolution is the slower one."
        ),
        crossover,
        ("ratios",),
        tall=False,
        intervals=True,
    ),
    Entry(
        "sweep",
        "rungs",
        "Like with like",
        "{claims[rungs]}",
        (
            "The axes of the first figure, one panel a pair: the standard and the separable kernel of a panel are written"
            " alike, or are of the same library."
        ),
        rungs,
        ("ratios",),
        tall=False,
        intervals=True,
    ),
    *(
        Entry(
            "sweep",
            f"over_{axis}",
            f"Over {axis}",
            f"{{claims[over_{axis}]}}",
            f"Measured speedup against {axis}, the other sizes fixed, one panel a comparison. Dashed: the formula.",
            partial(over, axis=axis),
            ("ratios",),
            tall=False,
            intervals=True,
            shown=partial(shown, axis=axis),
        )
        for axis in ("N", "D_K", "M", "D_G")
    ),
    Entry(
        "sweep",
        "ladder",
        "Every kernel",
        "{claims[ladder]}",
        (
            "Share of the machine's multiply-add peak that each kernel reaches, one panel an operator. Bars are medians"
            " over the shapes, lines go from the least to the most. Hatched grey bars are other libraries."
        ),
        rungs_to_the_peak,
        ("timings",),
    ),
    Entry(
        "sweep",
        "efficiency",
        "Share of the peak",
        "{claims[efficiency]}",
        (
            "Share of the multiply-add peak that the fastest standard and the fastest separable kernel reach, over M"
            " input and N output channels; the median where several shapes share both. A"
            " grey field was not measured."
        ),
        efficiency,
        ("timings",),
    ),
    Entry(
        "sweep",
        "roofline",
        "Roofline",
        "{claims[roofline]}",
        (
            "Each point is one kernel on one shape: its share of the multiply-add peak of the same rounds against its"
            " arithmetic intensity. In colour the fastest kernel of each operator and shape, in grey all others. The roofs"
            " are the bandwidth of a copy within three working sets, without what a launch costs."
        ),
        roofline,
        ("timings", "run"),
    ),
    Entry(
        "network",
        "network",
        "End to end",
        "{claims[network]}",
        "Time of MobileNet-V1 and of its all-standard counterpart, one pair of bars a library, with the speedup of each.",
        network.end_to_end,
        ("layers", "network"),
    ),
    Entry(
        "network",
        "layers",
        "Layer by layer",
        "{claims[layers]}",
        (
            "Our time of each step in both networks on a logarithmic axis, a dash where the fastest other library stands;"
            " below, the measured speedup of each block and the promised one."
        ),
        network.by_layer,
        ("layers",),
    ),
    Entry(
        "network",
        "latency",
        "Latency",
        "{claims[latency]}",
        (
            "Time over multiply-adds, both on logarithmic axes, of MobileNet-V1 (filled) and its all-standard counterpart"
            " (open) over width multipliers and resolutions."
        ),
        network.latency,
        ("layers",),
    ),
    Entry(
        "history",
        "cost_ratio",
        "Cost ratio",
        "What share of the standard time separable convolution takes",
        "T_separable / T_standard, one panel a shape; the dashed line is 1/N + 1/D_K². Bars are asv's 99% intervals.",
        history.cost_ratio,
        ("history", "labels"),
        tall=False,
    ),
    Entry(
        "history",
        "times",
        "Times",
        "Each kernel's time",
        (
            "Change of time against the first run, one panel an operator. Broad lines are the levels that asv's step"
            " detection finds."
        ),
        history.times,
        ("history", "labels"),
        tall=False,
    ),
    Entry(
        "history",
        "speedup",
        "Measured and promised",
        "Measured and promised, {newest}",
        "The newest run: measured speedup against the promised one, one point a shape; the line is the formula.",
        history.newest_speedups,
        ("history",),
    ),
    Entry(
        "history",
        "eta",
        "Share of the peak",
        "Share of the machine's peak, {newest}",
        "The newest run: the share of the multiply-add peak, timed in the same rounds, that each kernel attains.",
        history.newest_eta,
        ("history",),
    ),
    Entry(
        "machines",
        "machines",
        "Shape by shape",
        "Shape by shape",
        (
            "Each row is one shape, each mark one machine: the measured speedup of the fastest kernels on a logarithmic"
            " axis, a dash where 1/N + 1/D_K² promises it; then the share of its multiply-add peak that the standard and"
            " the separable kernel attain."
        ),
        machines,
        ("machines",),
        tall=False,
        intervals=True,
    ),
    Entry(
        "scan",
        "model",
        "Layer by layer",
        "Where the model's time goes, layer by layer",
        (
            "Each row is one layer, in the order in which the model runs them. The broad bar is its share of the time of all"
            " convolutions now, the narrow one what it would take of that time as a separable one. A diamond marks what is"
            " worth replacing, with its gain; an open one, what may as well lose."
        ),
        layer_by_layer,
        ("scanned",),
    ),
)
