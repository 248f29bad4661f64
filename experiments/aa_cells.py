"""Do the intervals cover on this machine? Every kernel against itself, where the truth is known: the ratio is 1.

python experiments/aa_cells.py [cells [seconds a cell]]

The same kernel is bound twice, with fresh buffers of its own in each block, and timed as `run` times a cell: by the same
sampler, until the ratio is known to 3 % or time is up.
"""

import os
import sys

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

from collections import Counter

import numpy as np

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio

KERNELS = ("standard.tiled", "depthwise.tiled", "pointwise.tiled", "separable.fused", "separable.parallel", "pointwise.numpy")


def cell(kernel_name: str, shape: ConvShape, seconds: float, rng: np.random.Generator):
    """The ratio of a kernel's time to its own, and whether its interval closed."""
    kernel = get_kernel(f"cpu.{kernel_name}")
    drawn = Problem.draw(kernel.operator, shape, rng)

    def bind(rng: np.random.Generator):
        return kernel.bind(drawn.placed_anew(rng))

    samples = sample({"one": bind, "other": bind}, [("one", "other")], Rules(seconds=seconds), rng)
    return ratio(samples.blocks["one"], samples.blocks["other"]), samples.converged


def main(cells: int, seconds: float) -> None:
    rng = np.random.default_rng(0)
    count, covered, closed, off = Counter(), Counter(), Counter(), []
    for number in range(cells):
        name = KERNELS[number % len(KERNELS)]
        M, N, D_G = (int(rng.choice(sizes)) for sizes in ((16, 32, 64), (16, 32, 64), (7, 14, 28)))
        found, converged = cell(name, ConvShape(3, M, N, D_G), seconds, rng)
        covers = found.lo <= 1 <= found.hi
        for group in (name, "all", "closed" if converged else "not closed"):
            count[group] += 1
            covered[group] += covers
        closed[name] += converged
        off.append(abs(found.value - 1))
        print(f"\r{number + 1} of {cells}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print("| cells | how many | 95 % intervals that hold 1 |\n|---|---:|---:|")
    for group in (*KERNELS, "closed", "not closed", "all"):
        if count[group]:
            print(f"| {group} | {count[group]} | {covered[group] / count[group]:.1%} |")
    print(f"\noff by {np.median(off):.2%} in the median, {np.quantile(off, 0.95):.2%} at the 95th percentile")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300, float(sys.argv[2]) if len(sys.argv) > 2 else 1.5)
