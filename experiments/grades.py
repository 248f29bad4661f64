"""What the grades are worth: made-up noise of which the truth is known, the grade it gets, and how far off the number then is.

python experiments/grades.py

A ratio of 1, blocks of six rounds with an offset each (1 %) and a spread within (2 %); then the same with two modes, with
a drift, of few blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sepconv_bench.measure.grades import GRADES, flags, grade
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.statistics import estimate

TRIALS, ROUNDS, TARGET = 1000, 6, Rules().target


def quiet(rng: np.random.Generator, blocks: int, spread: float = 1.0) -> np.ndarray:
    return spread * (rng.normal(0, 0.01, (blocks, 1)) + rng.normal(0, 0.02, (blocks, ROUNDS)))


def modes(rng: np.random.Generator, blocks: int, share: float, step: float) -> np.ndarray:
    return quiet(rng, blocks) + step * (rng.random((blocks, ROUNDS)) < share)


def drift(rng: np.random.Generator, blocks: int, whole: float) -> np.ndarray:
    return quiet(rng, blocks) + whole * np.linspace(-0.5, 0.5, blocks)[:, None]


def kinds(rng: np.random.Generator) -> Iterator[tuple[str, list[np.ndarray]]]:
    for blocks in (4, 6, 12, 24):
        yield f"quiet, {blocks} blocks", [quiet(rng, blocks) for _ in range(TRIALS)]
    for spread in (2.0, 4.0):
        yield f"{spread:g} times as noisy, 24 blocks", [quiet(rng, 24, spread) for _ in range(TRIALS)]
    for share, step in ((0.1, 0.2), (0.25, 0.1), (0.25, 0.2), (0.4, 0.2)):
        yield f"{share:.0%} of rounds {step:.0%} slower", [modes(rng, 24, share, step) for _ in range(TRIALS)]
    for whole in (0.04, 0.08, 0.16):
        yield f"a drift of {whole:.0%} from first to last", [drift(rng, 24, whole) for _ in range(TRIALS)]


if __name__ == "__main__":
    print("| noise | " + " | ".join(GRADES) + " | holds 1, A and B | off by, median | 95th percentile |\n|---|" + "---:|" * 6)
    for name, trials in kinds(np.random.default_rng(0)):
        found = []
        for logs in trials:
            blocks = list(np.exp(logs))
            known = estimate(blocks)
            found.append((grade(flags(blocks, known.half_width, TARGET)), known.lo <= 1 <= known.hi, abs(known.value - 1)))
        grades, holds, off = (np.array(column) for column in zip(*found, strict=True))
        closed = grades != "C"
        shares = " | ".join(f"{(grades == one).mean():.1%}" for one in GRADES)
        tail = (
            f"{holds[closed].mean():.1%} | {np.median(off[closed]):.2%} | {np.quantile(off[closed], 0.95):.2%}"
            if closed.any()
            else " | | "
        )
        print(f"| {name} | {shares} | {tail} |")
