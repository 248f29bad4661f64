"""The process in which kernels run: it binds, checks and times them, and may die of it. `sweep` talks to it.

Jobs and answers are JSON over a socket. Before anything of a kernel runs, its name is written into a small file that
outlives the process: whoever finds the worker dead or silent reads there whose fault it was.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.errors import InputError
from sepconv_bench.kernels import registry
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import Problem, arrays_bytes, require_memory
from sepconv_bench.measure import ceilings, machine
from sepconv_bench.measure.ceilings import Peak
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.sampler import Rules
from sepconv_bench.model.reference import Reference, reference_bytes
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import multiplications
from sepconv_bench.run.contest import Contender, Contest, OnData, OnGpu
from sepconv_bench.run.network_parts import OURS, Timed

_PR_SET_PDEATHSIG = 1
# Beyond so many multiplications the reference computes the first image of a batch, the last and one between: float64 on the
# host takes a second or two for that.
_MOST_CHECKED = 4_000_000_000


class _Marker:
    """Writes who is running into the file that the parent reads when this process is no more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._count = 0

    def __call__(self, name: str) -> None:
        self._count += 1
        os.pwrite(self._descriptor, f"{self._count} {name}\n".ljust(128).encode(), 0)


class _Worker:
    def __init__(self, mark: _Marker) -> None:
        self._mark = mark
        self._device, self._cold = "cpu", False
        self._networks: dict[tuple, Timed] = {}

    @cached_property
    def _peak(self) -> Peak:
        return self._module.fma_peak(np.random.default_rng(0))

    @cached_property
    def _clock(self) -> Clock:
        return Clock() if self._device == "cpu" else self._module.CudaClock(self._cold)

    @property
    def _module(self) -> Any:
        """Where the ceilings of the device are measured."""
        if self._device == "cpu":
            return ceilings
        from sepconv_bench.measure import cuda

        return cuda

    def start(self, job: dict) -> dict:
        """Load the plug-ins; tell what kernels there are and on what machine this is."""
        for path in job["plugins"]:
            registry.load_plugin(path)
        self._device, self._cold = job["device"], job["cold"]
        names = registry.chosen(job["kernels"], self._device)
        told = machine.fingerprint()
        if self._device == "cuda" and not gpu.simulated():
            told |= self._module.fingerprint()
        return {"machine": told, "kernels": names}

    def ceilings(self, job: dict) -> dict:
        rng = np.random.default_rng(job["seed"])
        return ceilings.measure_ceilings(self._peak, self._module.copies(), rng, job["seconds"], self._clock)

    def check(self, job: dict) -> dict:
        """One kernel against the reference on one shape."""
        shape, rng = ConvShape(**job["shape"]), np.random.default_rng(job["seed"])
        return asdict(
            Contest(_Cell(shape, rng, self._device).contenders([job["kernel"]]), rng, self._mark).checked(job["kernel"])
        )

    def measure(self, job: dict) -> dict:
        """Check, then time, the kernels of one cell."""
        shape = ConvShape(**job["shape"])
        rng = np.random.default_rng([job["seed"], *asdict(shape).values()])
        contenders = _Cell(shape, rng, self._device).contenders(job["kernels"])
        return {"shape": asdict(shape)} | self._timed(contenders, Rules(**job["rules"]), rng)

    def network(self, job: dict) -> dict:
        """Check, then time, one part of MobileNet-V1 without those in `without`; without a part, name the parts."""
        weights = Path(job["weights"]) if job["weights"] else None
        settings = (job["alpha"], job["resolution"], job["batch"], weights, job["seed"], self._device)
        if settings not in self._networks:
            self._networks = {settings: Timed(*settings)}
        network, part = self._networks[settings], job["part"]
        if part is None:
            return {"parts": network.parts}
        rng = np.random.default_rng([job["seed"], network.parts.index(part)])
        contenders = {name: one for name, one in network.contenders(part).items() if name not in job["without"]}
        return {"shape": network.shape(part)} | self._timed(contenders, Rules(**job["rules"]), rng, against=OURS)

    def _timed(self, contenders: Mapping[str, Contender], rules: Rules, rng: np.random.Generator, against: str = "") -> dict:
        stolen, started, slowed = machine.steal_seconds(), time.time(), getattr(self._clock, "slowed", 0)
        outcomes, samples = Contest(contenders, rng, self._mark, self._clock).timed(self._peak.launch, rules, against)
        return {
            "slowed": getattr(self._clock, "slowed", 0) - slowed,
            "outcomes": [asdict(outcome) for outcome in outcomes],
            "samples": {name: [block.tolist() for block in blocks] for name, blocks in samples.blocks.items()},
            "launches": samples.launches,
            "converged": samples.converged,
            "peak_flop": self._peak.flop,
            "started": started,
            "seconds": time.time() - started,
            "steal_s": machine.steal_seconds() - stolen,
        }


