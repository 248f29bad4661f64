"""Every figure there is: who draws it from which tables, where it stands, and what is said of it.

A new figure is a file beside this one and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from sepconv_bench.report.figures import history, network
from sepconv_bench.report.figures.crossover import crossover
from sepconv_bench.report.figures.efficiency import efficiency
from sepconv_bench.report.figures.headline import headline, places
from sepconv_bench.report.figures.ladder import rungs_to_the_peak
from sepconv_bench.report.figures.machines import machines
from sepconv_bench.report.figures.over import over
from sepconv_bench.report.figures.plane import plane
from sepconv_bench.report.figures.reasons import reasons
from sepconv_bench.report.figures.roofline import roofline
from sepconv_bench.report.figures.rungs import rungs

Places = Callable[..., dict[Hashable, tuple[float, float]]]


@dataclass(frozen=True)
class Entry:
    """A figure of a page's section. `draw` takes what `needs` names: tables, and "ceilings" of the last run.

    `stem` is the file's name; `heading` and `caption` stand over and under it, and `heading` may hold "{newest}", the label of
    the newest run of a history. `tall`: narrower than the page; `intervals`: its bars are intervals; `places` gives where rows
    of a table are points in the saved figure, from the figure and what it was drawn from.
    """

    section: str
    stem: str
    heading: str
    caption: str
    draw: Callable[..., Figure | None]
    needs: tuple[str, ...]
    tall: bool = True
    intervals: bool = False
    places: Places | None = None


ENTRIES = (
    Entry(
        "sweep",
        "speedup",
        "What it buys, and what it promises",
        (
            "Measured speedup over the promised one, both on logarithmic axes, a point a shape, coloured by D_K; the line is"
            " the formula, the dash above or below a point what perfect kernels would reach on this machine."
        ),
        headline,
        ("ratios",),
        intervals=True,
        places=places,
    ),
    Entry(
        "sweep",
        "why",
        "Why each shape is not where the formula puts it",
        (
            "A row a shape: from the promised speedup, at 1x, bars lead to the measured one, a dot. They are the factors by"
            " which memory bandwidth, the fixed cost of a launch, and how far the two kernels are from perfect ones move it;"
            " they multiply exactly."
        ),
        reasons,
        ("why",),
    ),
    Entry(
        "sweep",
        "plane",
        "The promise as a plane",
        (
            "The promised speedup over N and D_K as coloured ground with lines of equal promise, and on it the measured shapes"
            " in the colours of their measured speedup: a point that cannot be told from its ground is as promised."
        ),
        plane,
        ("ratios",),
    ),
    Entry(
        "sweep",
        "crossover",
        "Where it stops paying",
        (
            "Every shape by its promised speedup and the size of its standard layer, a panel a comparison, coloured by the"
            " measured speedup; crosses are shapes on which separable convolution is the slower one."
        ),
        crossover,
        ("ratios",),
        tall=False,
    ),
    Entry(
        "sweep",
        "rungs",
        "Like with like",
        (
            "The axes of the first figure, one panel a rung of kernels: the standard and the separable kernel of a panel are"
            " written alike."
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
            f"Speedup over {axis}, a panel a comparison; dashed lines are what the formula promises.",
            partial(over, axis=axis),
            ("ratios",),
            tall=False,
            intervals=True,
        )
        for axis in ("N", "D_K", "M", "D_G")
    ),
    Entry(
        "sweep",
        "ladder",
        "The ladder of kernels",
        (
            "Share of the machine's multiply-add peak that each kernel reaches, a panel an operator: bars are medians over the"
            " shapes, lines go from the least to the most. Hatched bars are other people's libraries."
        ),
        rungs_to_the_peak,
        ("timings",),
    ),
    Entry(
        "sweep",
        "efficiency",
        "Efficiency over the channels",
        (
            "Share of the peak that the fastest standard and the fastest separable kernel reach, over M input and N output"
            " channels; medians where several shapes share both."
        ),
        efficiency,
        ("timings",),
    ),
    Entry(
        "sweep",
        "roofline",
        "The roofline",
        (
            "Each kernel's share of the machine's peak over its arithmetic intensity, under the roofs that the peak and the"
            " bandwidth of three memory levels set."
        ),
        roofline,
        ("timings", "ceilings"),
    ),
    Entry(
        "network",
        "network",
        "MobileNet-V1 end to end",
        "Time of MobileNet-V1 and of its all-standard counterpart, a pair of bars a library, with the speedup of each.",
        network.end_to_end,
        ("layers", "network"),
    ),
    Entry(
        "network",
        "layers",
        "Layer by layer",
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
        "Latency against multiply-adds",
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
        "What separable convolution costs of the standard one",
        "T_separable / T_standard, a panel a shape; the dashed line is 1/N + 1/D_K². Bars are asv's 99 % intervals.",
        history.cost_ratio,
        ("history", "labels"),
        tall=False,
    ),
    Entry(
        "history",
        "times",
        "Each kernel's time",
        "Against its first run, a panel an operator. Broad lines are the levels that asv's step detection finds.",
        history.times,
        ("history", "labels"),
        tall=False,
    ),
    Entry(
        "history",
        "speedup",
        "Measured and promised, {newest}",
        "Of the newest run: measured speedup over the promised one, a point a shape and pair; the line is the formula.",
        history.newest_speedups,
        ("history",),
    ),
    Entry(
        "history",
        "eta",
        "Share of the machine's peak, {newest}",
        "Of the newest run: the share of the multiply-add peak, timed in the same rounds, that each kernel attains.",
        history.newest_eta,
        ("history",),
    ),
    Entry(
        "machines",
        "machines",
        "Shape by shape",
        (
            "A row a shape, a mark a machine: the measured speedup of the fastest kernels on a logarithmic axis, a black dash"
            " where 1/N + 1/D_K² promises it; then the share of its multiply-add peak that the standard and the separable"
            " kernel attain."
        ),
        machines,
        ("machines",),
        tall=False,
        intervals=True,
    ),
)
