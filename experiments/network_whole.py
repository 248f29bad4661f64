"""Every library on MobileNet-V1 as a whole beside ours, and nothing else: as `mobilenet` does it, with all the time for it.

python experiments/network_whole.py ALPHA RESOLUTION [SECONDS] [separable|standard]
"""

import os
import sys

import numpy as np

from sepconv_bench.measure.clocks import pool_environment

THREADS = 2


def measure(alpha: float, resolution: int, seconds: float, side: str) -> None:
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.measure.sampler import sample
    from sepconv_bench.measure.statistics import ratio
    from sepconv_bench.run.network_contenders import NetworkContenders

    rng, binds = np.random.default_rng(0), {}
    whole = NetworkContenders(alpha, resolution, 1, None, 0).contenders("whole")
    for name, contender in whole.items():
        if contender.declaration.operator != side or contender.refuses():
            continue
        contender.prepare()
        contender.unpack(contender.bind(rng)())
        error, wrong = contender.judge()
        assert error <= 1, f"{name}: {error} {wrong}"
        binds[name] = contender.bind
    ours = f"cpu.{side}.plan"
    rules = Rules(target=0.001, seconds=seconds, evenly=True)
    blocks = sample(binds, [(name, ours) for name in binds if name != ours], rules, rng).blocks
    print(f"\nalpha {alpha:g}, {resolution} wide, {side}, {len(blocks[ours])} blocks\n")
    print("| | ms | over ours |\n|---|---:|---:|")
    medians = {name: 1e3 * float(np.nanmedian(np.concatenate(blocks[name]))) for name in binds}
    for name in sorted(binds, key=medians.__getitem__):
        found, declared = ratio(blocks[name], blocks[ours]), whole[name].declaration
        label = declared.variant + ", Winograd" * (declared.algorithm == "winograd")
        print(f"| {label} | {medians[name]:.3g} | {found.value:.3f} ({found.lo:.3f} to {found.hi:.3f}) |")


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    alpha, resolution, *more = sys.argv[1:]
    measure(float(alpha), int(resolution), float(more[0]) if more else 60.0, more[1] if len(more) > 1 else "separable")
