"""How long kernels take to bind in a first process, which compiles them, and in a second one, which finds that code kept.

python experiments/compile_once.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

KERNELS = ("cpu.standard.parallel", "cpu.standard.tiled", "cpu.depthwise.tiled", "cpu.pointwise.tiled", "cpu.separable.fused")
BOUND = """
import sys, time
import numpy as np
from sepconv_bench import ConvShape, Problem, get_kernel
kernel = get_kernel(sys.argv[1])
problem = Problem.draw(kernel.operator, ConvShape(3, 16, 16, 14), np.random.default_rng(0))
start = time.perf_counter()
kernel.bind(problem)
print(time.perf_counter() - start)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in KERNELS:
            command = [sys.executable, "-c", BOUND, name]
            first, second = (
                float(
                    subprocess.run(
                        command, env=os.environ | {"NUMBA_CACHE_DIR": folder}, stdout=subprocess.PIPE, check=True
                    ).stdout
                )
                for _ in range(2)
            )
            print(f"| {name} | {first:.1f} s | {second:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
