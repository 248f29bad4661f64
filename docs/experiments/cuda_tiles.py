"""Are the tiles that kernels/cuda/tiles.py chooses the fastest on this GPU? Times every tile and split beside the chosen one.

python docs/experiments/cuda_tiles.py [seconds a shape]

Prints, for each shape of the grid `gpu` and each operator on it, the choice, the fastest, and the chosen one's time over the
fastest's. Needs a GPU.
"""

from __future__ import annotations

import sys

import numpy as np

from sepconv_bench import Problem, gpu
from sepconv_bench.errors import InputError
from sepconv_bench.kernels.cuda import rungs, tiles
from sepconv_bench.measure.cuda import CudaClock
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio
from sepconv_bench.shapes import ConvShape, get_grid


def contenders(operator: str, shape: ConvShape) -> tuple[dict, str]:
    """What binds each way to cut the work, by name, and the name of the way that is chosen."""
    rng = np.random.default_rng(0)
    problem = Problem.draw(operator, shape, rng)
    bind = rungs.fused if operator == "separable" else rungs.tiled
    if operator == "depthwise":
        chosen, which = rungs.strip_of(shape), "choose_strip"
        ways = {str(strip): strip for strip in tiles.STRIPS}
        name = str(chosen)
    else:
        fused = operator == "separable"
        of = rungs.of_one(shape) if operator == "pointwise" else shape
        layouts = [rungs.Layout.dense(each) for each in (of.F_shape("standard"), of.G_shape("standard"))]
        product, which = rungs.product_of(of, *layouts, filtered=fused), "choose_tile"
        there = tiles.FUSED_TILES if fused else tiles.TILES
        ways = {
            f"{tile.BP}x{tile.BN} / {splits}": (tile, splits)
            for tile in there
            for splits in tiles.SPLITS
            if splits <= product.slices * product.tile.BK // tile.BK and (splits == 1 or splits % 4 == 0)
        }
        name = f"{product.tile.BP}x{product.tile.BN} / {product.splits}"
        ways.setdefault(name, (product.tile, product.splits))

    def binder(way):
        def bound(rng: np.random.Generator):
            before = getattr(rungs, which)
            setattr(rungs, which, lambda *sizes: way)
            try:
                return bind(problem)
            finally:
                setattr(rungs, which, before)

        return bound

    return {key: binder(way) for key, way in ways.items()}, name


def main() -> None:
    gpu.require_for_timing()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    clock, rng = CudaClock(), np.random.default_rng(0)
    print("operator,shape,chosen,fastest,chosen over fastest")
    for shape in get_grid("gpu").shapes:
        for operator in ("standard", "pointwise", "separable", "depthwise"):
            binds, chosen = contenders(operator, shape)
            blocks = sample(binds, [], Rules(seconds=seconds), rng, clock=clock).blocks
            fastest = min(blocks, key=lambda name: np.nanmedian(np.concatenate(blocks[name])))
            times = 1.0 if fastest == chosen else ratio(blocks[chosen], blocks[fastest]).value
            print(f"{operator},{shape},{chosen},{fastest},{times:.3f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
