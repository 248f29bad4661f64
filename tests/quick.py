"""The command line as most tests start it: ceilings are measured once for all tests, and a page has its SVG figures only.

`python tests/quick.py FILE run ...` is `sepconv-bench run ...` in a process of its own; FILE keeps the ceilings. What `swept`
of conftest.py runs, and the tests of ceilings, leave nothing out.
"""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import msgspec
import pytest

from sepconv_bench.cli import main
from sepconv_bench.measure.records import Ceilings
from sepconv_bench.run import kernel_process


def ceilings_once(file: Path, patch: pytest.MonkeyPatch) -> None:
    """From now on whoever asks a worker for its ceilings gets those in `file`; the first of all processes measures them."""
    from sepconv_bench.run import network_sweep, sweep

    measure = kernel_process.measure_ceilings

    def once(process: kernel_process.KernelProcess, seed: int = 0, seconds: float = kernel_process.CEILING_SECONDS) -> Ceilings:
        with file.open("a+b") as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)
            kept.seek(0)
            stored = kept.read()
            if stored:
                return msgspec.msgpack.decode(stored, type=Ceilings)
            found = measure(process, seed, seconds)
            kept.write(msgspec.msgpack.encode(found))
            return found

    for module in (sweep, network_sweep):
        patch.setattr(module, "measure_ceilings", once)


def svg_alone(patch: pytest.MonkeyPatch) -> None:
    """A report writes one file a figure, in a third of the time."""
    from sepconv_bench.report.figures import saving

    patch.setattr(saving, "KINDS", {"svg": saving.KINDS["svg"]})


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patched:
        ceilings_once(Path(sys.argv[1]), patched)
        svg_alone(patched)
        main(sys.argv[2:])
