"""Winograd's algorithm beside the direct sum and the peers, and whether separable convolution still pays against it.

python experiments/winograd.py [SECONDS]

3 x 3 windows, stride 1, two threads. First what standard convolution takes, over `cpu.standard.tiled`, with the best way of
each library; then T_standard / T_separable beside what the multiplications promise, separable by the faster of ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from sepconv_bench.measure.clocks import pool_environment

SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7))
THREADS = 2
TILED = "cpu.standard.tiled"
PROMISES = {"tiled": None, "winograd-2x2": 2, "winograd-4x4": 4}  # pixels of a tile


def measure(seconds: float) -> None:
    import numpy as np

    from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names
    from sepconv_bench.measure.sampler import Rules, sample
    from sepconv_bench.measure.statistics import ratio
    from sepconv_bench.model import theory
    from sepconv_bench.model.operators import SEPARABLE

    rng, slow = np.random.default_rng(0), ("loops", "parallel", "numpy")
    names = [name for name in kernel_names("standard", "cpu") if not name.endswith(slow)]
    names += ["cpu.separable.tiled", "cpu.separable.fused"]

    def binder(name: str, problem: Problem) -> Callable:
        return lambda rng: get_kernel(name).bind(problem.placed_anew(rng))

    beside, gains = [], []
    for channels, width in SHAPES:
        shape = ConvShape(3, channels, channels, width)
        problems = {operator: Problem.draw(operator, shape, rng) for operator in ("standard", "separable")}
        binds = {name: binder(name, problems[name.split(".")[1]]) for name in names}
        pairs = [(name, TILED) for name in names if name != TILED]
        blocks = sample(binds, pairs, Rules(target=0.001, seconds=seconds, evenly=True), rng).blocks
        median = {name: float(np.nanmedian(np.concatenate(blocks[name]))) for name in names}
        shown = f"{channels} to {channels} at {width}"
        best: dict[str, str] = {}  # of each library, and of ours each
        for name in sorted(names, key=median.__getitem__):
            declared = get_kernel(name).declaration
            if declared.operator == "standard":
                best.setdefault(declared.library if declared.is_peer else name, name)
        for name in best.values():
            found, label = ratio(blocks[name], blocks[TILED]), name.removeprefix("cpu.standard.")
            interval = "" if name == TILED else f"{found.value:.2f} ({found.lo:.2f} to {found.hi:.2f})"
            beside.append(f"| {shown} | {label} | {1e6 * median[name]:,.0f} | {interval} |")
        separable = min(names[-2:], key=median.__getitem__)
        for variant, m in PROMISES.items():
            found = ratio(blocks[f"cpu.standard.{variant}"], blocks[separable])
            counted = theory.winograd_multiplications(shape, m) if m else theory.multiplications("standard", shape)
            promised = counted / theory.multiplications(SEPARABLE, shape)
            told = f"{promised:.1f} | {found.value:.1f} ({found.lo:.1f} to {found.hi:.1f})"
            gains.append(f"| {shown} | {variant} | {told} |")
        print(f"{shape}: {len(blocks[TILED])} blocks", file=sys.stderr, flush=True)
    print("| standard | by | us | over tiled |\n|---|---|---:|---:|", *beside, sep="\n")
    print("\n| separable against | standard by | promised | measured |\n|---|---|---:|---:|", *gains, sep="\n")


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    measure(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
