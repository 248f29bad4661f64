"""How idle pools wait: CPU time burnt after the work is done, and the time of short launches, by wait policy.

Each policy needs a process of its own: pools read it when they start. python experiments/pools.py
"""

import os
import subprocess
import sys

POLICIES = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000", "OPENBLAS_THREAD_TIMEOUT": "14"},
    "spin 5000 (ours)": {"GOMP_SPINCOUNT": "5000", "OPENBLAS_THREAD_TIMEOUT": "19"},
}


def measure() -> None:
    import time

    import numpy as np

    from sepconv_bench import ConvShape, Problem, get_kernel
    from sepconv_bench.measure.clocks import batch_seconds
    from sepconv_bench.measure.sampler import Rules, sample

    rng = np.random.default_rng(0)
    shape = ConvShape(3, 64, 64, 7)
    names = ("cpu.depthwise.parallel", "cpu.pointwise.parallel", "cpu.depthwise.loops", "cpu.pointwise.numpy")
    problems = {name: Problem.draw(name.split(".")[1], shape, rng) for name in names}

    def binds(name):
        return lambda rng: get_kernel(name).bind(problems[name].placed_anew(rng))

    matrix = np.ones((256, 256), np.float32)
    parallel = binds(names[0])(rng)
    for pool, work in (("OpenBLAS", lambda: matrix @ matrix), ("OpenMP", parallel)):
        work()
        burnt = []
        for _ in range(20):
            work()
            before = time.process_time()
            time.sleep(0.05)
            burnt.append(time.process_time() - before)
        print(f"  {pool}: {1e3 * float(np.median(burnt)):.2f} ms of CPU in the 50 ms after its last work")
    alone = [batch_seconds(parallel, 1000) for _ in range(7)]
    print(f"  {names[0]} back to back: {1e6 * float(np.median(alone)):.1f} us a launch")
    blocks = sample({name: binds(name) for name in names}, [], Rules(seconds=1.5), rng).blocks[names[0]]
    medians = sorted(1e6 * float(np.median(block)) for block in blocks)
    print(f"  the same among others, by block: {medians[0]:.1f} to {medians[-1]:.1f} us")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure()
    for name, policy in POLICIES.items() if len(sys.argv) == 1 else ():
        print(name, flush=True)
        clean = {key: value for key, value in os.environ.items() if key not in POLICIES["passive"] | POLICIES["spin 1000"]}
        subprocess.run([sys.executable, __file__, "measure"], env=clean | policy, check=True)
