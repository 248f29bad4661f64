"""One layer explained: what it should cost, what it costs here, where the time goes, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from sepconv_bench.model import theory
from sepconv_bench.model.attribution import Factors
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.predict.knowledge import Value
from sepconv_bench.predict.prediction import Accuracy
from sepconv_bench.report.predicted import describe_accuracy
from sepconv_bench.report.view import TextTable, terminal_table

SIDES = ("standard", "separable")
_VECTOR = 16  # floats in the widest vectors
_NEAR = 0.85  # share of the promised speedup from which on it is called kept


@dataclass(frozen=True)
class Parts:
    """Seconds of a launch, by what takes them; they add up to its time.

    multiplying: the multiply-adds at the machine's peak. moving: what the bytes take longer than those. launching: the fixed
    cost of a launch. kernel: the rest, by which the kernel is not a perfect one; it is below zero where the kernel multiplies
    less, as Winograd's does, or where the fixed cost was estimated too high.
    """

    multiplying: float
    moving: float
    launching: float
    kernel: float

    @property
    def seconds(self) -> float:
        return self.multiplying + self.moving + self.launching + self.kernel


@dataclass(frozen=True)
class Explained:
    """A layer as standard and as separable convolution; `print` it, or look at it in a notebook.

    `parts`, `times` and `held_by_memory` by side; `factors` lead from `promised` to `speedup`, exactly. `chosen`: the tiles of
    our kernels on this CPU and why, in lines. `over_winograd`: the speedup over the fastest standard kernel that is known to be
    Winograd's, where one was measured.
    """

    shape: ConvShape
    times: dict[str, Value]
    speedup: Value
    parts: dict[str, Parts]
    factors: Factors
    held_by_memory: tuple[str, ...]
    peak_flops: float
    accuracy: Accuracy | None
    folder: Path
    chosen: tuple[str, ...] = ()
    over_winograd: Value | None = None

    @property
    def promised(self) -> float:
        return float(1 / theory.cost_ratio(self.shape))

    @property
    def perfect(self) -> float:
        """The speedup between perfect kernels on this machine."""
        return self.promised * self.factors.roofline

    @property
    def remedy(self) -> str:
        """What would help, in plain words."""
        return _remedy(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def _lines(one: Explained) -> list[str]:
    shape = one.shape
    stride = f", stride {shape.stride}" if shape.stride > 1 else ""
    batch = f", batch {shape.batch}" if shape.batch > 1 else ""
    basis = "measured here" if one.accuracy is None else "predicted here"
    head = (
        f"{shape.D_K} x {shape.D_K} convolution, {shape.M} -> {shape.N} channels,"
        f" output map {shape.D_G} x {shape.D_G}{stride}{batch}, float32 ({shape})"
    )
    counts = [theory.multiplications(side, shape) for side in SIDES]
    moved = [theory.bytes_moved([side], shape) for side in SIDES]
    perfect = [one.parts[side].multiplying + one.parts[side].moving for side in SIDES]
    rows = [
        ["multiply-adds", *(f"{count / 1e6:.3g} M" for count in counts), f"{one.promised:.2f}x promised: 1 / (1/N + 1/D_K^2)"],
        ["bytes", *(f"{size / 1e6:.3g} MB" for size in moved), "each tensor once"],
        ["perfect kernels", *(_ms(value) for value in perfect), f"{one.perfect:.2f}x: {_held(one)}"],
        [
            basis,
            *(f"{_ms(one.times[side].value)} ({_ms(one.times[side].lo)} to {_ms(one.times[side].hi)})" for side in SIDES),
            f"{one.speedup.value:.2f}x ({one.speedup.lo:.2f} to {one.speedup.hi:.2f})",
        ],
        ["", "", "", ""],
        ["of that time", "", "", ""],
        ["  multiply-adds", *_shares(one, "multiplying"), f"at the machine's peak of {one.peak_flops / 1e9:.0f} GFLOP/s"],
        ["  bytes", *_shares(one, "moving"), "what memory takes longer than that"],
        ["  launch", *_shares(one, "launching"), "what any launch costs"],
        ["  kernel quality", *_shares(one, "kernel"), "the rest: how far the kernel is from a perfect one"],
    ]
    table = terminal_table(TextTable(["", "standard ms", "separable ms", "speedup"], [True, False, False, True], rows))
    factors = one.factors
    product = (
        f"{one.promised:.2f}x promised x {factors.roofline:.2f} memory x {factors.standard:.2f} standard kernel"
        f" x {factors.separable:.2f} separable kernel x {factors.overhead:.2f} launch = {one.speedup.value:.2f}x"
    )
    source = (
        f"Measured ({one.folder})." if one.accuracy is None else f"Predicted {describe_accuracy(one.accuracy)} ({one.folder})."
    )
    if outside := one.speedup.outside:
        source += f" {outside} {'is' if ' ' not in outside else 'are'} beyond what was measured: believe it less."
    chosen = [*one.chosen, ""] if one.chosen else []
    return [head, "", *table.splitlines(), "", product, *_against_winograd(one), "", *chosen, one.remedy, "", source]


def _against_winograd(one: Explained) -> list[str]:
    """A line on what is left of the promise where standard goes by Winograd's algorithm, of those that multiply least."""
    shape = one.shape
    if (shape.window, shape.strides, shape.dilations, shape.groups) != ((3, 3), (1, 1), (1, 1), 1):
        return []
    fewest = min(theory.winograd_multiplications(shape, m) for m in (2, 4))
    promised = fewest / theory.multiplications("separable", shape)
    gain = one.over_winograd
    measured = f"; measured {gain.value:.2f}x ({gain.lo:.2f} to {gain.hi:.2f})" if gain else ""
    return [
        f"Against a Winograd standard ({fewest / 1e6:.3g} M multiply-adds) the promise is not {one.promised:.2f}x but"
        f" {promised:.2f}x{measured}."
    ]


