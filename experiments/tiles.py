"""Are the tiles that kernels/cpu/blocking.py chooses the fastest here? Times them beside forced ones: regret over the grids.

GOMP_SPINCOUNT=5000 python experiments/tiles.py [GRID ...]

One thread, and of that its own CPU time: a neighbour that takes the core away is in none of the samples. All tiles of a shape
take turns; then the fastest few and the chosen one again, so that the best is not whichever was lucky. Regret is the chosen
one's time over the best one's, the median over rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from statistics import median
from time import thread_time_ns

import numba
import numpy as np

from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Blocks, Cut
from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.cpu.registers import host_vectors
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.grids import get_grid
from sepconv_bench.model.operators import POINTWISE, STANDARD, Operator
from sepconv_bench.model.shapes import ConvShape

GRIDS = ("default", "mobilenet", "inception")
ROUNDS, ROUNDS_AGAIN, FEW = 9, 41, 3
SAMPLE_NS = 1_000_000
CHOSEN = "chosen"


def forced(width: int, N: int) -> set[tuple[Cut, Cut]]:
    """Cuts into the largest tiles of each number of vectors, into a pixel less, and into half as many pixels."""
    vectors, count = host_vectors(), -(-N // host_vectors().lanes)
    found = set()
    for NV in range(1, min(4, count) + 1):
        most = vectors.max_pixels(NV)
        found |= {(Cut.balanced(width, MR), Cut.balanced(count, NV)) for MR in (most, most - 1, most // 2) if MR}
    return found


def bound(operator: Operator, shape: ConvShape) -> tuple[dict[object, Launch], Blocks]:
    """A launch for each of the tiles, on the same maps, and the blocks that were chosen."""
    problem = Problem.draw(operator, shape, np.random.default_rng(0))
    rows, width = shape.batch * shape.D_G, shape.D_G
    if operator is POINTWISE:
        rows, width = shape.batch, shape.D_G**2
    taps = shape.D_K**2 if operator is STANDARD else 1
    chosen = blocking.product_blocks(rows, width, shape.M, shape.N, taps, host_vectors(), 1)

    def bind(blocks: Blocks) -> Launch:
        if operator is POINTWISE:
            return bind_pointwise(problem.F, problem.K_tilde, problem.G, blocks=blocks)
        return bind_standard(problem.F, problem.K, problem.G, problem.stride, blocks=blocks)

    launches: dict[object, Launch] = {CHOSEN: bind(chosen)}
    for pixels, panels in forced(width, shape.N) - {(chosen.pixels, chosen.vectors)}:
        launches[pixels.most, panels.most] = bind(Blocks(pixels, panels, 1, 1))
    return launches, chosen


def sampled(launches: Mapping[object, Launch], rounds: int) -> dict[object, list[float]]:
    """Nanoseconds of CPU time a launch, round by round."""

    def timed(launch: Launch, times: int) -> float:
        start = thread_time_ns()
        for _ in range(times):
            launch()
        return (thread_time_ns() - start) / times

    rng, names = np.random.default_rng(0), list(launches)
    times = {name: max(1, int(SAMPLE_NS / max(1.0, timed(launches[name], 2)))) for name in names}
    samples: dict[object, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for number in rng.permutation(len(names)):
            name = names[number]
            launches[name]()  # its own data in the caches, as far as they hold them
            samples[name].append(timed(launches[name], times[name]))
    return samples


def regret(launches: Mapping[object, Launch]) -> tuple[float, object]:
    """Of the chosen tile, and the best."""
    first = sampled(launches, ROUNDS)
    few = sorted(first, key=lambda name: median(first[name]))[:FEW]
    again = sampled({name: launches[name] for name in {*few, CHOSEN}}, ROUNDS_AGAIN)
    best = min(again, key=lambda name: median(again[name]))
    return median(a / b for a, b in zip(again[CHOSEN], again[best], strict=True)), best


def over(operator: Operator, shapes: list[ConvShape], say: Callable[..., None]) -> None:
    found = []
    for shape in shapes:
        launches, chosen = bound(operator, shape)
        lost, best = regret(launches)
        found.append(lost)
        say(f"{operator} {shape}: {chosen.pixels.most} x {chosen.vectors.most}, best {best}, regret {lost - 1:.1%}", flush=True)
    found.sort()
    short = f"median {median(found) - 1:.1%}, 90th percentile {found[int(0.9 * len(found))] - 1:.1%}, worst {found[-1] - 1:.1%}"
    say(f"{operator}, {len(found)} shapes: {short}", flush=True)


def main() -> None:
    numba.set_num_threads(1)
    shapes = [shape for name in sys.argv[1:] or GRIDS for shape in get_grid(name).shapes]
    maps = {ConvShape(1, shape.M, shape.N, shape.D_G, batch=shape.batch): None for shape in shapes}
    over(POINTWISE, list(maps), print)
    over(STANDARD, [shape for shape in dict.fromkeys(shapes) if shape.D_K > 1], print)


if __name__ == "__main__":
    main()
