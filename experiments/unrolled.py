"""Tiles whose inner loops stay as they are written, beside those that the compiler may unroll: paired, in one process.

GOMP_SPINCOUNT=5000 python experiments/unrolled.py
"""

from __future__ import annotations

from functools import partial
from time import perf_counter

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from sepconv_bench.kernels.cpu import fused, product
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch, get_kernel
from sepconv_bench.measure.clocks import batch_seconds
from sepconv_bench.model.shapes import ConvShape

KERNELS = ("cpu.standard.tiled", "cpu.pointwise.tiled", "cpu.separable.fused")
SIZES = ((3, 64, 64, 28), (3, 64, 8, 28), (3, 64, 16, 28), (3, 256, 256, 28), (3, 512, 512, 14), (3, 32, 64, 112))
SHAPES = [ConvShape(*sizes) for sizes in (*SIZES, (3, 1024, 1024, 7), (5, 64, 64, 28))]
PAIRS = 40


@intrinsic
def unhindered(typingctx):
    """In the place of `rolled`: nothing at all."""
    return types.void(), lambda context, builder, signature, args: context.get_dummy_value()


def bound(name: str, problem: Problem, barrier: object) -> Launch:
    """The kernel compiled anew with this barrier in its loops."""
    product.rolled = barrier
    for module in (product, fused):
        for made in vars(module).values():
            if hasattr(made, "cache_clear"):
                made.cache_clear()
    launch = get_kernel(name).bind(problem)
    launch()
    return launch


def main() -> None:
    rng, barrier = np.random.default_rng(0), product.rolled
    for name in KERNELS:
        for shape in SHAPES:
            problem = Problem.draw(name.split(".")[1], shape, rng)
            free, kept = (bound(name, problem, which) for which in (unhindered, barrier))
            start = perf_counter()
            free()
            sample = partial(batch_seconds, launches=max(1, int(2e-3 / (perf_counter() - start))))
            ratios = []
            for number in range(PAIRS):
                first, second = (free, kept) if number % 2 else (kept, free)
                times = {first: sample(first), second: sample(second)}
                ratios.append(times[free] / times[kept])
            print(f"{name} {shape}: unrolled over as written {np.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