def _remedy(one: Explained) -> str:
    shape, gain, factors = one.shape, one.speedup, one.factors
    if shape.D_K == 1:
        return "A window of 1 x 1 has nothing to separate: a separable layer only adds a pass. Leave it."
    if gain.hi <= 1:
        verdict = "Leave it as it is: separable is slower here."
    elif gain.lo <= 1:
        verdict = "It may gain or lose: measure it before you replace it (--measure)."
    else:
        verdict = f"Replace it if the accuracy allows: {gain.value:.1f}x as fast."
    if gain.value >= _NEAR * one.promised:
        if factors.standard > 1.25 * max(1.0, factors.roofline):
            share = one.parts["standard"].multiplying / one.parts["standard"].seconds
            return f"{verdict} It keeps its promise, partly because the standard kernel reaches only {share:.0%} of the peak."
        return f"{verdict} It keeps its promise, and little is left to mend."
    separable = one.parts["separable"]
    shares = [separable.multiplying / time for time in (separable.seconds, separable.multiplying + separable.moving)]
    odd = [f"{channels} channels" for channels in dict.fromkeys((shape.M, shape.N)) if channels % _VECTOR]
    reasons = {
        "roofline": (
            f"Memory takes the rest: {_held(one)}. One fused pass, more output channels, or a map that stays in the cache would"
            " help; a faster kernel would not."
        ),
        "overhead": (
            f"Launching is {separable.launching / separable.seconds:.0%} of the separable time: a batch of images, or several"
            " layers in a launch, would help."
        ),
        "separable": (
            f"The separable kernel reaches {shares[0]:.0%} of the machine's peak, and a perfect one {shares[1]:.0%}:"
            + (
                f" a multiple of {_VECTOR} in place of {' and '.join(odd)} would fill its vectors."
                if odd
                else " a better one would help."
            )
        ),
        "standard": "The standard kernel does better than the count, as Winograd's algorithm does, which multiplies less.",
    }
    return f"{verdict} {reasons[factors.dominant()]}"


def _held(one: Explained) -> str:
    if not one.held_by_memory:
        return "multiply-adds are the limit"
    return f"{' and '.join(dict.fromkeys(one.held_by_memory))} limited by memory"


def _shares(one: Explained, part: str) -> list[str]:
    return [f"{getattr(one.parts[side], part) / one.parts[side].seconds:.0%}" for side in SIDES]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"
