"""A cell as it is read from the store: one shape, the kernels compared on it, and what their samples say."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sepconv_bench.measure.grades import flags, grade, remark
from sepconv_bench.measure.records import Estimate
from sepconv_bench.measure.statistics import estimate, log_medians, within_rounds
from sepconv_bench.model import theory
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.operators import SEPARABLE
from sepconv_bench.model.pairing import Pair, pairs
from sepconv_bench.results.records import PEAK, CellMeasured, Outcome, Run, unpacked
from sepconv_bench.results.roofs import Roofs

if TYPE_CHECKING:
    from sepconv_bench.results.between import Between

NOTHING = Estimate(np.nan, np.nan, np.nan)
_SHORTEST, _LONGEST = 1e-15, 1e15  # seconds that a launch may have taken


class Cell:
    """What was measured on one shape in one run: outcomes, and samples by kernel's name, an array a block."""

    def __init__(self, measured: CellMeasured, run: Run, between: Between | None = None) -> None:
        self.measured, self.run, self._between = measured, run, between
        self.shape = measured.shape
        self.network = measured.network
        self.outcomes: tuple[Outcome, ...] = measured.outcomes
        self.samples = {kernel: unpacked(blocks) for kernel, blocks in measured.samples.items()}

    def misfit(self) -> str:
        """Which samples cannot be, or "": all are seconds above zero, or NaN, as many for each kernel."""
        rounds = [list(map(len, blocks)) for blocks in self.samples.values()]
        for kernel, blocks in self.samples.items():
            if kernel != PEAK and kernel not in self.declared:
                return f"samples of {kernel!r}"
            for block in blocks:
                taken = block[~np.isnan(block)]
                if not ((taken > _SHORTEST) & (taken < _LONGEST)).all():
                    return f"samples of {kernel}"
        if any(each != rounds[0] for each in rounds):
            return "numbers of samples"
        if self.measured.visits and sum(self.measured.visits) != (len(rounds[0]) if rounds else 0):
            return "numbers of blocks"
        return "samples of the peak" if PEAK in self.samples and not self.measured.peak_flop else ""

    @cached_property
    def declared(self) -> dict[str, Declaration]:
        """What each kernel that was asked for says of itself, by name."""
        return {outcome.kernel.name: outcome.kernel for outcome in self.outcomes}

    @property
    def target(self) -> float:
        """Half-width that a ratio's interval should have had."""
        return self.run.settings.rules.target

    @cached_property
    def times(self) -> dict[str, Estimate]:
        """Seconds a launch of every kernel that was right."""
        right = (outcome.kernel.name for outcome in self.outcomes if outcome.status == "ok")
        return {name: estimate(self.samples[name]) for name in right if name in self.samples}

    @cached_property
    def compared(self) -> list[tuple[Pair, Estimate]]:
        """The pairs of its kernels, and of each T_separable / T_standard within the rounds."""
        return [(pair, self.ratio(pair.separable, pair.standard)) for pair in self.pairs]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Which of its kernels are compared."""
        return pairs({name: time.value for name, time in self.times.items()}, self.declared)

    def ratio(self, kernel: str, over: str) -> Estimate:
        """Of the times of two contenders, within the rounds; with what lies between visits where there were several."""
        known = self._between.component(self, kernel, over) if self._between else None
        return estimate(within_rounds(self.samples[kernel], self.samples[over]), known=known)

    def by_visit(self, kernel: str, over: str) -> list[np.ndarray]:
        """The logarithms of the block medians of that ratio, an array a visit, of those visits that have some."""
        ends = np.cumsum((0, *self.measured.visits))
        rounds = within_rounds(self.samples[kernel], self.samples[over])
        logs = [log_medians(rounds[first:end]) for first, end in pairwise(ends)]
        return [each for each in logs if len(each)]

    @cached_property
    def peak(self) -> float:
        """FLOP/s of the machine's best multiply-add loop, timed in the same rounds as the kernels; NaN if it was not."""
        blocks = self._peak_blocks
        return (self.measured.peak_flop or np.nan) / estimate(blocks).value if blocks else float("nan")

    @cached_property
    def _peak_blocks(self) -> list[np.ndarray]:
        """Samples of the peak, NaN in a block in which a kernel multiplies faster: nothing can, so the peak was disturbed there
        (of two stolen CPUs a sample of 0.1 ms loses more than one of 30 ms) and is no roof."""
        found = []
        for number, block in enumerate(self.samples.get(PEAK, [])):
            counted = filter(self._has_roof, self.times)
            rates = (self._eta_of(kernel, [block], self.samples[kernel][number : number + 1]).value for kernel in counted)
            found.append(np.full(len(block), np.nan) if any(rate > 1 for rate in rates) else block)
        return found

    def _has_roof(self, kernel: str) -> bool:
        """Whether the peak, which is that of float32 multiply-adds, is a roof for it."""
        return self.shape.dtype == "f32" and not self.declared[kernel].beyond_peak

    def _eta_of(self, kernel: str, peak: list[np.ndarray], kernels: list[np.ndarray]) -> Estimate:
        """Attained rate over that of the peak's samples, within the rounds."""
        paired = estimate(within_rounds(peak, kernels))
        scale = 2 * theory.multiplications(self.declared[kernel].operator, self.shape) / (self.measured.peak_flop or np.nan)
        return Estimate(scale * paired.value, scale * paired.lo, scale * paired.hi)

    def graded(self, kernel: str, over: str = PEAK) -> dict[str, str]:
        """Columns grade, remark and flags of the ratio of a kernel's times to another's, by default the peak's; see
        `sepconv_bench.measure.grades`. Empty where the kernel was not timed."""
        if kernel not in self.times:
            return {"grade": "", "remark": "", "flags": ""}
        known = self.ratio(kernel, over) if over in self.samples else estimate(self.samples[kernel])
        rounds = within_rounds(self.samples[kernel], self.samples[over]) if over in self.samples else self.samples[kernel]
        given = self.run.machine.threads * (self.measured.seconds or np.nan)
        stolen = (self.measured.steal_s or 0.0) / given
        found = flags(rounds, known.half_width, self.target, stolen)
        return {"grade": grade(found), "remark": remark(found), "flags": " ".join(found)}

    def eta(self, kernel: str) -> float:
        """Attained multiplication rate over the peak's of the same rounds, a multiplication counting for two FLOP. NaN of a
        kernel for which that peak is no roof."""
        if kernel not in self.times or not self._peak_blocks or not self._has_roof(kernel):
            return float("nan")
        return self._eta_of(kernel, self._peak_blocks, self.samples[kernel]).value

    def roofline_s(self, kernel: str) -> float:
        """Seconds that a perfect kernel of the same passes would need: the peak of these rounds, and the run's bandwidth
        relative to it. NaN of a kernel for which that peak is no roof."""
        if not self._has_roof(kernel):
            return float("nan")
        return theory.roofline_time(self.declared[kernel].passes, self.shape, *self.roofs)

    def bound_speedup(self, pair: Pair, measured: Estimate) -> float:
        """T_standard over the roofline of separable in one pass: no separable kernel gains more over this standard one here."""
        perfect = theory.roofline_time([SEPARABLE], self.shape, *self.roofs)
        return self.times[pair.separable].value / measured.value / perfect

    def held_by_memory(self, kernel: str) -> tuple[str, ...]:
        """The passes of a kernel, as operators, for which memory bandwidth and not the peak is the roof; none where that
        peak is no roof."""
        if not self._has_roof(kernel):
            return ()
        return theory.held_by_memory(self.declared[kernel].passes, self.shape, *self.roofs)

    @property
    def roofs(self) -> Roofs:
        """FLOP/s of these rounds, NaN where the dtype's peak is not known, and bytes/s by footprint in bytes."""
        return Roofs.of(self.run, self.peak if self.shape.dtype == "f32" else float("nan"))

    def gflops(self, kernel: str) -> float:
        """2 x multiplications / time, in 1e9 a second."""
        time = self.times.get(kernel, NOTHING).value
        return 2 * theory.multiplications(self.declared[kernel].operator, self.shape) / time / 1e9
