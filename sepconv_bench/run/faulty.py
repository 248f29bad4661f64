"""A cell in which a kernel brings the worker down: it is measured again without that kernel, whose failure is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from sepconv_bench.model.declaration import Declaration
from sepconv_bench.results.records import CellMeasured, Outcome
from sepconv_bench.run.supervisor import WorkerError


def measure_sound(
    measure: Callable[[tuple[str, ...]], CellMeasured], names: Sequence[str], broken: dict[str, str]
) -> CellMeasured:
    """What `measure` gives for those of the names that do not bring the worker down; the others go into `broken`, with why.

    WorkerError where it was none of them.
    """
    while True:
        sound = tuple(name for name in names if name not in broken)
        try:
            return measure(sound)
        except WorkerError as fault:
            if fault.kernel not in sound:
                raise
            broken[fault.kernel] = fault.reason


def with_failed(measured: CellMeasured, kernels: Sequence[Declaration], reasons: Mapping[str, str]) -> CellMeasured:
    """The cell with a failed outcome for each kernel that there is a reason for; outcomes in the order of `kernels`."""
    found = {outcome.kernel.name: outcome for outcome in measured.outcomes}
    failed = {one.name: Outcome(one, "failed", reasons[one.name]) for one in kernels if one.name in reasons}
    both = found | failed
    return replace(measured, outcomes=tuple(both[one.name] for one in kernels))
