"""Records of cells that were never measured: for tests of what depends on values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sepconv_bench.measure.records import Ceilings, Fingerprint, Level, Measured, Rules
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import PEAK, CellMeasured, Outcome, Run, RunSettings, packed

PEAK_FLOPS, BANDWIDTH = 200e9, 30e9  # of the machine that these cells are on
PEAK_SECONDS = 1e-3  # of a launch of the peak

MACHINE = Fingerprint(
    machine="made-up-2-threads",
    cpu="made up",
    llvm_cpu="generic",
    system="Linux",
    python="3.12",
    threading_layer="omp",
    time="2026-01-01T00:00:00+00:00",
    caches={"L2": "1024K"},
    versions={"numba": "0.61"},
    wait_policy={"OMP_WAIT_POLICY": "passive"},
    memory_bytes=1 << 33,
    threads=2,
    blas=(),
    logical_cpus=2,
    commit=None,
)
CEILINGS = Ceilings(
    peak=Measured(PEAK_FLOPS, PEAK_FLOPS, PEAK_FLOPS),
    lanes=8,
    levels=tuple(
        Level(footprint, Measured(BANDWIDTH, BANDWIDTH, BANDWIDTH), BANDWIDTH / PEAK_FLOPS) for footprint in (1 << 15, 1 << 28)
    ),
)


def declared(name: str, library: str = OURS, like: str = "") -> Declaration:
    """A kernel of that name: `<device>.<operator>.<variant>`; fused makes one pass and is like tiled."""
    device, operator, variant = name.split(".")
    fused = variant == "fused"
    passes = (operator,) if fused else OPERATORS[operator].passes
    return Declaration(device, operator, variant, library, passes, like or ("tiled" if fused else variant))


def settings(kernels: Sequence[str]) -> RunSettings:
    return RunSettings("custom", tuple(kernels), Rules())


def run(kernels: Sequence[str] = ()) -> Run:
    return Run(1, MACHINE, settings(kernels), CEILINGS)


def measured(
    shape: ConvShape,
    seconds: Mapping[Declaration, float | np.ndarray],
    failed: Sequence[Declaration] = (),
    blocks: int = 6,
    rounds: int = 3,
    visits: tuple[int, ...] = (),
) -> CellMeasured:
    """A cell whose kernels took so many seconds: a number in every round, or an array of (blocks, rounds)."""
    drawn = {kernel.name: np.broadcast_to(value, (blocks, rounds)) for kernel, value in seconds.items()}
    drawn[PEAK] = np.full((blocks, rounds), PEAK_SECONDS)
    outcomes = [Outcome(kernel) for kernel in seconds] + [Outcome(kernel, "failed", "it crashed") for kernel in failed]
    samples = {name: packed(list(value)) for name, value in drawn.items()}
    peak_flop = round(PEAK_FLOPS * PEAK_SECONDS)
    facts = {"converged": True, "started": 1.8e9, "seconds": 6.0, "peak_flop": peak_flop, "visits": visits}
    return CellMeasured(shape, tuple(outcomes), samples, **facts)
