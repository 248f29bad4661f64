"""The process in which kernels run: it binds, checks and times them, and may die of it. A supervisor talks to it.

Jobs and answers are the records of `protocol`, over a socket. Before anything of a kernel runs, its name is written into a
small file that outlives the process: whoever finds the worker dead or silent reads there whose fault it was.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.errors import InputError
from sepconv_bench.kernels import registry
from sepconv_bench.measure import ceilings, machine
from sepconv_bench.measure.ceilings import Peak
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.cold import ColdClock
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured, NetworkPart, packed
from sepconv_bench.run import protocol
from sepconv_bench.run.cell_data import CellData
from sepconv_bench.run.contest import Contender, Contest, Visited
from sepconv_bench.run.network_contenders import NetworkContenders
from sepconv_bench.run.serving import serve

_KEPT_BYTES = 256 << 20  # of cells' arrays and references, kept from one visit to the next: all of the default grid's


class _Worker:
    """Answers jobs. `mark(name)` is called before anything of a kernel runs."""

    def __init__(self, mark: Callable[[str], None]) -> None:
        self._mark = mark
        self._device, self._cold = "cpu", False
        self._opened: tuple[tuple, NetworkContenders] | None = None
        self._visited: dict[ConvShape | NetworkPart, Visited] = {}
        self._kept: dict[ConvShape, CellData] = {}

    def answer(self, job: protocol.Job) -> protocol.Answer:
        match job:
            case protocol.Start():
                return self._start(job)
            case protocol.MeasureCeilings():
                return self._measure_ceilings(job)
            case protocol.Check():
                return self._check(job)
            case protocol.MeasureCell():
                return self._measure_cell(job)
            case protocol.OpenNetwork():
                return self._open_network(job)
            case protocol.MeasureNetworkPart():
                return self._measure_network_part(job)

    @cached_property
    def _peak(self) -> Peak:
        return self._module.fma_peak(np.random.default_rng(0))

    @cached_property
    def _clock(self) -> Clock:
        if self._device == "cuda":
            return self._module.CudaClock(self._cold)
        return ColdClock() if self._cold else Clock()

    @property
    def _module(self) -> Any:
        """Where the ceilings of the device are measured."""
        if self._device == "cpu":
            return ceilings
        from sepconv_bench.measure import cuda

        return cuda

    def _start(self, job: protocol.Start) -> protocol.Started:
        for path in job.plugins:
            registry.load_plugin(os.fsdecode(path))
        self._device, self._cold = job.device, job.cold
        names = registry.chosen(job.kernels, self._device)
        found = machine.fingerprint(registry.libraries())
        if self._device == "cuda" and not gpu.simulated():
            found = self._module.fingerprint(found)
        return protocol.Started(found, tuple(registry.get_kernel(name).declaration for name in names))

    def _measure_ceilings(self, job: protocol.MeasureCeilings) -> protocol.CeilingsMeasured:
        rng, copies = np.random.default_rng(job.seed), self._module.copies()
        # What a copy moves within a cache is asked for with warm caches, whatever the kernels find.
        clock = Clock() if self._device == "cpu" else self._clock
        return protocol.CeilingsMeasured(ceilings.measure_ceilings(self._peak, copies, rng, job.seconds, clock))

    def _check(self, job: protocol.Check) -> protocol.Checked:
        rng = np.random.default_rng(job.seed)
        contenders = CellData(job.shape, rng, self._device).contenders([job.kernel])
        return protocol.Checked(Contest(contenders, rng, self._mark).checked(job.kernel))

    def _measure_cell(self, job: protocol.MeasureCell) -> protocol.CellTimed:
        rng = np.random.default_rng([job.seed, *job.shape.key])
        data = self._kept.get(job.shape) or CellData(job.shape, rng, self._device)
        timed = self._timed(job.shape, data.contenders(job.kernels), job.rules, rng, visits=job.visits)
        # Those that come first stay: cells are visited in turn, so what makes room for another is never found again.
        others = sum(one.bytes for shape, one in self._kept.items() if shape != job.shape)
        if job.visits > 1 and self._device == "cpu" and others + data.bytes <= _KEPT_BYTES:
            self._kept[job.shape] = data
        return timed

    def _open_network(self, job: protocol.OpenNetwork) -> protocol.NetworkOpened:
        network = self._network(job.alpha, job.resolution, job.batch, job.weights, job.seed)
        found = []
        for part in network.parts:
            declared = (contender.declaration for contender in network.contenders(part).values())
            found.append(protocol.PartContenders(part, tuple(declared)))
        return protocol.NetworkOpened(tuple(found), network.missing)

    def _measure_network_part(self, job: protocol.MeasureNetworkPart) -> protocol.CellTimed:
        part = job.part
        network = self._network(part.alpha, part.resolution, part.batch, job.weights, job.seed)
        rng = np.random.default_rng([job.seed, network.parts.index(part.part), job.visit])
        contenders = {name: one for name, one in network.contenders(part.part).items() if name in job.contenders}
        return self._timed(network.shape(part.part), contenders, job.rules, rng, part, job.visits)

    def _network(self, alpha: float, resolution: int, batch: int, weights: bytes | None, seed: int) -> NetworkContenders:
        """One at a time: its weights and maps fill the memory."""
        path = Path(os.fsdecode(weights)) if weights is not None else None
        asked = (alpha, resolution, batch, path, seed, self._device)
        if self._opened is None or self._opened[0] != asked:
            self._opened = None
            self._opened = asked, NetworkContenders(*asked)
        return self._opened[1]

    def _timed(
        self,
        shape: ConvShape,
        contenders: Mapping[str, Contender],
        rules: Rules,
        rng: np.random.Generator,
        part: NetworkPart | None = None,
        visits: int = 1,
    ) -> protocol.CellTimed:
        visited = self._visited.setdefault(part or shape, Visited()) if visits > 1 else None
        stolen, started, slowed = machine.steal_seconds(), time.time(), getattr(self._clock, "slowed", 0)
        began = time.monotonic()  # the time of day may be set meanwhile
        timed = self._clock.timed
        contest = Contest(contenders, rng, self._mark, self._clock)
        outcomes, samples = contest.timed(self._peak.launch, rules, part is not None, visits, visited)
        measured = CellMeasured(
            shape,
            outcomes,
            samples={name: packed(blocks) for name, blocks in samples.blocks.items()},
            converged=samples.converged,
            started=started,
            seconds=time.monotonic() - began,
            steal_s=machine.steal_seconds() - stolen,
            peak_flop=self._peak.flop,
            slowed=getattr(self._clock, "slowed", 0) - slowed,
            network=part,
            timed_s=self._clock.timed - timed,
            visits=(len(next(iter(samples.blocks.values()), [])),),
        )
        return protocol.CellTimed(measured)


class _Marker:
    """Writes who is running into the file that the parent reads when this process is no more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._count = 0

    def __call__(self, name: str) -> None:
        self._count += 1
        os.pwrite(self._descriptor, f"{self._count} {name}\n".ljust(128).encode(), 0)


def main(socket_descriptor: int, mark_descriptor: int) -> None:
    """Answer jobs until the parent hangs up."""
    worker = _Worker(_Marker(mark_descriptor))

    def answer(data: bytes) -> bytes:
        try:
            return protocol.encode(worker.answer(protocol.decode_job(data)))
        except InputError as error:
            return protocol.encode(protocol.Refused(protocol.whole_characters(str(error))))
        except MemoryError as error:
            return protocol.encode(protocol.Failed(f"out of memory: {error}".rstrip(": ")))

    serve(socket_descriptor, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
