"""Whether cells of two machines belong into one grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.results.store import Results


def refuse_other_machine(results: Results, machine: Fingerprint) -> None:
    """ResultsError where the results were measured on something else than `machine`, or by something else."""
    for run in results.runs():
        for what, then, now in differences(run.machine, machine):
            raise ResultsError(
                f"{results.path} was measured with {what} {then}, and this is {now};"
                " measure into another --output, or run without --resume"
            )


def refuse_other_caches(results: Results, cold: bool) -> None:
    """ResultsError where the results were measured with cold caches and these cells are not to be, or the other way round."""
    for run in results.runs():
        if run.settings.cold != cold:
            then, now = ("cold" if one else "warm" for one in (run.settings.cold, cold))
            raise ResultsError(
                f"{results.path} was measured with {then} caches, and this is with {now} ones; measure into another --output"
            )


def differences(then: Fingerprint, now: Fingerprint) -> Iterator[tuple[str, Any, Any]]:
    """In what two fingerprints differ, so that their cells do not belong into one grid: what, and the two values.

    Of libraries those count that both have: one that was not there has timed nothing.
    """
    shared = [name for name in then.versions if name in now.versions]
    changed = [name for name in shared if then.versions[name] != now.versions[name]]
    for what in ("cpu", "llvm_cpu", "gpu", "threads", "threading_layer", "versions", "commit"):
        before, after = getattr(then, what), getattr(now, what)
        if what == "versions":
            before, after = ({name: machine.versions[name] for name in changed} for machine in (then, now))
        if before != after:
            yield what, before, after
