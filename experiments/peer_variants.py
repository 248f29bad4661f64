"""Which way of using a peer is the fastest: every variant of torch and onnxruntime on the shapes of two grids.

python experiments/peer_variants.py
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

import numpy as np

from sepconv_bench import Problem, get_kernel, kernel_names
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.model.grids import GRIDS
from sepconv_bench.model.operators import OPERATORS


def binder(name, problem):
    return lambda rng: get_kernel(name).bind(problem.placed_anew(rng))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    shapes = dict.fromkeys(GRIDS["default"].shapes + GRIDS["mobilenet"].shapes)
    for operator in OPERATORS:
        names = [name for name in kernel_names(operator) if get_kernel(name).needs]
        behind = {name: [] for name in names}
        for shape in shapes:
            problem = Problem.draw(operator, shape, rng)
            blocks = sample({name: binder(name, problem) for name in names}, [], Rules(seconds=1), rng).blocks
            seconds = {name: np.median([np.nanmedian(block) for block in blocks[name]]) for name in names}
            for name in names:
                library = get_kernel(name).needs[0]
                behind[name].append(seconds[name] / min(seconds[other] for other in names if library in other))
        for name, ratios in behind.items():
            geomean = np.exp(np.mean(np.log(ratios)))
            print(f"{name:34} {geomean:.2f} of the best of its library, the best on {ratios.count(1)} of {len(ratios)}")
