"""What a gap between the threads' buffers in the fused kernel is worth.

python experiments/threads_apart.py [SECONDS]

The same kernel with its threads' buffers 64 KiB apart and one right after the other, in the same rounds of the suite's sampler.
Printed is the time with the gap over the time without, with its 95 % interval, shape by shape. For a quiet machine; on a
virtual one it changes with how far the hypervisor puts the cores from each other.
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

import sys
from collections.abc import Callable

import numpy as np

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.kernels.cpu import fused
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.sampler import sample
from sepconv_bench.measure.statistics import ratio

SHAPES = (ConvShape(3, 64, 16, 28), ConvShape(3, 64, 64, 28), ConvShape(3, 128, 128, 28), ConvShape(3, 64, 64, 56))
GAPS = {"apart": fused._APART, "together": 0}


def bound(drawn: Problem, gap: int) -> Callable[[np.random.Generator], Callable[[], object]]:
    def bind(rng: np.random.Generator) -> Callable[[], object]:
        fused._APART = gap
        return get_kernel("cpu.separable.fused").bind(drawn.placed_anew(rng))

    return bind


def main(seconds: float) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        drawn = Problem.draw(get_kernel("cpu.separable.fused").operator, shape, rng)
        binds = {name: bound(drawn, gap) for name, gap in GAPS.items()}
        blocks = sample(binds, [("apart", "together")], Rules(seconds=seconds, evenly=True), rng).blocks
        found = ratio(blocks["apart"], blocks["together"])
        fastest = {name: 1e6 * np.median(np.concatenate(each)) for name, each in blocks.items()}
        print(
            f"{shape}: {found.value:.3f} ({found.lo:.3f} to {found.hi:.3f}), {fastest['apart']:.1f} and"
            f" {fastest['together']:.1f} us, {len(blocks['apart'])} blocks"
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0)
