"""What the machine can do at best, against what a plain loop reaches."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import msgspec

from sepconv_bench.measure.ceilings import FOOTPRINTS
from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.records import Ceilings


def run(code: str) -> str:
    """What the code prints in a process with the pools of a measurement: on a busy machine threads that spin without end
    cost the ceiling a factor of eight."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | pool_environment(2), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


CEILINGS = """
import msgspec
import numpy as np
from sepconv_bench.measure.ceilings import copies, fma_peak, measure_ceilings

rng = np.random.default_rng(0)
peak = fma_peak(rng)
print(msgspec.json.encode([peak.lanes, measure_ceilings(peak, copies(), rng, seconds=0.5)]).decode())
"""


def test_the_ceilings_are_measured():
    lanes, found = msgspec.json.decode(run(CEILINGS), type=tuple[int, Ceilings])
    assert found.lanes in (4, 8, 16)
    peak = found.peak
    assert 0 < peak.lo <= peak.value <= peak.hi < math.inf
    # No CPU does less than one multiply-add of four floats a nanosecond, none more than 100 TFLOP/s.
    assert 1e9 < peak.value < 1e14
    assert found.lanes == lanes
    assert found.threads == 2
    assert [level.footprint for level in found.levels] == list(FOOTPRINTS)
    for level in found.levels:
        copy = level.bandwidth
        assert 0 < copy.lo <= copy.value <= copy.hi < math.inf
        assert 1e8 < copy.value < 1e14
        # Timed in pairs, so near the quotient of both, but not it: the machine changes between one and the other.
        assert 0.2 < level.bytes_per_flop / (copy.value / peak.value) < 5


PLAIN = """
import numpy as np
from numba import njit
from sepconv_bench.measure.ceilings import fma_peak
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio

@njit(fastmath=True)
def plain(x, rounds):
    for _ in range(rounds):
        for i in range(len(x)):
            x[i] = x[i] * np.float32(0.5) + np.float32(0.25)

rng = np.random.default_rng(0)
peak, x, rounds = fma_peak(rng), np.ones(512, np.float32), 1000
binds = {"peak": lambda rng: peak.launch, "plain": lambda rng: lambda: plain(x, rounds)}
blocks = sample(binds, [], Rules(seconds=1), rng).blocks
print(2 * len(x) * rounds / peak.flop * ratio(blocks["peak"], blocks["plain"]).value)
"""


def test_the_peak_is_above_what_the_compiler_reaches_by_itself():
    """A plain loop of multiply-adds in Numba, timed in pairs with the explicit one: the ceiling must not be below it."""
    assert float(run(PLAIN)) < 1.1
