"""What the machine can do at best, against what a plain loop reaches."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from sepconv_bench.measure.ceilings import FOOTPRINTS
from sepconv_bench.measure.clocks import pool_environment


def run(code: str) -> str:
    """What the code prints in a process with the pools of a measurement: on a busy machine threads that spin without end
    cost the ceiling a factor of eight."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | pool_environment(2), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


CEILINGS = """
import json
import numpy as np
from sepconv_bench.measure.ceilings import copies, fma_peak, measure_ceilings

rng = np.random.default_rng(0)
peak = fma_peak(rng)
print(json.dumps([peak.lanes, measure_ceilings(peak, copies(), rng, seconds=0.5)]))
"""


def test_the_ceilings_are_measured():
    lanes, found = json.loads(run(CEILINGS))
    assert found["lanes"] in (4, 8, 16)
    value, lo, hi = found["peak"]
    assert 0 < lo <= value <= hi < math.inf
    # No CPU does less than one multiply-add of four floats a nanosecond, none more than 100 TFLOP/s.
    assert 1e9 < value < 1e14
    assert found["lanes"] == lanes
    assert found["threads"] == 2
    assert [level["footprint"] for level in found["levels"]] == list(FOOTPRINTS)
    for level in found["levels"]:
        value_here, lo, hi = level["bandwidth"]
        assert 0 < lo <= value_here <= hi < math.inf
        assert 1e8 < value_here < 1e14
        assert level["bytes_per_flop"] == pytest.approx(level["bandwidth"][0] / value, rel=1.0)


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
