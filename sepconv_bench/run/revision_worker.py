"""The process of one revision, run as a file by that revision's own interpreter: `ab` talks to it.

It knows of the package only what every revision has: ConvShape, Problem, get_kernel, kernel_names, and the reference; beside
it Python's own library and numpy. The clock and the loop that serves jobs are this revision's own, so that both sides are timed
alike. Jobs and answers are those of `revision_protocol`, as dicts.

Compiling takes seconds, and where data lies in memory is drawn with each process. So kernels are compiled once, and
children are forked from there: each draws its memory anew, as a new process would.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np


class _Benchmarks:
    """The benchmarks of this process, and what is asked of them. `clocks` and `serving` are modules of this revision."""

    def __init__(self, clocks: Any, serving: Any) -> None:
        self._clocks, self._serving = clocks, serving
        self._compiled: dict[int, tuple[Any, Any]] = {}  # kernel and problem, by the benchmark's number
        self._launches: dict[int, Callable[[], object]] = {}
        self._is_child = False
        self._jobs: dict[str, Callable[..., dict]] = {
            "prepare": self._prepare,
            "fork": self._fork,
            "end": self._end,
            "verify": self._verify,
            "draw": self._draw,
            "sample": self._sample,
        }

    def answer(self, data: bytes) -> bytes:
        job = json.loads(data)
        return json.dumps(self._jobs[job.pop("do")](**job)).encode()

    def _prepare(self, benchmarks: list[dict], seed: int) -> dict:
        from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names

        rng = np.random.default_rng(seed)
        reasons = []
        for number, benchmark in enumerate(benchmarks):
            if benchmark["kernel"] not in kernel_names():
                reasons.append("there is no such kernel")
                continue
            kernel = get_kernel(benchmark["kernel"])
            try:
                problem = Problem.draw(kernel.operator, _shape(ConvShape, benchmark["shape"]), rng)
                kernel.bind(problem)
            except Exception as error:
                reasons.append(_first_line(error))
                continue
            self._compiled[number] = kernel, problem
            reasons.append("")
        return {"type": "reasons", "reasons": reasons}

    def _fork(self) -> dict:
        """The answer comes from the child, and the answer to "end" from the process that goes on after it."""
        if _may_fork():
            self._is_child = _forked(self._serving.die_with_parent)
        return {"type": "done"}

    def _end(self) -> dict:
        if self._is_child:
            os._exit(0)
        return {"type": "done"}

    def _verify(self, which: list[int]) -> dict:
        try:
            from sepconv_bench.model.reference import Reference
        except ImportError:  # older revisions have it elsewhere, under another name
            from sepconv_bench.reference import Oracle as Reference  # type: ignore[import-not-found, no-redef]

        reasons = []
        for number in which:
            kernel, drawn = self._compiled[number]
            problem = drawn.placed_anew(np.random.default_rng(0))
            try:
                given = kernel.bind(problem)()
                if hasattr(kernel, "unpack"):  # younger than the oldest revisions
                    kernel.unpack(given, problem.G)
            except Exception as error:
                reasons.append(_first_line(error))
                continue
            F = getattr(problem, "interior", problem.F)  # an older one's has no padding
            wrong_by = Reference(problem.operator, problem.shape, F, problem.weights).error(problem.G)
            if hasattr(kernel, "rounding"):  # younger still
                wrong_by /= kernel.rounding(problem.shape)
            reasons.append("" if wrong_by <= 1 else f"its result is wrong: {wrong_by:.3g} times what rounding explains")
        return {"type": "reasons", "reasons": reasons}

    def _draw(self, which: list[int], seed: int) -> dict:
        """Also wakes everything that sleeps until its first launch."""
        rng = np.random.default_rng(seed)
        # The last buffers are held until the new ones are there, so that these get other memory.
        self._launches = {number: self._bound(number, rng) for number in which}
        for launch in self._launches.values():
            launch()
        seconds = [min(self._clocks.batch_seconds(launch, 1) for _ in range(3)) for launch in self._launches.values()]
        return {"type": "drawn", "seconds": seconds}

    def _bound(self, number: int, rng: np.random.Generator) -> Callable[[], object]:
        kernel, problem = self._compiled[number]
        return kernel.bind(problem.placed_anew(rng))

    def _sample(self, number: int, launches: int, batches: int) -> dict:
        with self._clocks.threads_apart():
            seconds = self._clocks.Clock().sample(self._launches[number], launches, batches)
        return {"type": "sampled", "seconds": seconds}


def _shape(of: Any, sizes: dict[str, int]) -> Any:
    """The ConvShape of a revision. One that does not know a size yet does as if it were as usual."""
    known = {field.name for field in fields(of)}
    usual = {name: 0 if name.endswith("_w") or name.startswith("pad_") else 1 for name in sizes}
    return of(**{name: size for name, size in sizes.items() if name in known or size != usual[name]})


def _first_line(error: Exception) -> str:
    lines = str(error).encode(errors="backslashreplace").decode().strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def _forked(die_with_parent: Callable[[], None]) -> bool:
    """Go on as a grandchild, True there; False in the first process once the grandchild is done.

    A thread pool does not live through a fork, but none has been started yet: nothing was launched here. Numba refuses children
    of the process that loaded GNU's OpenMP all the same, whether it was started or not; it does not refuse grandchildren.
    """
    if child := os.fork():
        _end_unless_done(child)
        return False
    if grandchild := os.fork():
        _end_unless_done(grandchild)
        os._exit(0)
    die_with_parent()
    return True


def _end_unless_done(child: int) -> None:
    """Wait for a child; where it has crashed nobody answers any more, and this process ends as it did."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)
    if code:
        os._exit(code)


def _may_fork() -> bool:
    """Where it has been seen to work: Linux, with OpenMP, which starts its threads at the first launch and not before."""
    import numba

    try:
        return sys.platform == "linux" and numba.threading_layer() == "omp"
    except ValueError:  # nothing parallel was compiled
        return sys.platform == "linux"


def _of_this_revision(file: Path) -> Any:
    """A module of the package that this file is in, whatever package is installed."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(descriptor: int) -> None:
    """Answer jobs until the parent hangs up."""
    here = Path(__file__).parent
    serving = _of_this_revision(here / "serving.py")
    clocks = _of_this_revision(here.parent / "measure" / "clocks.py")
    serving.serve(descriptor, _Benchmarks(clocks, serving).answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
