"""What torch alone takes for a layer in other number types and backwards, in words."""

from __future__ import annotations

from dataclasses import dataclass

from sepconv_bench.measure.records import Estimate
from sepconv_bench.report.view import TextTable, terminal_table


@dataclass(frozen=True)
class Passed:
    """A pass in a number type: seconds as standard and as separable convolution, and the speedup from the one to the other;
    each an estimate with its 95 % interval."""

    name: str
    number: str
    standard: Estimate
    separable: Estimate
    speedup: Estimate


@dataclass(frozen=True)
class TorchOnly:
    """The passes that were timed. `narrow`: of standard and of separable, how many times as fast the forward pass in another
    type is as in float32; empty where that was not asked for. `print` it."""

    version: str
    threads: int
    promised: float
    passes: tuple[Passed, ...]
    narrow: tuple[Estimate, ...] = ()

    def __str__(self) -> str:
        rows = [
            [
                f"{one.name} {one.number}",
                *(
                    f"{side.value * 1e3:.3g} ({side.lo * 1e3:.3g} to {side.hi * 1e3:.3g})"
                    for side in (one.standard, one.separable)
                ),
                f"{_times(one.speedup)}, promised {self.promised:.2f}x",
            ]
            for one in self.passes
        ]
        if self.narrow:
            number = next(one.number for one in self.passes if one.number != "f32")
            rows.append([f"{number} against f32, forward", *map(_times, self.narrow), ""])
        table = terminal_table(TextTable(["", "standard ms", "separable ms", "speedup"], [True, False, False, True], rows))
        lines = [
            f"torch only, no kernel of ours (torch {self.version}, eager, channels last, {self.threads} threads), timed now:"
        ]
        lines += ["", *table.splitlines()]
        if any(one.name == "backward" for one in self.passes):
            lines += [
                "",
                "backward: the gradients of input and weights; twice the multiply-adds of a forward pass, on both sides.",
            ]
        return "\n".join(lines)


def _times(one: Estimate) -> str:
    return f"{one.value:.3g}x ({one.lo:.3g} to {one.hi:.3g})"
