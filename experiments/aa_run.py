"""Do the intervals of `run` cover on this machine? Every kernel is there twice, so that the truth is known: the ratio is 1.

python experiments/aa_run.py [SECONDS A CELL [GRID]]

A plug-in registers a twin of each kernel. Cells are swept as `run` sweeps them, through two processes, and the interval is that
of `Cell.ratio`, the component between visits in it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from sepconv_bench.measure.machine import default_threads
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import get_grid
from sepconv_bench.results import store
from sepconv_bench.run.sweep import Settings, sweep

KERNELS = ("standard.tiled", "depthwise.tiled", "pointwise.tiled", "separable.tiled", "separable.fused", "pointwise.numpy")
PLUGIN = f"""
from sepconv_bench import get_kernel, kernel

for name in {KERNELS}:
    kernel(f"cpu.{{name}}-twin")(get_kernel(f"cpu.{{name}}").bind)
"""


def main(seconds: float, grid: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "twins.py"
        plugin.write_text(PLUGIN)
        chosen = ",".join(f"cpu.{name}{twin}" for name in KERNELS for twin in ("", "-twin"))
        rules = Rules(seconds=seconds, evenly=True)
        settings = Settings(get_grid(grid), chosen, (str(plugin),), default_threads(), rules)
        sweep(
            settings,
            lambda: store.create(Path(folder)),
            lambda step: print(f"[{step.done}/{step.total}] {step.line}", file=sys.stderr),
        )
        with store.open_results(Path(folder)) as results:
            cells = results.cells()
    print("| kernel | cells | 95 % intervals that hold 1 | half-width, median | off by, median |\n|---|---:|---:|---:|---:|")
    every = []
    for name in KERNELS:
        found = [cell.ratio(f"cpu.{name}-twin", f"cpu.{name}") for cell in cells if f"cpu.{name}-twin" in cell.times]
        rows = [(one.lo <= 1 <= one.hi, one.half_width, abs(one.value - 1)) for one in found]
        every += rows
        print(line(name, rows))
    print(line("all", every))


def line(name: str, rows: list[tuple[bool, float, float]]) -> str:
    holds, width, off = np.array(rows, float).T
    return f"| {name} | {len(rows)} | {holds.mean():.1%} | {np.median(width):.2%} | {np.median(off):.2%} |"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0, sys.argv[2] if len(sys.argv) > 2 else "default")
