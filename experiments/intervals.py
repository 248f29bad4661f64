"""Which interval covers: the hierarchical bootstrap against Student's t over log block medians, truth known.

python experiments/intervals.py
"""

import numpy as np

from sepconv_bench.measure.statistics import estimate

ROUNDS, TRIALS, RESAMPLES = 12, 1000, 400
NOISE = {"rounds dominate": (0.01, 0.03), "blocks dominate": (0.02, 0.01)}  # sd of a block's offset, sd within


def bootstrap_covers(logs: np.ndarray, rng: np.random.Generator) -> bool:
    """Blocks drawn with replacement, then rounds within each; the 95 % percentile interval of their mean of medians."""
    blocks = len(logs)
    drawn = logs[rng.integers(blocks, size=(RESAMPLES, blocks))]
    rounds = rng.integers(ROUNDS, size=drawn.shape)
    means = np.median(np.take_along_axis(drawn, rounds, axis=2), axis=2).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return bool(low <= 0 <= high)


def t_covers(logs: np.ndarray) -> bool:
    found = estimate(list(np.exp(logs)))
    return found.lo <= 1 <= found.hi


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for blocks in (5, 6, 8, 12):
        for name, (between, within) in NOISE.items():
            data = [rng.normal(0, between, (blocks, 1)) + rng.normal(0, within, (blocks, ROUNDS)) for _ in range(TRIALS)]
            bootstrap = np.mean([bootstrap_covers(logs, rng) for logs in data])
            student = np.mean([t_covers(logs) for logs in data])
            print(f"{blocks:2} blocks, {name}: bootstrap {bootstrap:.1%}, t {student:.1%}")
