"""Which standard layers of a model are worth replacing by separable ones, each with its one reason. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from sepconv_bench.predict.knowledge import Sides

FEWEST_CHANNELS = 8  # that go in: fewer do not fill the vector that a depthwise kernel computes at once (AVX2: 8 floats)
LEAST_PROMISE = 1.5  # speedup by multiply-adds, below which few output channels leave nothing to gain
LEAST_SAVING = 0.01  # of the model's time, below which nobody trains a model again
_LITTLE = 1.2  # speedup of perfect kernels, below which memory is the reason
_LAUNCH = 0.4  # share of a launch that is fixed cost, from which on that is the reason


@dataclass(frozen=True)
class Advice:
    """`replace` is yes, no or unclear (the interval of the gain holds 1)."""

    replace: str
    reason: str


@dataclass(frozen=True)
class Case:
    """What is known of a standard layer: its channels and groups, the speedups by multiply-adds and of perfect kernels, the
    share of the separable launch that is fixed cost, how often the model has it, and the seconds of all its convolutions."""

    in_channels: int
    out_channels: int
    groups: int
    sides: Sides
    promised: float
    perfect: float
    launch_share: float
    times: int
    model_s: float

    @property
    def saving(self) -> float:
        """Share of the model's time."""
        return self.times * (self.sides.standard - self.sides.separable) / self.model_s


def advise(case: Case) -> Advice:
    """The first reason that holds."""
    gain = case.sides.speedup
    if case.groups > 1 and case.promised < LEAST_PROMISE:
        return Advice("no", f"in {case.groups} groups already: by multiply-adds a separable one would be {case.promised:.1f}x")
    if case.in_channels < FEWEST_CHANNELS:
        return Advice("no", f"too few channels: only {case.in_channels} go in")
    if case.promised < LEAST_PROMISE:
        return Advice("no", f"too few channels: only {case.out_channels} come out")
    if gain.lo <= 1:
        return Advice("no" if gain.hi <= 1 else "unclear", _why_little(case))
    if case.saving < LEAST_SAVING:
        return Advice("no", f"too little: it would save {case.saving:.1%} of the time")
    return Advice("yes", f"saves {case.saving:.0%} of the time")


def _why_little(case: Case) -> str:
    if case.perfect < _LITTLE:
        return f"memory-bound: even perfect kernels would gain {case.perfect:.1f}x"
    if case.launch_share >= _LAUNCH:
        return f"too small: {case.launch_share:.0%} of a separable launch is the launching"
    if case.sides.winograd:
        return "the standard one is by Winograd's algorithm, which multiplies less"
    return "slower here: the separable kernels are further from perfect ones than the standard one is"


@dataclass(frozen=True)
class Total:
    """What the advice comes to: seconds of all convolutions that are covered, now and with the layers replaced that are worth
    it; of the latter what the layers take that stay. The ends of intervals are those of all layers at once.

    `multiply_adds` of the whole model, `uncovered` those of them that no time is known of; `unknown`: layers whose
    multiply-adds are not known either.
    """

    now_s: float
    replaced_s: float
    replaced_lo_s: float
    replaced_hi_s: float
    staying_s: float
    replaced: int
    convolutions: int
    multiply_adds: int
    uncovered: int
    unknown: int

    @property
    def speedup(self) -> float:
        return self.now_s / self.replaced_s if self.replaced_s else 1.0

    @property
    def limit(self) -> float:
        """The speedup if what is replaced cost nothing: Amdahl's law."""
        return self.now_s / self.staying_s if self.staying_s else float("inf")

    @property
    def uncovered_share(self) -> float:
        """Of the multiply-adds that are known."""
        return self.uncovered / self.multiply_adds if self.multiply_adds else 0.0
