"""What a register tile alone can reach: one tile's sum again and again, on data in L1 or L2, as a share of the FMA peak.

python experiments/tile_ceiling.py
"""

import os

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

from functools import partial

import numpy as np
from numba import njit, prange

from sepconv_bench.kernels.cpu.layout import FLOAT, View, aligned
from sepconv_bench.kernels.cpu.product import Output, Prefetch, Terms, product_tile
from sepconv_bench.kernels.cpu.registers import Tile, host_vectors
from sepconv_bench.measure.ceilings import fma_peak
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio

THREADS, REPEATS, LAYER = 2, 200, 64
SUMS = {"short sums, as of pointwise": 64, "longer, as of 3 x 3": 576, "long, weights from L2": 3008}  # rank-1 updates each


def repeated(tile, updates):
    """A launch on all threads, and its FLOP."""
    one_tile, rows, NR = product_tile(tile, False), updates // LAYER, tile.NR

    @njit(parallel=True, error_model="numpy")
    def run(maps, weights, outputs):
        for thread in prange(len(maps)):
            for _ in range(REPEATS):
                terms, output = Terms(rows, 1, LAYER, LAYER * FLOAT), Output(NR, True, True, 0)
                f, g = View(maps[thread], 0, 0), View(outputs[thread], 0, NR * FLOAT)
                one_tile(f, terms, weights[thread], g, output, Prefetch(0, 0))

    buffers = [[aligned(size) for _ in range(THREADS)] for size in (tile.MR * LAYER, updates * tile.NR, tile.MR * tile.NR)]
    for arrays in buffers:
        for array in arrays:
            array.fill(0.5)
    addresses = [np.array([array.ctypes.data for array in arrays]) for arrays in buffers]

    def launch(kept=buffers):
        run(*addresses)

    return launch, 2 * tile.MR * tile.NR * (updates // LAYER * LAYER) * REPEATS * THREADS


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    vectors, peak = host_vectors(), fma_peak(rng)
    for length, updates in SUMS.items():
        for NV in (1, 2, 3, 4):
            tile = Tile(vectors.max_pixels(NV), NV, vectors.lanes)
            launch, flop = repeated(tile, updates)
            launches = {"peak": peak.launch, "tile": launch}
            binds = {name: partial(lambda found, rng: found, found) for name, found in launches.items()}
            blocks = sample(binds, [], Rules(seconds=3), rng).blocks
            share = ratio(blocks["peak"], blocks["tile"]).value * flop / peak.flop
            print(f"{length}: {tile.MR} pixels x {NV} vectors: {100 * share:.0f} % of the peak")
