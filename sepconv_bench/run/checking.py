"""Every kernel against the reference on awkward shapes; nothing is timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import Outcome
from sepconv_bench.run import protocol
from sepconv_bench.run.kernel_process import WorkerSettings, open_kernel_process
from sepconv_bench.run.supervisor import WorkerError

# Odd sizes, sizes of one, strides that leave a rest, a kernel as wide as its map: where loops and tiles go wrong.
AWKWARD = (
    ConvShape(1, 1, 1, 1),
    ConvShape(3, 1, 1, 1),
    ConvShape(1, 3, 5, 4),
    ConvShape(2, 5, 3, 7),
    ConvShape(3, 4, 8, 5, stride=2),
    ConvShape(3, 7, 17, 6, batch=3),
    ConvShape(5, 13, 9, 3, stride=3, batch=2),
    ConvShape(3, 33, 31, 9),
    ConvShape(4, 16, 1, 8, stride=2),
    ConvShape(7, 2, 65, 11),
    ConvShape(3, 65, 129, 14, stride=2),
    # And what real layers say beside: a kernel that does not take it is not asked.
    ConvShape(3, 17, 20, 5, D_G_w=9, pad_top=1, pad_right=1),
    ConvShape(3, 4, 6, 5, stride=2, D_K_w=1, D_G_w=8, stride_w=1, dilation=3, dilation_w=2, pad_left=2),
    ConvShape(2, 6, 9, 4, dilation=2, multiplier=3, groups=3).with_padding("same"),
)


@dataclass(frozen=True)
class CheckResult:
    """One kernel on one shape against the reference."""

    shape: ConvShape
    outcome: Outcome


@dataclass(frozen=True)
class Summary:
    """One kernel on all shapes: of how many its result is right, and why it is not on the others, by shape."""

    kernel: str
    right: int
    shapes: int
    worst_error: float | None
    wrong: Mapping[str, str]


def summarize(kernel: str, found: Sequence[CheckResult]) -> Summary:
    """What became of one kernel; a shape that it does not support is neither right nor wrong."""
    errors = [one.outcome.error or 0.0 for one in found if one.outcome.status == "ok"]
    wrong = {str(one.shape): one.outcome.reason for one in found if one.outcome.status not in ("ok", "unsupported")}
    return Summary(kernel, len(errors), len(AWKWARD), max(errors, default=None), wrong)


def check(settings: WorkerSettings, shapes: Sequence[ConvShape] = AWKWARD, seed: int = 0) -> Iterator[CheckResult]:
    """Every selected kernel against the reference on every shape, in a worker that may die of it."""
    with open_kernel_process(settings) as process:
        for kernel in process.start().kernels:
            for shape in shapes:
                try:
                    outcome = process.ask(protocol.Check(kernel.name, shape, seed), protocol.Checked).outcome
                except WorkerError as fault:
                    yield CheckResult(shape, Outcome(kernel, "failed", fault.reason))
                    break  # a kernel that takes the process down is not tried further
                yield CheckResult(shape, outcome)
