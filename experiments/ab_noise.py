"""What the ratio of two processes that take turns is made of: rounds, and draws of memory.

python experiments/ab_noise.py

The same kernel in both. Printed: the spread of new over old from round to round, by the mean and by the median of a sample's
launches, and over draws of buffers, which lie in ordinary pages or in huge ones.
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

import mmap
import multiprocessing
from dataclasses import replace
from math import ceil

import numpy as np

from sepconv_bench import Problem, get_kernel
from sepconv_bench.measure.clocks import batch_seconds, wait_for_idle_pools
from sepconv_bench.model.grids import get_grid

KERNELS = (("cpu.pointwise.tiled", 0), ("cpu.depthwise.tiled", 0), ("cpu.depthwise.tiled", 1))
DRAWS, ROUNDS, SECONDS = 60, 3, 2e-3
_HUGE = 2 << 20


def in_huge_pages(array, rng):
    memory = mmap.mmap(-1, (array.nbytes + 2 * _HUGE) // mmap.PAGESIZE * mmap.PAGESIZE)
    memory.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    first = -raw.ctypes.data % _HUGE + 64 * int(rng.integers(64))
    placed = raw[first : first + array.nbytes].view(np.float32).reshape(array.shape)
    placed[...] = array
    return placed


def side(connection, name, shape, huge, seed):
    """A process: draws buffers anew when told "draw", else gives seconds of so many launches one by one."""
    kernel, rng = get_kernel(name), np.random.default_rng(seed)
    drawn = Problem.draw(kernel.operator, shape, rng)
    launch = kernel.bind(drawn)
    launch()
    connection.send(min(batch_seconds(launch, 1) for _ in range(9)))
    while (job := connection.recv()) is not None:
        if job == "draw":
            problem = drawn.placed_anew(rng)
            if huge:
                F, G, *weights = (in_huge_pages(array, rng) for array in (drawn.F, drawn.G, *drawn.weights))
                problem = replace(drawn, F=F, G=G, weights=tuple(weights))
            launch = kernel.bind(problem)
            connection.send(launch())
        else:
            wait_for_idle_pools()
            launch()
            connection.send([batch_seconds(launch, 1) for _ in range(job)])


def spread(ratios):
    """Of the bulk (1.48 median deviations, which is a normal one's standard deviation), and the share that is off by 20 %."""
    away = np.abs(np.log(ratios) - np.median(np.log(ratios)))
    return f"{1.48 * np.median(away):.1%} ({(away > 0.2).mean():.0%} beyond 20 %)"


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    rng = np.random.default_rng(0)
    for (name, number), huge in ((one, huge) for one in KERNELS for huge in (False, True)):
        shape = get_grid("tracked").shapes[number]
        sides = []
        for seed in range(2):
            ours, theirs = context.Pipe()
            context.Process(target=side, args=(theirs, name, shape, huge, seed), daemon=True).start()
            sides.append(ours)
        launches = ceil(SECONDS / min(one.recv() for one in sides))
        times = np.empty((DRAWS, ROUNDS, 2, launches))
        for draw in range(DRAWS):
            for one in sides:
                one.send("draw")
                one.recv()
            for turn in range(ROUNDS):
                for which in rng.permutation(2):
                    sides[which].send(launches)
                    times[draw, turn, which] = sides[which].recv()
        for one in sides:
            one.send(None)
        means, medians = times.mean(axis=3), np.median(times, axis=3)
        rounds = [each[:, :, 1] / each[:, :, 0] for each in (means, medians)]
        within = [spread(each / np.median(each, axis=1, keepdims=True)) for each in rounds]
        low, high = np.percentile(medians, [10, 90]) * 1e6
        pages = "huge pages" if huge else "pages"
        print(f"{name} {shape}, {pages}: rounds by means {within[0]}, by medians {within[1]};", end=" ")
        print(f"draws {spread(np.median(rounds[1], axis=1))}; 10 to 90 % of launches {low:.1f} to {high:.1f} us", flush=True)
