"""The pairs of ab_power.py, compared by `asv continuous`.

python experiments/asv_power.py [SETS]

One commit after the other, the two cells of each in the suite's own sampler; what asv calls changed by more than 1 % counts,
which is from where on `ab` calls a difference one.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from ab_power import SHARES, branches, slow_by  # sets the environment of the pools

from sepconv_bench.cli.ab import DEFAULT_AB_KERNELS
from sepconv_bench.model.grids import get_grid
from sepconv_bench.run.ab import Benchmark

TIMES = r"\.(Standard|Depthwise|Pointwise|Separable)\.track_time.*(tiled|fused)"


def asv(clone, *words):
    command = [sys.executable, "-m", "asv", *words]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    rng = np.random.default_rng(0)
    benchmarks = [Benchmark(name, shape) for shape in get_grid("tracked").shapes for name in DEFAULT_AB_KERNELS]
    found = {share: Counter() for share in SHARES}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        branches(clone)
        asv(clone, "machine", "--yes")
        for _ in range(sets):
            for share in SHARES:
                if share:
                    slow_by(share, benchmarks, rng)
                new = "slowed" if share else "same"
                asv(clone, "continuous", "base", new, "--record-samples", "--bench", TIMES)
                told = asv(clone, "compare", "base", new, "--factor", "1.01")
                signs = re.findall(r"^\|\s*([+-]?)\s*\|.*track_time.*(?:tiled|fused).*$", told, re.M)
                found[share].update({"+": "slower", "-": "faster", "": "no change"}[sign] for sign in signs)
                counts = ", ".join(f"{count} {word}" for word, count in sorted(found[share].items()))
                print(f"{share:.0%}: {counts}", flush=True)
