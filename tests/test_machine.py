"""What a number carries about its machine; the ceilings; and pools that are quiet when they should be."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from sepconv_bench.measure import machine
from sepconv_bench.measure.ceilings import FOOTPRINTS, fma_peak, measure_ceilings
from sepconv_bench.measure.clocks import pool_environment

IDLE = """
import sys, time
import numpy as np
from numba import njit, prange
from sepconv_bench.measure.clocks import settle

@njit(parallel=True)
def parallel(x):
    for i in prange(x.size):
        x[i] += 1

matrix, vector = np.ones((300, 300), np.float32), np.zeros(1 << 16, np.float32)
work = {"numba": lambda: parallel(vector), "blas": lambda: matrix @ matrix}[sys.argv[1]]
work()
shares = []
for _ in range(15):
    for _ in range(20):
        work()
    settle()
    everyone, mine = time.process_time(), time.thread_time()
    settle(0.02)
    shares.append(((time.process_time() - everyone) - (time.thread_time() - mine)) / 0.02)
print(sorted(shares)[len(shares) // 2])
"""


def idle_share(pool: str, environment: dict[str, str]) -> float:
    """CPU time of the process's other threads after `settle`, as a share of the time: the median of 15 tries."""
    command = [sys.executable, "-c", IDLE, pool]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return float(done.stdout)


@pytest.mark.parametrize("pool", ["numba", "blas"])
def test_no_idle_pool_spins_while_another_kernel_is_timed(pool):
    assert idle_share(pool, os.environ | pool_environment(2)) < 0.05


def test_left_alone_a_pool_does_spin():
    """The control: without it the test above might look in the wrong place."""
    ours = pool_environment(2)
    alone = {name: value for name, value in os.environ.items() if name not in ours}
    alone |= {name: value for name, value in ours.items() if name.endswith("NUM_THREADS")}
    assert idle_share("blas", alone | {"OPENBLAS_THREAD_TIMEOUT": "28"}) > 0.3


def test_a_users_own_wait_policy_stays(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "17")
    assert pool_environment(3)["GOMP_SPINCOUNT"] == "17"
    assert pool_environment(3)["NUMBA_NUM_THREADS"] == "3"


def test_the_fingerprint_has_what_a_number_must_carry():
    found = machine.fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"]
    assert found["threads"] >= 1
    assert found["threading_layer"] in ("omp", "tbb", "workqueue")
    assert found["versions"]["numba"].count(".") == 2
    assert found["blas"], "numpy brings a BLAS"
    assert found["commit"] is None or len(found["commit"].removesuffix("+changes")) == 40


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "intel-core-i7-9750h-4-threads"),
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-4-threads"),
        ("Apple M2 Pro", "apple-m2-pro-4-threads"),
        ("../../etc <b>x</b>", "etc-b-x-b-4-threads"),
        ("", "4-threads"),
    ],
)
def test_a_machines_name_is_a_safe_folder(monkeypatch, cpu, name):
    monkeypatch.setattr(machine, "cpu_model", lambda: cpu)
    assert machine.machine_name(4) == name


def test_default_threads_are_cores_that_there_are():
    assert 1 <= machine.default_threads() <= (os.cpu_count() or 1)


def test_the_ceilings_are_measured():
    rng = np.random.default_rng(0)
    peak = fma_peak(rng)
    found = measure_ceilings(peak, rng, seconds=0.5)
    assert found["lanes"] in (4, 8, 16)
    value, lo, hi = found["peak"]
    assert 0 < lo <= value <= hi < math.inf
    # No CPU does less than one multiply-add of four floats a nanosecond, none more than 100 TFLOP/s.
    assert 1e9 < value < 1e14
    assert [level["footprint"] for level in found["levels"]] == list(FOOTPRINTS)
    for level in found["levels"]:
        assert 1e8 < level["bandwidth"][0] < 1e14
        assert level["bytes_per_flop"] == pytest.approx(level["bandwidth"][0] / value, rel=1.0)


def test_the_peak_is_above_what_the_compiler_reaches_by_itself():
    """A plain loop of multiply-adds in Numba, timed in pairs with the explicit one: the ceiling must not be below it."""
    from numba import njit

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
    plain_flop_over_peak_flop = 2 * len(x) * rounds / peak.flop * ratio(blocks["peak"], blocks["plain"]).value
    assert plain_flop_over_peak_flop < 1.1
