"""Block length: the half-widths that one cell reaches in 6 s with 20 and with 30 planned blocks, interleaved.

python experiments/block_length.py
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

import numpy as np

from sepconv_bench import Problem, get_kernel, kernel_names
from sepconv_bench.measure import sampler
from sepconv_bench.measure.clocks import batch_seconds
from sepconv_bench.measure.statistics import ratio
from sepconv_bench.model.grids import CENTRE
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.pairing import pairs

PLANNED, REPETITIONS = (20, 30), 7


def binder(name, problem):
    return lambda rng: get_kernel(name).bind(problem.placed_anew(rng))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    problems = {operator: Problem.draw(operator, CENTRE, rng) for operator in OPERATORS}
    binds = {name: binder(name, problems[name.split(".")[1]]) for name in kernel_names(device="cpu")}
    compared = pairs({name: batch_seconds(bind(rng), 2) for name, bind in binds.items()})
    widths = {(pair.separable, pair.standard, planned): [] for pair in compared for planned in PLANNED}
    for _ in range(REPETITIONS):
        for planned in PLANNED:
            sampler._PLANNED_BLOCKS = planned
            names = [(pair.standard, pair.separable) for pair in compared]
            blocks = sampler.sample(binds, names, sampler.Rules(target=1e-9), rng).blocks
            for pair in compared:
                widths[pair.separable, pair.standard, planned].append(
                    ratio(blocks[pair.separable], blocks[pair.standard]).half_width
                )
    for (separable, standard, planned), found in widths.items():
        print(f"{separable} / {standard}, {planned} blocks planned: half-width {np.median(found):.2%}")
