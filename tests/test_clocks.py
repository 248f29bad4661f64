"""Pools that are quiet when they should be, and a clock that counts launches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sepconv_bench.measure.clocks import batch_seconds, pool_environment, threads_apart, wait_for_idle_pools, wait_policy

IDLE = """
import sys, time
import numpy as np
from numba import njit, prange
from sepconv_bench.measure.clocks import wait_for_idle_pools

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
    wait_for_idle_pools()
    everyone, mine = time.process_time(), time.thread_time()
    wait_for_idle_pools(0.02)
    shares.append(((time.process_time() - everyone) - (time.thread_time() - mine)) / 0.02)
print(sorted(shares)[len(shares) // 2])
"""


def idle_share(pool: str, environment: dict[str, str]) -> float:
    """CPU time of the process's other threads after `wait_for_idle_pools`, as a share of the time: the median of 15 tries."""
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
    assert idle_share("blas", alone | {"OPENBLAS_THREAD_TIMEOUT": "28"}) > 0.2  # on a loaded machine, too


def test_a_users_own_wait_policy_stays(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "17")
    assert pool_environment(3)["GOMP_SPINCOUNT"] == "17"
    assert pool_environment(3)["NUMBA_NUM_THREADS"] == "3"


def test_the_wait_policy_is_what_the_process_has(monkeypatch):
    for name in (*pool_environment(2), "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert wait_policy() == {}
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    assert wait_policy() == {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}


@contextmanager
def asleep() -> Iterator[int]:
    """A thread of a pool that has nothing to do; gives its number."""
    end, started = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (started.set(), end.wait()))
    thread.start()
    started.wait()
    try:
        yield thread.native_id
    finally:
        end.set()
        thread.join()


two_cpus = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="two CPUs that threads can be kept on"
)


@two_cpus
def test_who_launches_has_a_cpu_that_no_other_thread_is_on(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    before = os.sched_getaffinity(0)
    with asleep() as pool, asleep() as settled:
        own = {min(before)}
        os.sched_setaffinity(settled, own)
        with threads_apart():
            mine = os.sched_getaffinity(0)
            assert len(mine) == 1
            assert os.sched_getaffinity(pool) == before - mine
            assert os.sched_getaffinity(settled) == own, "what a library has placed stays there"
            with asleep() as later:
                pass
        assert os.sched_getaffinity(0) == os.sched_getaffinity(pool) == before
        assert os.sched_getaffinity(settled) == own
    assert later != pool


@two_cpus
def test_threads_that_are_more_than_the_cpus_stay_where_they_are(monkeypatch):
    before = os.sched_getaffinity(0)
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(len(before) + 1))
    with threads_apart():
        assert os.sched_getaffinity(0) == before


def test_waiting_keeps_the_core_awake_for_its_time():
    start, mine = time.perf_counter(), time.thread_time()
    wait_for_idle_pools(0.05)
    took = time.perf_counter() - start
    assert took >= 0.05
    assert time.thread_time() > mine, "it is awake, not asleep"


def test_a_batch_is_timed_by_the_launch():
    """Each launch lasts at least 2 ms, so its time does too, however many there are; none is left out or added."""
    launches = []

    def launch():
        launches.append(1)
        wait_for_idle_pools(0.002)

    for count in (1, 5):
        before, start = len(launches), time.perf_counter()
        seconds = batch_seconds(launch, count)
        took = time.perf_counter() - start
        assert len(launches) - before == count
        assert 0.002 <= seconds <= took / count
