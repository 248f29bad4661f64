"""What our choice of tiles, and of one pass or two, loses to the best of a few that are forced: regret over whole grids.

python experiments/fused_regret.py [--seconds S] [--threads T] [GRID ...]

Where tiles.py goes through all tiles on one thread, this times on all threads, with the sampling core, what a cell times:
standard, pointwise, and separable as a network's block is bound. The others are, for each number of vectors in a panel, the
tile that should be the fastest after the chosen one; for separable also the other number of passes. Compiling comes on top of S
seconds a shape and operator, the first time. The best is sought on one half of the blocks and timed on the other, and the other
way round: of many that are alike the luckiest would win. Goals: 2 % in the median, 8 % at worst.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import exp
from statistics import median
from typing import Any

import numpy as np

from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.cpus import default_threads
from sepconv_bench.measure.statistics import ratio
from sepconv_bench.model.grids import get_grid
from sepconv_bench.model.operators import POINTWISE, SEPARABLE, STANDARD, Operator
from sepconv_bench.model.shapes import ConvShape

CHOSEN, GOAL_MEDIAN, GOAL_WORST = "chosen", 0.02, 0.08
HALVES = (slice(0, None, 2), slice(1, None, 2))
OPERATORS = (STANDARD, POINTWISE, SEPARABLE)


def regret(blocks: Mapping[str, Sequence[np.ndarray]]) -> tuple[float, tuple[str, str]]:
    """Time of the chosen one over that of the best, less 1, from samples by name; and the best of either half of the blocks.

    The best of a half may be the chosen one, which it is compared with on the other half. The mean of both halves' logarithms.
    """

    def over_chosen(name: str, half: slice) -> float:
        return ratio(blocks[name][half], blocks[CHOSEN][half]).value

    best = tuple(min(blocks, key=lambda name: over_chosen(name, half)) for half in HALVES)
    found = [over_chosen(name, half) for name, half in zip(best, reversed(HALVES), strict=True)]
    return float(exp(-np.log(found).mean())) - 1, (best[0], best[1])


def ways(operator: Operator, shape: ConvShape) -> dict[str, Callable[[np.random.Generator], Callable[[], object]]]:
    """By name what binds fresh buffers: our choice, and the forced ones."""
    import numba

    from sepconv_bench.kernels.cpu import blocking
    from sepconv_bench.kernels.cpu.blocking import Blocks
    from sepconv_bench.kernels.cpu.fused import bind_separable
    from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
    from sepconv_bench.kernels.cpu.registers import host_vectors
    from sepconv_bench.kernels.cpu.tiled import bind_two_passes
    from sepconv_bench.kernels.problem import Problem

    def bind(blocks: Blocks | None, fused: bool, rng: np.random.Generator) -> Callable[[], object]:
        one = Problem.draw(operator, shape, rng)
        if operator is STANDARD:
            return bind_standard(one.F, one.K, one.G, one.stride, blocks=blocks)
        if operator is POINTWISE:
            return bind_pointwise(one.F, one.K_tilde, one.G, blocks=blocks)
        if fused:
            return bind_separable(one.F, one.K_hat, one.K_tilde, one.G, one.stride, blocks=blocks)
        return bind_two_passes(one.F, one.K_hat, one.K_tilde, one.G, one.stride)

    rows, width = (shape.batch, shape.D_G**2) if operator is POINTWISE else (shape.batch * shape.D_G, shape.D_G)
    taps, filter_taps = shape.D_K**2 if operator is STANDARD else 1, shape.D_K**2 if operator is SEPARABLE else 0
    sizes = rows, width, shape.M, shape.N, taps, host_vectors(), numba.get_num_threads(), filter_taps
    chosen, *others = (one.blocks for one in blocking.ranked_products(*sizes))
    fuses = blocking.fuses(shape.M * shape.N)
    found: dict[str, Any] = {CHOSEN: partial(bind, None, fuses)}
    if operator is SEPARABLE:
        found["two passes" if fuses else "fused"] = partial(bind, None, not fuses)
    tiles = {one.vectors.most: one for one in reversed(others) if (one.pixels, one.vectors) != (chosen.pixels, chosen.vectors)}
    if operator is not SEPARABLE or fuses:
        found |= {f"{one.pixels.most} x {NV}": partial(bind, one, True) for NV, one in sorted(tiles.items())}
    return found


def over(operator: Operator, shapes: Sequence[ConvShape], seconds: float) -> None:
    """Prints the regret of each shape, then the median, the worst, and how many are over the goal."""
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.measure.sampler import sample

    found: dict[ConvShape, float] = {}
    for shape in shapes:
        blocks = sample(ways(operator, shape), [], Rules(seconds=seconds, evenly=True), np.random.default_rng(0)).blocks
        found[shape], best = regret(blocks)
        print(f"{operator} {shape}: best {' and '.join(dict.fromkeys(best))}, regret {found[shape]:.1%}", flush=True)
    worst = max(found, key=found.__getitem__)
    many = sum(lost > GOAL_WORST for lost in found.values())
    print(
        f"{operator}, {len(found)} shapes: median {median(found.values()):.1%} (goal {GOAL_MEDIAN:.0%}), worst"
        f" {found[worst]:.1%} (goal {GOAL_WORST:.0%}) at {worst}, {many} over {GOAL_WORST:.0%}\n",
        flush=True,
    )


def shapes_of(operator: Operator, grids: Sequence[str]) -> list[ConvShape]:
    """The distinct shapes of an operator. Windows of 1 x 1 are pointwise's."""
    shapes = [shape for grid in grids for shape in get_grid(grid).shapes]
    if operator is POINTWISE:
        shapes = [replace(shape, D_K=1, stride=1) for shape in shapes]
    return [shape for shape in dict.fromkeys(shapes) if operator is POINTWISE or shape.D_K > 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("grids", nargs="*", default=["default"])
    parser.add_argument("--seconds", type=float, default=2.5, help="of a shape and operator")
    parser.add_argument("--threads", type=int, default=default_threads())
    asked = parser.parse_args()
    if "NUMBA_NUM_THREADS" not in os.environ:  # before any pool starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(asked.threads))
    for operator in OPERATORS:
        over(operator, shapes_of(operator, asked.grids), asked.seconds)
