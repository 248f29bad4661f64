"""What the machine can do at best: multiply-adds a second, and bytes a second out of each level of memory.

Both use all the threads that kernels use. The peak is that of the widest vectors the machine has, found by trying
4, 8 and 16 floats: the compiler's own choice of width is often half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from sepconv_bench.compile_once import compile_once
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.records import PEAK, Ceilings, Estimate, Level, Measured, Rules
from sepconv_bench.measure.sampler import Bind, Launch, sample
from sepconv_bench.measure.statistics import estimate, ratio

_CHAINS = 12  # independent accumulators: latency 4-5 cycles x 2 FMAs a cycle, and still within 16 registers
_LANES = (4, 8, 16)
_STEPS = 1 << 16  # of every chain, in one launch and thread: 0.1 ms or more, so that waking the pool does not count
FOOTPRINTS = tuple(1 << power for power in range(15, 29))  # bytes: 32 KiB, inside L1, to 256 MiB
_COPIED_BYTES = 1 << 23  # a launch copies at least this much, so that waking the pool does not count


@intrinsic
def _multiply_adds(typingctx, lanes, steps, x):
    """`steps` fused multiply-adds on each of 12 accumulators of `lanes` floats; gives their sum so that they stay."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    width = lanes.literal_value

    def generate(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), width)
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32")
        x_lanes = ir.Constant(vector, ir.Undefined)
        for lane in range(width):
            x_lanes = builder.insert_element(x_lanes, args[2], ir.Constant(ir.IntType(32), lane))
        chains = [cgutils.alloca_once_value(builder, x_lanes) for _ in range(_CHAINS)]
        with cgutils.for_range(builder, args[1]):
            for chain in chains:
                builder.store(builder.call(fma, [builder.load(chain), x_lanes, x_lanes]), chain)
        total = builder.load(chains[0])
        for chain in chains[1:]:
            total = builder.fadd(total, builder.load(chain))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.literal(width), types.int64, types.float32), generate


@compile_once
def _on_all_threads(lanes: int) -> Dispatcher:
    @njit(parallel=True)
    def run(steps, sums):
        for thread in prange(len(sums)):
            sums[thread] = _multiply_adds(lanes, steps, np.float32(0.5))

    return run


def _fma_launch(lanes: int, threads: int) -> tuple[Launch, int]:
    """A launch of multiply-adds on every thread, and its FLOP."""
    run = _on_all_threads(lanes)
    return partial(run, _STEPS, np.zeros(threads, np.float32)), 2 * _STEPS * _CHAINS * lanes * threads


@dataclass(frozen=True)
class Peak:
    """A launch of nothing but multiply-adds, its FLOP, and its vector width in floats."""

    launch: Launch
    flop: int
    lanes: int


def fma_peak(rng: np.random.Generator) -> Peak:
    """The loop of multiply-adds that reaches most FLOP/s on all threads."""
    threads = numba.get_num_threads()
    tried = {lanes: _fma_launch(lanes, threads) for lanes in _LANES}
    samples = sample({str(lanes): _given(launch) for lanes, (launch, _) in tried.items()}, [], Rules(seconds=0.3), rng)
    speed = {lanes: flop / estimate(samples.blocks[str(lanes)]).value for lanes, (_, flop) in tried.items()}
    best = max(speed, key=speed.__getitem__)
    return Peak(*tried[best], best)


def _given(launch: Launch) -> Callable[[np.random.Generator], Launch]:
    return lambda rng: launch


@compile_once
@njit(parallel=True)
def _copy_back_and_forth(source, target, parts, passes):
    size = len(source) // parts
    for part in prange(parts):
        first, second = source[part * size : (part + 1) * size], target[part * size : (part + 1) * size]
        for _ in range(passes):
            for element in range(size):
                second[element] = first[element]
            first, second = second, first


def copy_bind(footprint: int, threads: int, passes: int) -> Callable[[np.random.Generator], Launch]:
    def bind(rng: np.random.Generator) -> Launch:
        source, target = (np.ones(footprint // 8, np.float32) for _ in range(2))
        return partial(_copy_back_and_forth, source, target, threads, passes)

    return bind


def copies() -> dict[int, tuple[Bind, int]]:
    """By footprint in bytes: what binds a copy of half of it into the other half, and how often it copies."""
    threads = numba.get_num_threads()
    passes = {footprint: max(1, _COPIED_BYTES // footprint) for footprint in FOOTPRINTS}
    return {size: (copy_bind(size, threads, count), count) for size, count in passes.items()}


def measure_ceilings(
    peak: Peak,
    copied: Mapping[int, tuple[Bind, int]],
    rng: np.random.Generator,
    seconds: float,
    clock: Clock | None = None,
) -> Ceilings:
    """Peak in FLOP/s, its vector width, and bytes/s of a copy (read and written) by footprint in bytes; `copied` as `copies`.

    Bandwidths are measured in rounds with the peak; `bytes_per_flop` is their ratio, which drift does not touch.
    """
    binds = {str(size): bind for size, (bind, _) in copied.items()}
    samples = sample({PEAK: _given(peak.launch)} | binds, [], Rules(seconds=seconds), rng, clock=clock).blocks
    levels = []
    for size, (_, count) in copied.items():
        moved = size * count
        paired = ratio(samples[PEAK], samples[str(size)])
        levels.append(Level(size, _rate(moved, estimate(samples[str(size)])), paired.value * moved / peak.flop))
    return Ceilings(_rate(peak.flop, estimate(samples[PEAK])), peak.lanes, tuple(levels), numba.get_num_threads())


def _rate(amount: float, time: Estimate) -> Measured:
    return Measured(amount / time.value, amount / time.hi, amount / time.lo)