class _Cell:
    """One shape: its data, drawn once, and the reference's answers to it."""

    def __init__(self, shape: ConvShape, rng: np.random.Generator, device: str) -> None:
        self._shape, self._rng = shape, rng
        self._on_gpu = device == "cuda" and not gpu.simulated()
        self._drawn: dict[str, tuple[Problem, Reference]] = {}

    def contenders(self, names: Sequence[str]) -> dict[str, Contender]:
        kernels = [registry.get_kernel(name) for name in names]
        kind = OnGpu if self._on_gpu else OnData
        return {kernel.name: kind.of(kernel, partial(self._draw, kernel.operator)) for kernel in kernels}

    def _draw(self, operator: str) -> tuple[Problem, Reference]:
        if operator not in self._drawn:
            images = self._images(operator)
            needed = 2 * arrays_bytes(operator, self._shape)
            needed += reference_bytes(operator, replace(self._shape, batch=len(images)))
            require_memory(needed, f"{operator} on {self._shape}, a kernel's copy of it and the reference's float64")
            problem = Problem.draw(operator, self._shape, self._rng)
            reference = Reference(operator, self._shape, problem.F, problem.weights, images=images)
            self._drawn[operator] = (_on_gpu(problem) if self._on_gpu else problem), reference
        return self._drawn[operator]

    def _images(self, operator: str) -> list[int]:
        batch = self._shape.batch
        if batch <= 3 or multiplications(operator, self._shape) <= _MOST_CHECKED:
            return list(range(batch))
        return [0, int(self._rng.integers(1, batch - 1)), batch - 1]


def _on_gpu(problem: Problem) -> Problem:
    """With its F on the GPU, and a G that is there only for its shape."""
    from sepconv_bench.kernels.cuda import arrays

    F = DeviceArray.of("F", arrays.copied(problem.F).reshape(problem.F.shape))
    return replace(problem, F=F, G=np.broadcast_to(np.float32(0), problem.G.shape))  # type: ignore[arg-type]


def _die_with_parent() -> None:
    """A sweep that is killed must not leave a worker behind, least of all one that loops for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Should memory run out, this process goes first and not the one that keeps the results.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _heed_the_parent_only() -> None:
    """A signal for all, as when the machine is shut down, is not this process's to obey: the sweep would take it for a crash
    of the kernel that runs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)  # and not SIG_IGN, which processes of the kernels would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def main(socket_descriptor: int, mark_descriptor: int) -> None:
    """Answer jobs until the parent hangs up."""
    _die_with_parent()
    _heed_the_parent_only()
    connection = Connection(socket_descriptor)
    worker = _Worker(_Marker(mark_descriptor))
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer = {"answer": getattr(worker, job["do"])(job)}
        except InputError as error:
            answer = {"refused": str(error)}
        except MemoryError as error:
            answer = {"failed": f"out of memory: {error}".rstrip(": ")}
        connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
