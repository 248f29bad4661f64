"""Steps in one parallel region: each sees what all threads wrote in the one before, however the pool runs them."""

from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba import njit

from sepconv_bench.kernels.cpu.layout import FLOAT, floats
from sepconv_bench.kernels.cpu.region import arguments_of, joined, region, step

THREADS = 2


class Pair(NamedTuple):
    first: int
    flag: bool


class Nested(NamedTuple):
    pair: Pair
    last: int


nested = arguments_of(int, Nested, bool)
row = arguments_of(int, int, int)


@njit
def tell(address, thread):
    to, given, flag = nested(address)
    out = floats(to, 5)
    out[0], out[1], out[2], out[3], out[4] = given.pair.first, given.pair.flag, given.last, flag, thread


@njit
def add_neighbour(address, thread):
    """to[t] = of[t] + of[t + 1], which another thread has written."""
    of, to, size = row(address)
    given = floats(of, size)
    floats(to + thread * FLOAT, 1)[0] = given[thread] + given[(thread + 1) % size]


def test_arguments_come_out_of_memory_as_they_went_in():
    out = np.zeros(5, np.float32)
    region([step(tell, (out.ctypes.data, Nested(Pair(-3, True), 7), False), 1, (out,))])()
    assert out.tolist() == [-3, 1, 7, 0, 0]


def sums(threads: int, steps: int) -> tuple:
    """A launch that adds neighbours again and again, and its maps."""
    maps = np.zeros((steps + 1, threads), np.float32)
    maps[0] = range(1, threads + 1)
    made = [step(add_neighbour, (of.ctypes.data, to.ctypes.data, threads), threads, (maps,)) for of, to in pairwise(maps)]
    return joined([region([one]) for one in made]), maps


@pytest.mark.parametrize("threads", [1, THREADS])
def test_a_step_sees_what_all_threads_wrote_in_the_one_before(threads):
    launch, maps = sums(threads, 20)
    for _ in range(2000):
        maps[1:] = np.nan
        launch()
        assert maps[-1].tolist() == ([2.0**20] if threads == 1 else [3 * 2.0**19] * 2)


def test_a_pool_with_fewer_threads_than_the_region_was_made_for_still_finishes_it():
    launch, maps = sums(4, 3)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        launch()
    finally:
        numba.set_num_threads(before)
    expected = maps[0]
    for _ in range(3):
        expected = expected + np.roll(expected, -1)
    assert maps[-1].tolist() == expected.tolist()


def test_threads_that_a_step_has_no_use_for_wait_for_it():
    maps = np.zeros((3, THREADS), np.float32)
    maps[0] = 1
    one = step(add_neighbour, (maps[0].ctypes.data, maps[1].ctypes.data, THREADS), 1, ())
    both = step(add_neighbour, (maps[1].ctypes.data, maps[2].ctypes.data, THREADS), THREADS, ())
    launch = region([one, both])
    for _ in range(1000):
        maps[1:] = 0
        launch()
        assert maps.tolist() == [[1, 1], [2, 0], [2, 2]]
