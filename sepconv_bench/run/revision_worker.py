"""The process of one revision, run as a file by that revision's own interpreter: `ab` talks to it.

It knows of the package only what every revision has: ConvShape, Problem, get_kernel, kernel_names, and the reference. The
clock is this revision's own, so that both sides are timed alike.

Compiling takes seconds, and where data lies in memory is drawn with each process. So kernels are compiled once, and
children are forked from there: each draws its memory anew, as a new process would.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

_PR_SET_PDEATHSIG = 1


class _Side:
    def __init__(self, clocks: Any) -> None:
        self._clocks = clocks
        self._compiled: dict[int, tuple[Any, Any]] = {}  # kernel and problem, by the benchmark's number
        self._launches: dict[int, Callable[[], object]] = {}

    def prepare(self, job: dict) -> list[str]:
        """Draw data and compile; gives for each benchmark what is wrong with it, or nothing."""
        from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names

        rng = np.random.default_rng(job["seed"])
        reasons = []
        for number, (name, sizes) in enumerate(job["benchmarks"]):
            if name not in kernel_names():
                reasons.append("there is no such kernel")
                continue
            kernel = get_kernel(name)
            try:
                problem = Problem.draw(kernel.operator, ConvShape(**sizes), rng)
                kernel.bind(problem)
            except Exception as error:
                reasons.append(_told(error))
                continue
            self._compiled[number] = kernel, problem
            reasons.append("")
        return reasons

    def verify(self, job: dict) -> list[str]:
        """Hold each result against the reference; gives what is wrong with it, or nothing."""
        try:
            from sepconv_bench.model.reference import Reference
        except ImportError:  # older revisions have it elsewhere, under another name
            from sepconv_bench.reference import Oracle as Reference  # type: ignore[import-not-found, no-redef]

        reasons = []
        for number in job["which"]:
            kernel, drawn = self._compiled[number]
            problem = drawn.placed_anew(np.random.default_rng(0))
            try:
                given = kernel.bind(problem)()
                if hasattr(kernel, "unpack"):  # younger than the oldest revisions
                    kernel.unpack(given, problem.G)
            except Exception as error:
                reasons.append(_told(error))
                continue
            wrong_by = Reference(problem.operator, problem.shape, problem.F, problem.weights).error(problem.G)
            reasons.append("" if wrong_by <= 1 else f"its result is wrong: {wrong_by:.3g} times what rounding explains")
        return reasons

    def draw(self, job: dict) -> list[float]:
        """Bind on fresh buffers, and wake everything that sleeps until its first launch; gives seconds a launch, roughly."""
        rng = np.random.default_rng(job["seed"])
        # The last buffers are held until the new ones are there, so that these get other memory.
        self._launches = {number: self._bound(number, rng) for number in job["which"]}
        for launch in self._launches.values():
            launch()
        return [min(self._clocks.batch_seconds(launch, 1) for _ in range(3)) for launch in self._launches.values()]

    def _bound(self, number: int, rng: np.random.Generator) -> Callable[[], object]:
        kernel, problem = self._compiled[number]
        return kernel.bind(problem.placed_anew(rng))

    def sample(self, job: dict) -> float:
        """Seconds a launch of one of them, once all pools sleep: the median of some batches, some of them interrupted."""
        launch = self._launches[job["number"]]
        self._clocks.settle()
        if job["batches"] > 1:
            launch()
        return float(np.median([self._clocks.batch_seconds(launch, job["launches"]) for _ in range(job["batches"])]))


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def _forked() -> bool:
    """Go on as a grandchild, True there; False in the first process once the grandchild is done.

    A thread pool does not live through a fork, but none has been started yet: nothing was launched here. Numba refuses children
    of the process that loaded GNU's OpenMP all the same, whether it was started or not; it does not refuse grandchildren.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    grandchild = os.fork()
    if grandchild:
        os.waitpid(grandchild, 0)
        os._exit(0)
    _die_with_parent()
    return True


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _may_fork() -> bool:
    """Where it has been seen to work: Linux, with OpenMP, which starts its threads at the first launch and not before."""
    import numba

    try:
        return sys.platform == "linux" and numba.threading_layer() == "omp"
    except ValueError:  # nothing parallel was compiled
        return sys.platform == "linux"


def _clocks() -> Any:
    spec = importlib.util.spec_from_file_location("clocks", Path(__file__).parents[1] / "measure" / "clocks.py")
    assert spec is not None
    assert spec.loader is not None
    clocks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(clocks)
    return clocks


def main(descriptor: int) -> None:
    """Answer jobs until the parent hangs up."""
    _die_with_parent()
    connection = Connection(descriptor)
    side, is_child = _Side(_clocks()), False
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        answer: Any = None
        if job["do"] == "fork" and _may_fork():
            # The answer to "fork" comes from the child, the answer to "end" from the process that goes on after it.
            is_child = _forked()
        elif job["do"] == "end" and is_child:
            os._exit(0)
        elif job["do"] not in ("fork", "end"):
            answer = getattr(side, job["do"])(job)
        connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
