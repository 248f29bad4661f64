"""Do pixels that lie a power of two apart fall onto each other in L1? F with and without room after each pixel's channels.

GOMP_SPINCOUNT=5000 python experiments/pixel_stride.py [SECONDS]

The pixels of a tile are read at the same channel. Where M is 512 or 1,024 they are 2 or 4 KB apart, which in an L1 of 64 sets
is one set or two, of 8 to 12 lines each. Sixteen floats of room a pixel move each into a set of its own. Times are ratios over
that of F without room, at batch 1, of pointwise, standard and separable convolution.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from sepconv_bench.kernels.cpu.product import bind_pointwise, bind_standard
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.sampler import sample
from sepconv_bench.measure.statistics import ratio

SHAPES = [(1, M, N, D_G) for D_G in (7, 14, 28) for M in (256, 512, 1024) for N in (M, 2 * M) if M * D_G <= 7168]
SHAPES += [(3, M, M, D_G) for M, D_G in ((128, 28), (256, 14), (512, 14), (512, 7))]
ROOM = (0, 16, 32)


def with_room(shape: tuple[int, ...], room: int, rng: np.random.Generator) -> np.ndarray:
    """An array of the shape whose pixels have `room` floats after their channels."""
    given = rng.standard_normal((*shape[:-1], shape[-1] + room), np.float32)
    return given[..., : shape[-1]]


def bind(D_K: int, M: int, N: int, D_G: int, room: int, rng: np.random.Generator) -> Launch:
    D_F = D_G + D_K - 1
    F, G = with_room((1, D_F, D_F, M), room, rng), np.full((1, D_G, D_G, N), np.nan, np.float32)
    K = rng.standard_normal((D_K, D_K, M, N), np.float32)
    return bind_pointwise(F, K[0, 0], G) if D_K == 1 else bind_standard(F, K, G, 1)


def main(seconds: float) -> None:
    print("| D_K | M | N | D_G | " + " | ".join(f"{room} floats" for room in ROOM[1:]) + " |")
    for shape in SHAPES:
        binds: dict[str, Callable[[np.random.Generator], Launch]] = {str(room): partial(bind, *shape, room) for room in ROOM}
        blocks = sample(binds, [], Rules(seconds=seconds, evenly=True), np.random.default_rng(0)).blocks
        found = [ratio(blocks[str(room)], blocks["0"]) for room in ROOM[1:]]
        print(
            "|",
            " | ".join(map(str, shape)),
            "|",
            " | ".join(f"{one.value:.3f} ({one.lo:.3f} to {one.hi:.3f})" for one in found),
            "|",
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
