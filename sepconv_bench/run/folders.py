"""Where results go when the user names no folder, and where a command looks for them.

What a user measures is theirs: it goes to results/<machine>-<date>/, which git ignores, with a link `latest` beside it.
reports/ holds what was committed on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.results import store

OWN = Path("results")
COMMITTED = Path("reports")
LATEST = "latest"
_DATE = "[0-9]" * 4 + "-[0-9][0-9]-[0-9][0-9]"


def machine_name(device: str, threads: int, cold: bool = False) -> str:
    """What folders of this machine are called: its CPU and threads, or its GPU; and what was measured with cold caches."""
    if device == "cuda":
        from sepconv_bench.measure import cuda

        name = cuda.machine_name()
    else:
        from sepconv_bench.measure import machine

        name = machine.machine_name(threads)
    return f"{name}-cold" if cold else name


@contextmanager
def held(output: Path | None, own: Callable[[], Path] | None = None) -> Iterator[Path]:
    """Hold the folder that results go to against a second run into it: `output`, or the one that `own` gives.

    With the latter goes all of results/: two runs on one machine would time each other.
    """
    if output is not None:
        with store.claimed(output):
            yield output
        return
    assert own is not None
    with store.claimed(OWN):
        folder = own()
        with store.claimed(folder):
            try:
                yield folder
            finally:
                _link_latest(folder)


def new(machine: str) -> Path:
    """A folder of today's for the results of that machine, in which there are none yet."""
    name = f"{machine}-{datetime.now().astimezone():%Y-%m-%d}"
    names = (f"{name}{more}" for more in ("", *(f"-{count}" for count in range(2, 10_000))))
    return next(OWN / one for one in names if not (OWN / one / store.FILE_NAME).exists())


def latest(machine: str) -> Path | None:
    """The folder that the user measured into last on that machine, if there is one."""
    found = [path for tail in ("", "-*") for path in OWN.glob(f"{machine}-{_DATE}{tail}/{store.FILE_NAME}")]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def to_write(machine: str, resume: bool) -> Path:
    """A new folder; the latest of that machine, if there is one, where a run resumes."""
    return (latest(machine) if resume else None) or new(machine)


def to_read(folder: Path | None, device: str = "cpu") -> Path:
    """The folder that was named, else the latest of this machine, else what is committed of it; ResultsError where none is."""
    if folder is not None:
        return folder
    machine = _this_machine(device)
    if (found := latest(machine)) is None and (COMMITTED / machine / store.FILE_NAME).exists():
        return COMMITTED / machine
    return found or _refuse(f"neither {OWN}/{machine}-<date> nor {COMMITTED}/{machine} holds")


def own_to_read() -> Path:
    """The latest of this machine, of what the user measured. ResultsError where there is none."""
    machine = _this_machine("cpu")
    return latest(machine) or _refuse(f"no {OWN}/{machine}-<date> holds")


def _this_machine(device: str) -> str:
    from sepconv_bench.measure.machine import default_threads

    return machine_name(device, default_threads())


def _refuse(where: str) -> NoReturn:
    raise ResultsError(f"no DIR was given, and {where} results of this machine; `sepconv-bench run` measures it")


def that_goes_on(machine: Fingerprint) -> Path:
    """The latest folder if it was measured by this commit, on this machine and with these libraries; else a new one."""
    from sepconv_bench.run.machines import differences

    found = latest(machine.machine)
    if found is not None:
        with store.open_results(found) as results:
            if any(difference for run in results.runs() for difference in differences(run.machine, machine)):
                found = None
    return found or new(machine.machine)


def of_this_commit(machine: str) -> Path:
    """The latest folder of that machine if this commit measured it; else a new one."""
    from sepconv_bench.measure.machine import commit

    found = latest(machine)
    if found is not None:
        with store.open_results(found) as results:
            if any(run.machine.commit != commit() for run in results.runs()):
                found = None
    return found or new(machine)


def _link_latest(folder: Path) -> None:
    """The link `latest` to a folder, once there are results in it."""
    if not (folder / store.FILE_NAME).exists():
        return
    unfinished = OWN / f"{LATEST}.new"
    with suppress(OSError):  # no links on this file system, or something of the user's is called so
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(folder.name, target_is_directory=True)
        os.replace(unfinished, OWN / LATEST)
