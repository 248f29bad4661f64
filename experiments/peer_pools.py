"""How the peers' pools wait: CPU time burnt once the work is done, what that does to a parallel kernel among them, and what
each policy costs the peer itself.

A pool reads its policy when it starts, so each has a process of its own: python experiments/peer_pools.py
"""

import os
import subprocess
import sys

from sepconv_bench.measure.clocks import pool_environment

OURS, LIBGOMP = pool_environment(2), {"GOMP_SPINCOUNT": ""}  # nothing: as if it were not set
SPIN, ALLOW, STOP = "session.intra_op.spin_duration_us", "session.intra_op.allow_spinning", "session.force_spinning_stop"
POLICIES = {  # of onnxruntime's pool, and of the OpenMP pools, numba's among them
    "onnxruntime, its default": ("onnxruntime", {}, {}),
    "onnxruntime, no spinning": ("onnxruntime", {ALLOW: "0"}, {}),
    "onnxruntime, spinning stopped after each run": ("onnxruntime", {STOP: "1"}, {}),
    "onnxruntime, 50 us": ("onnxruntime", {SPIN: "50"}, {}),
    "onnxruntime, 100 us (ours)": ("onnxruntime", {SPIN: "100"}, {}),
    "onnxruntime, 200 us": ("onnxruntime", {SPIN: "200"}, {}),
    "onnxruntime, 1000 us": ("onnxruntime", {SPIN: "1000"}, {}),
    "torch, libgomp's default": ("torch", {}, LIBGOMP),
    "torch, GOMP_SPINCOUNT=5000 (ours)": ("torch", {}, {}),
}


def measure(peer: str, waiting: dict[str, str]) -> None:
    import time

    import numpy as np

    from sepconv_bench import ConvShape, Problem, get_kernel
    from sepconv_bench.kernels.peers import onnxruntime as adapter
    from sepconv_bench.measure.clocks import batch_seconds
    from sepconv_bench.measure.sampler import Rules, sample

    adapter._WAITING = waiting
    rng = np.random.default_rng(0)
    problem = Problem.draw("standard", ConvShape(3, 64, 64, 7), rng)
    names = ("cpu.standard.parallel", f"cpu.standard.{peer}")

    def binds(name):
        return lambda rng: get_kernel(name).bind(problem.placed_anew(rng))

    launch = binds(names[1])(rng)
    launch()
    burnt = []
    for _ in range(20):
        launch()
        before = time.process_time()
        time.sleep(0.05)
        burnt.append(time.process_time() - before)
    print(f"  {1e3 * float(np.median(burnt)):.2f} ms of CPU in the 50 ms after its last launch")
    alone = [batch_seconds(launch, 500) for _ in range(15)]
    print(f"  back to back: {1e6 * float(np.median(alone)):.1f} us a launch")
    blocks = sample({name: binds(name) for name in names}, [], Rules(seconds=2), rng).blocks
    for name in names:
        medians = np.percentile([1e6 * float(np.median(block)) for block in blocks[name]], [10, 50, 90])
        print(f"  {name} in turns with the other: {medians[1]:.1f} us, blocks from {medians[0]:.1f} to {medians[2]:.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peer, waiting, _ = POLICIES[sys.argv[1]]
        measure(peer, waiting)
    for name, (_, _, environment) in POLICIES.items() if len(sys.argv) == 1 else ():
        print(name, flush=True)
        policy = {variable: value for variable, value in (os.environ | OURS | environment).items() if value}
        subprocess.run([sys.executable, __file__, name], env=policy, check=True)
