"""Timing in pairs, in few lines: what every step of the tutorial uses, and a small model of what the suite does."""

import time

import numba
import numpy as np

# One thread: it is disturbed least by whatever else the machine does. Without this line the kernels use all threads.
numba.set_num_threads(1)


def paired(launches, rounds=25, seconds=2e-3):
    """Time functions of no arguments against each other: by name, an array of seconds a call, one for each round.

    In every round each function is timed once, in random order: the median of its calls for two milliseconds. Machines drift;
    two times of the same round have drifted alike, so divide within the round and take the median of the ratios, not the ratio
    of the medians.
    """
    rng, found = np.random.default_rng(0), {name: np.empty(rounds) for name in launches}
    calls = {}
    for name, launch in launches.items():
        launch()  # compiles, and warms the caches
        calls[name] = max(1, int(seconds / _seconds(launch)))
    for number in range(rounds):
        for name in rng.permutation([*launches]):
            found[name][number] = np.median([_seconds(launches[name]) for _ in range(calls[name])])
    return found


def _seconds(launch):
    start = time.perf_counter()
    launch()
    return time.perf_counter() - start


def speedup(times, slow, fast):
    """How many times as fast `fast` is: median of the ratios within rounds."""
    return float(np.median(times[slow] / times[fast]))
