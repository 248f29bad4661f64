"""MobileNet-V1 in one parallel region beside the same steps each in a region of its own.

python experiments/network_region.py ALPHA RESOLUTION [SECONDS]
"""

import os
import sys

import numpy as np

from sepconv_bench.measure.clocks import pool_environment

THREADS = 2


def measure(alpha: float, resolution: int, seconds: float) -> None:
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.measure.sampler import sample
    from sepconv_bench.measure.statistics import ratio
    from sepconv_bench.model.networks import mobilenet_v1
    from sepconv_bench.network.plan import Plan
    from sepconv_bench.network.weights import random_weights

    layers, rng = mobilenet_v1(alpha, resolution), np.random.default_rng(0)
    weights, image = random_weights(layers), rng.uniform(-1, 1, (1, resolution, resolution, 3)).astype(np.float32)

    def planned() -> Plan:
        plan = Plan(layers, weights)
        plan.take(image)
        return plan

    def one_by_one(rng: np.random.Generator):
        plan = planned()
        launches = [plan._entrance, *(step.launch for step in plan.steps)]

        def launch() -> Plan:
            for each in launches:
                each()
            return plan  # whose arrays the launches are of

        return launch

    binds = {"one": lambda rng: planned().launch, "each": one_by_one}
    blocks = sample(binds, [("one", "each")], Rules(target=0.001, seconds=seconds, evenly=True), rng).blocks
    one, each = (1e6 * float(np.nanmedian(np.concatenate(blocks[name]))) for name in binds)
    print(f"alpha {alpha:g}, {resolution} wide: one region {one:.0f} us, one for each step {each:.0f} us")
    print(ratio(blocks["one"], blocks["each"]))


if __name__ == "__main__":
    if "NUMBA_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pool_environment(THREADS))
    alpha, resolution, *more = sys.argv[1:]
    measure(float(alpha), int(resolution), float(more[0]) if more else 30.0)
