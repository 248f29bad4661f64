"""Where the network's weights and maps lie: each allocated by itself, or all in one arena on huge pages.

python experiments/network_memory.py ALPHA RESOLUTION [SECONDS]
"""

import mmap
import os
import sys
from math import prod
from unittest.mock import patch

import numpy as np

from sepconv_bench.measure.clocks import pool_environment

THREADS = 2
_LINE = 64
_ARENA = 96 << 20


class Arena:
    """Memory on huge pages, given out line by line."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ARENA)
        self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._floats, self._next = np.frombuffer(self._memory, np.float32), 0

    def aligned(self, floats):
        first = self._next
        self._next += -(-floats * 4 // _LINE) * _LINE // 4
        return self._floats[first : first + floats]

    def zeros(self, shape):
        return self.aligned(prod(shape)).reshape(shape)


def measure(alpha: float, resolution: int, seconds: float) -> None:
    from sepconv_bench.kernels.cpu import layout
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

    def planned(rng):
        plan = Plan(layers, weights)
        plan.take(image)
        return plan.launch

    def weights_on_huge_pages(rng):
        with patch.object(layout, "aligned", Arena().aligned):
            return planned(rng)

    def all_on_huge_pages(rng):
        arena = Arena()
        with patch.object(layout, "aligned", arena.aligned), patch.object(host, "zeros", arena.zeros):
            return planned(rng)

    binds = {"as it is": planned, "again": planned, "weights": weights_on_huge_pages, "weights and maps": all_on_huge_pages}
    names = [*binds]
    rules = Rules(target=0.001, seconds=seconds, evenly=True)
    blocks = sample(binds, [(name, names[0]) for name in names[1:]], rules, np.random.default_rng(0)).blocks
    for name in names:
        found = ratio(blocks[name], blocks[names[0]])
        milliseconds = 1e3 * float(np.median(np.concatenate(blocks[name])))
        print(
            f"{name}: {milliseconds:.3f} ms, {found.value:.4f} ({found.lo:.4f} to {found.hi:.4f}), {len(blocks[name])} blocks"
        )


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    measure(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 40.0)
