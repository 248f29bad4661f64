"""How often `ab` calls the same code different, and how often it finds a kernel slowed down by a known share.

python experiments/ab_power.py [SETS [SECONDS]]

Three branches of a clone of this repository: one as it is, one that differs in a comment only, and one on which every
launch is followed by a chain of multiply-adds as long as the wanted share of the kernel's time, measured beside it just
before. A set is eight kernels on a shape, compared as `sepconv-bench ab` does.
"""

import json
import os
import sys

from sepconv_bench.measure.clocks import pool_environment

os.environ |= pool_environment(2)  # before any pool starts

import subprocess
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit

from sepconv_bench import Problem, get_kernel
from sepconv_bench.cli.ab import DEFAULT_AB_KERNELS
from sepconv_bench.measure.sampler import Rules, sample
from sepconv_bench.measure.statistics import ratio
from sepconv_bench.model.grids import get_grid
from sepconv_bench.run.ab import Benchmark, compare
from sepconv_bench.run.revision import build

ROOT = Path(__file__).parents[1]
THREADS, CHAIN = 2, 1000
SHARES = (0.0, 0.05, 0.03)
SLOWED = """

_get_kernel = get_kernel


def get_kernel(name):
    import dataclasses

    kernel = _get_kernel(name)
    return dataclasses.replace(kernel, bind=lambda problem: _slowed(name, problem, kernel.bind(problem)))


def _slowed(name, problem, launch):
    import json
    import os

    from numba import njit

    @njit("float32(int64)")
    def chain(steps):
        x = np.float32(0.1)
        for _ in range(steps):
            x = x * x + np.float32(0.25)
        return x

    chain = chain.overloads[chain.signatures[0]].entry_point
    steps = json.loads(os.environ["SLOWED_BY"]).get(f"{name} {problem.shape}", 0)
    return lambda: (launch(), chain(steps))
"""


@njit
def chain(steps):
    x = np.float32(0.1)
    for _ in range(steps):
        x = x * x + np.float32(0.25)
    return x


def bind(kernel, problem, rng):
    return kernel.bind(problem.placed_anew(rng))


def steps_of_a_launch(benchmark, rng):
    """How many steps of the chain take as long as a launch, timed in the same rounds."""
    kernel = get_kernel(benchmark.kernel)
    problem = Problem.draw(kernel.operator, benchmark.shape, rng)
    binds = {"kernel": partial(bind, kernel, problem), "chain": lambda rng: partial(chain, CHAIN)}
    blocks = sample(binds, [], Rules(seconds=2), rng).blocks
    return ratio(blocks["kernel"], blocks["chain"]).value * CHAIN


def git(folder, *words):
    identity = ("-c", "user.name=experiment", "-c", "user.email=experiment@localhost")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def branches(clone):
    """A clone of this repository with the branches base, same and slowed."""
    git(ROOT, "clone", "--quiet", str(ROOT), str(clone))
    git(clone, "checkout", "--quiet", "-b", "base")
    registry = clone / "sepconv_bench" / "kernels" / "registry.py"
    source = registry.read_text()
    for branch, text in (("same", source + "# the same\n"), ("slowed", source + SLOWED)):
        git(clone, "checkout", "--quiet", "-b", branch, "base")
        registry.write_text(text)
        git(clone, "commit", "--all", "--message", branch)


def slow_by(share, benchmarks, rng):
    """Have the launches of the branch slowed last longer by that share, in every process started from now on."""
    steps = {str(one): round(share * steps_of_a_launch(one, rng)) for one in benchmarks}
    os.environ["SLOWED_BY"] = json.dumps(steps)


if __name__ == "__main__":
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    rng = np.random.default_rng(0)
    benchmarks = [Benchmark(name, shape) for shape in get_grid("tracked").shapes for name in DEFAULT_AB_KERNELS]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        branches(clone)
        base, same, slowed = (build(clone, name, print) for name in ("base", "same", "slowed"))
        # Alternating, so that a noisy quarter of an hour does not hit one of them alone.
        found = {share: Counter() for share in SHARES}
        ratios = {share: [] for share in SHARES}
        for number in range(sets):
            for share in SHARES:
                if share and number % 4:
                    continue
                if share:
                    slow_by(share, benchmarks, rng)
                done = compare(base, slowed if share else same, benchmarks, THREADS, seconds, rng, lambda line: None)
                found[share].update(verdict.word for verdict in done.verdicts)
                ratios[share] += [verdict.ratio.value for verdict in done.verdicts]
                told = ", ".join(f"{count} {word}" for word, count in sorted(found[share].items()))
                spread = np.std(np.log(ratios[share]))
                print(f"{share:.0%}: {told}; median {np.median(ratios[share]):.4f}, spread {spread:.2%}", flush=True)
