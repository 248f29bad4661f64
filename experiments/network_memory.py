"""Where weights and maps of the network lie: maps by themselves or in turns in two places, weights by themselves or together on
huge pages; and weights of 1 MB fetched ahead of their use, as larger ones are.

python experiments/network_memory.py ALPHA RESOLUTION [SECONDS]
"""

import mmap
import os
import sys
from unittest.mock import patch

import numpy as np

from sepconv_bench.measure.clocks import pool_environment

THREADS = 2
_LINE = 64
_ARENA = 48 << 20


def _streams_from_1_mb(weights_floats):
    return weights_floats >= 1 << 18


class Arena:
    """Memory on huge pages, given out line by line."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, _ARENA)
        memory.madvise(mmap.MADV_HUGEPAGE)
        self._floats, self._next = np.frombuffer(memory, np.float32), 0

    def aligned(self, floats):
        first = self._next
        self._next += -(-floats * 4 // _LINE) * _LINE // 4
        return self._floats[first : first + floats]


def measure(alpha: float, resolution: int, seconds: float) -> None:
    from sepconv_bench.kernels.cpu import blocking, layout
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.measure.sampler import sample
    from sepconv_bench.measure.statistics import ratio
    from sepconv_bench.model.networks import mobilenet_v1
    from sepconv_bench.network import host
    from sepconv_bench.network.plan import Plan
    from sepconv_bench.network.weights import random_weights

    layers = mobilenet_v1(alpha, resolution)
    weights = random_weights(layers)
    image = np.random.default_rng(0).uniform(-1, 1, (1, resolution, resolution, 3)).astype(np.float32)

    def bind(apart, huge=False, ahead=False):
        def planned(rng):
            aligned = Arena().aligned if huge else layout.aligned
            streams = _streams_from_1_mb if ahead else blocking.streams
            with (
                patch.object(layout, "aligned", aligned),
                patch.object(host, "_SHARED_BYTES", 0),
                patch.object(blocking, "streams", streams),
            ):
                plan = Plan(layers, weights, apart=apart)
            plan.take(image)
            return plan.launch

        return planned

    binds = {
        "by themselves": bind(apart=True),
        "again": bind(apart=True),
        "weights on huge pages": bind(apart=True, huge=True),
        "maps in two places": bind(apart=False),
        "and weights on huge pages": bind(apart=False, huge=True),
        "and weights of 1 MB fetched ahead": bind(apart=False, ahead=True),
    }
    first, *others = binds
    rules = Rules(target=0.001, seconds=seconds, evenly=True)
    blocks = sample(binds, [(name, first) for name in others], rules, np.random.default_rng(0)).blocks
    print(f"\nalpha {alpha:g}, {resolution} wide, {len(blocks[first])} blocks\n\n| | ms | over the first |\n|---|---:|---:|")
    for name in binds:
        found, median = ratio(blocks[name], blocks[first]), 1e3 * float(np.median(np.concatenate(blocks[name])))
        print(f"| {name} | {median:.3f} | {found.value:.4f} ({found.lo:.4f} to {found.hi:.4f}) |")


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    measure(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 40.0)
