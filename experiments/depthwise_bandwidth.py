"""Depthwise on maps that no cache near the cores holds, in the same rounds as a copy of as many bytes.

python experiments/depthwise_bandwidth.py
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

from functools import partial

import numpy as np

from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.measure.ceilings import copy_bind
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio
from sepconv_bench.model import theory

THREADS = 2
SHAPES = (
    ConvShape(3, 64, 1, 112),
    ConvShape(3, 256, 1, 112),
    ConvShape(3, 64, 1, 448),
    ConvShape(3, 512, 1, 224),
    ConvShape(5, 256, 1, 224),
)


def kernel_bind(problem, rng):
    return get_kernel("cpu.depthwise.tiled").bind(problem.placed_anew(rng))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        moved = theory.bytes_moved("depthwise", shape)
        footprint = moved // 8 * 8
        problem = Problem.draw("depthwise", shape, rng)
        binds = {"copy": copy_bind(footprint, THREADS, passes=2), "depthwise": partial(kernel_bind, problem)}
        blocks = sample(binds, [], Rules(seconds=10), rng).blocks
        share = ratio(blocks["copy"], blocks["depthwise"])
        percent = [f"{50 * value:.0f}" for value in (share.value, share.lo, share.hi)]
        print("{}: {:.0f} MB, {} % of a copy's bandwidth, {} to {}".format(shape, moved / 1e6, *percent))
