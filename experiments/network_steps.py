"""Where the time of our network goes: each launch within the network, and the same launch over and over by itself.

python experiments/network_steps.py ALPHA RESOLUTION
"""

import os
import sys
from itertools import pairwise
from time import perf_counter

import numpy as np

from sepconv_bench.measure.clocks import pool_environment

THREADS, RUNS = 2, 600


def measure(alpha: float, resolution: int) -> None:
    from sepconv_bench.model.networks import mobilenet_v1
    from sepconv_bench.network.plan import Plan
    from sepconv_bench.network.weights import random_weights

    layers = mobilenet_v1(alpha, resolution)
    plan = Plan(layers, random_weights(layers))
    plan(np.random.default_rng(0).uniform(-1, 1, (1, resolution, resolution, 3)).astype(np.float32))
    launches = {"entrance": plan._entrance} | {step.name: step.launch for step in plan.steps}
    within, whole = [], []
    for _ in range(RUNS):
        times = [perf_counter()]
        for launch in launches.values():
            launch()
            times.append(perf_counter())
        within.append([after - before for before, after in pairwise(times)])
        start = perf_counter()
        plan.launch()
        whole.append(perf_counter() - start)
    alone = []
    for launch in launches.values():
        taken = []
        for _ in range(RUNS):
            start = perf_counter()
            launch()
            taken.append(perf_counter() - start)
        alone.append(np.median(taken) * 1e6)
    inside = np.median(within, axis=0) * 1e6
    print(f"\nalpha {alpha:g}, {resolution} wide: whole {np.median(whole) * 1e6:.0f} us\n")
    print("| us | within | alone | more |\n|---|---:|---:|---:|")
    for name, one, other in zip([*launches, "all"], [*inside, inside.sum()], [*alone, sum(alone)], strict=True):
        print(f"| {name} | {one:.1f} | {other:.1f} | {one - other:.1f} |")


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    measure(float(sys.argv[1]), int(sys.argv[2]))
