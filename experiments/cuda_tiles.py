"""Are the tiles that kernels/cuda/tiles.py chooses the fastest on this GPU? Times all ways to cut the work beside the chosen.

python experiments/cuda_tiles.py [all | TIMES.csv]

Prints each way's time, in microseconds, for each operator on each of SHAPES (with `all` on the grid `gpu`, where the maps fit
in 1 GiB), and at the end what the chosen ways lose to the fastest ones. Needs a GPU; compiles on all cores, times one by one.

Of a file of such times it says, without a GPU, what was lost by the ways chosen then and by those that are chosen now.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from math import ceil
from statistics import geometric_mean, median
from typing import Any

import numpy as np

from sepconv_bench import ConvShape, Problem, gpu
from sepconv_bench.errors import InputError
from sepconv_bench.model.grids import get_grid
from sepconv_bench.model.operators import DEPTHWISE, OPERATORS, POINTWISE, SEPARABLE, STANDARD, Operator

SHAPES = (
    *(ConvShape(3, 64, 128, D_G) for D_G in (14, 28, 56, 112)),
    *(ConvShape(3, 64, 128, D_G, batch=8) for D_G in (28, 56, 112, 224)),
    ConvShape(3, 128, 128, 28, batch=8),
    ConvShape(3, 256, 512, 14, batch=32),
    ConvShape(3, 512, 512, 14, batch=32),
    # MobileNet-V1's, one image
    ConvShape(3, 32, 64, 112),
    ConvShape(3, 256, 256, 28),
    ConvShape(3, 512, 512, 14),
    ConvShape(3, 1024, 1024, 7),
)
MOST_BYTES = 1 << 30
HOPELESS = 1.8  # times what the reckoning says of the best
ROUNDS, SAMPLE_SECONDS = 7, 0.5e-3
_lock: Any = None


def products(operator: Operator, shape: ConvShape) -> dict[str, Any]:
    """Tiles and splits that are not hopeless, by name."""
    from sepconv_bench.kernels.cuda import tiles

    pixels, taps = shape.batch * shape.D_G**2, shape.D_K**2 if operator is STANDARD else 1
    window = shape.D_K**2 if operator is SEPARABLE else 0
    ours = tiles.FUSED_TILES if operator is SEPARABLE else tiles.TILES
    cycles = {
        (tile, splits): tiles.product_cycles(tile, splits, pixels, shape.N, shape.M, taps, gpu.multiprocessors(), window)
        for tile in ours
        for splits in tiles.SPLITS
        if splits <= taps * ceil(shape.M / tile.BK)
    }
    found = {}
    for tile in ours:
        best = sorted((each for each in cycles if each[0] == tile), key=cycles.__getitem__)[:2]
        for way in {(tile, 1), *best}:
            if cycles[way] <= HOPELESS * min(cycles.values()):
                found[f"{tile.BP}x{tile.BN}x{tile.BK}/{tile.threads}/{way[1]}"] = way
    return found


def ways(operator: Operator, shape: ConvShape) -> tuple[dict[str, Any], str]:
    """Launches by name, all on the same maps, and the name of the chosen one."""
    from numba import cuda

    from sepconv_bench.kernels.cuda import rungs, tiles
    from sepconv_bench.kernels.device_array import DeviceArray

    drawn = Problem.draw(operator, shape, np.random.default_rng(0))
    F, G = (DeviceArray.of(name, cuda.to_device(array)) for name, array in (("F", drawn.F), ("G", drawn.G)))
    problem = replace(drawn, F=F, G=G)
    bind = rungs.fused if operator is SEPARABLE else rungs.tiled
    if operator is DEPTHWISE:
        which, candidates = "choose_strip", {f"{TH}x{TW}": (TH, TW) for TH, TW in tiles.STRIPS}
        chosen = "{}x{}".format(*rungs.strip_of(shape))
    else:
        which, candidates = "choose_tile", products(operator, shape)
        of = rungs.of_one(shape) if operator is POINTWISE else shape
        layouts = [rungs.Layout.dense(each) for each in (STANDARD.F_shape(of), STANDARD.G_shape(of))]
        product = rungs.product_of(of, *layouts, filtered=operator is SEPARABLE)
        chosen = f"{product.tile.BP}x{product.tile.BN}x{product.tile.BK}/{product.tile.threads}/{product.splits}"
        candidates[chosen] = (product.tile, product.splits)
    launches, ours = {}, getattr(rungs, which)
    for name, way in candidates.items():
        setattr(rungs, which, lambda *sizes, way=way: way)
        launches[name] = bind(problem)
        launches[name]()  # compiles
    setattr(rungs, which, ours)
    gpu.stream().synchronize()
    return launches, chosen


def timed(task: tuple[str, ConvShape]) -> tuple[str, ConvShape, dict[str, float], str]:
    """Median seconds of each way, in interleaved rounds."""
    from sepconv_bench.measure.cuda import CudaClock

    operator, shape = task
    launches, chosen = ways(OPERATORS[operator], shape)
    clock, rng, names = CudaClock(), np.random.default_rng(0), list(launches)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _lock:
        each = {name: min(clock.batch_seconds(launches[name], 1) for _ in range(3)) for name in names}
        for _ in range(ROUNDS):
            for name in rng.permutation(names):
                count = max(1, ceil(SAMPLE_SECONDS / each[name]))
                samples[name].append(clock.batch_seconds(launches[name], count))
    return operator, shape, {name: median(taken) for name, taken in samples.items()}, chosen


def with_lock(lock: Any) -> None:
    global _lock
    _lock = lock


def compare_choices(path: str) -> None:
    import pandas as pd

    from sepconv_bench.kernels.cuda import tiles

    for operator, rows in pd.read_csv(path).groupby("operator", sort=False):
        then, now = [], []
        for text, each in rows.groupby("shape", sort=False):
            sizes = dict(part.split("=") for part in text.split())
            shape = ConvShape(**{name: int(size) for name, size in sizes.items()})
            times = each.groupby("way").microseconds.min()
            then += [one.microseconds / times.min() for one in each[each.chosen.eq("*")].itertuples()]
            if OPERATORS[operator] is DEPTHWISE:
                way = "{}x{}".format(*tiles.choose_strip(shape, 132))
            else:
                taps = shape.D_K**2 if OPERATORS[operator] is STANDARD else 1
                fused = OPERATORS[operator] is SEPARABLE
                among, window = (tiles.FUSED_TILES, shape.D_K**2) if fused else (tiles.TILES, 0)
                tile, splits = tiles.choose_tile(shape.batch * shape.D_G**2, shape.N, shape.M, taps, 132, among, window)
                way = f"{tile.BP}x{tile.BN}x{tile.BK}/{tile.threads}/{splits}"
            if way in times:
                now.append(times[way] / times.min())
        print(f"{operator}: chosen then {geometric_mean(then):.3f} of the fastest's time, at worst {max(then):.2f};", end=" ")
        print(f"now {geometric_mean(now):.3f}, at worst {max(now):.2f} ({len(now)} shapes of {rows['shape'].nunique()})")


def main() -> None:
    if sys.argv[1:] and sys.argv[1].endswith(".csv"):
        compare_choices(sys.argv[1])
        return
    gpu.require_for_timing()
    shapes = SHAPES
    if sys.argv[1:] == ["all"]:
        shapes = get_grid("gpu").shapes
    shapes = tuple(s for s in shapes if 4 * s.batch * (s.M * s.D_F**2 + s.N * s.D_G**2) <= MOST_BYTES)
    tasks = [(operator, shape) for operator in OPERATORS for shape in shapes]
    context = multiprocessing.get_context("spawn")
    losses: dict[str, list[float]] = {operator: [] for operator in OPERATORS}
    print("operator,shape,way,microseconds,chosen")
    workers = max(1, min(14, multiprocessing.cpu_count() - 1))
    with ProcessPoolExecutor(workers, context, initializer=partial(with_lock, context.Lock())) as pool:
        for operator, shape, seconds, chosen in pool.map(timed, tasks):
            losses[operator].append(seconds[chosen] / min(seconds.values()))
            for name, one in sorted(seconds.items(), key=lambda item: item[1]):
                print(f"{operator},{shape},{name},{1e6 * one:.2f},{'*' * (name == chosen)}", flush=True)
    for operator, lost in losses.items():
        print(f"# {operator}: the chosen way takes {geometric_mean(lost):.3f} of the fastest's time, at worst {max(lost):.2f}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
