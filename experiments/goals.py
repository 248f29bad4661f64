"""How near the register-tiled kernels come to what was hoped for, from a results file: a table in Markdown.

python experiments/goals.py reports/intel-xeon-2-threads
"""

import sys
from pathlib import Path

import numpy as np

from sepconv_bench.results import store, tables

BESIDE_THE_BEST_PEER = {
    "cpu.standard.tiled": (1.0, 0.85),
    "cpu.depthwise.tiled": (1.5, 1.0),
    "cpu.pointwise.tiled": (1.0, 0.85),
    "cpu.separable.fused": (1.5, 1.2),
    "cpu.separable.tiled": (None, None),  # two passes: what fusion buys
}
LARGE_FLOP = 50e6


def row(*cells):
    print("|", " | ".join(str(cell) for cell in cells), "|")


def asked(value, goal):
    return f"{value:.2f}" if goal is None else f"{value:.2f} ({goal})"


if __name__ == "__main__":
    with store.open_results(Path(sys.argv[1])) as results:
        timings, ratios, peers = tables.timings(results), tables.ratios(results), tables.peers(results)
    row("best peer's time / ours", "geomean (goal)", "least (goal)", "at", "cells")
    row("---", "---", "---", "---", "---")
    best = peers[peers.peer == "best"].set_index("kernel")
    for kernel, (geomean, least) in BESIDE_THE_BEST_PEER.items():
        found = best.loc[kernel]
        row(f"`{kernel}`", asked(found.geomean, geomean), asked(found["min"], least), found.least_at, found.cells)

    standard = timings[(timings.kernel == "cpu.standard.tiled") & (2 * timings.multiplications > LARGE_FLOP)]
    short = standard[standard.eta < 0.85].sort_values("eta")
    print(f"\nstandard.tiled above 50 MFLOP: eta >= 0.85 on {len(standard) - len(short)} of {len(standard)} cells,", end=" ")
    print(f"median {standard.eta.median():.2f};", "below it:" if len(short) else "nothing below it")
    for _, cell in short.iterrows():
        print(f"  {cell.eta:.2f} at D_K={cell.D_K} M={cell.M} N={cell.N} D_G={cell.D_G} stride={cell.stride}")

    fused = ratios[(ratios.standard_kernel == "cpu.standard.tiled") & (ratios.separable_kernel == "cpu.separable.fused")]
    reached = (fused.speedup / fused.theory_speedup)[fused.N >= 64]
    print(f"\nspeedup of fused over standard.tiled / theory, N >= 64: median {reached.median():.2f} (goal 0.9),", end=" ")
    print(f"{np.min(reached):.2f} to {np.max(reached):.2f} over {len(reached)} cells")
