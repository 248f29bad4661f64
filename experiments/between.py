"""Do intervals cover where visits differ? Made-up grids of known truth, measured on a few visits each.

python experiments/between.py

21 cells of one comparison; a visit shifts a cell's ratio, a block moves it once more. With the component between visits
and without.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import made

from sepconv_bench.measure.statistics import ratio
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.between import Between
from sepconv_bench.results.cell import Cell

CELLS, GRIDS = 21, 60
KERNELS = standard, separable = tuple(made.declared(f"cpu.{operator}.tiled") for operator in ("standard", "separable"))
# Spread of visits, of blocks, blocks of each visit, and whether a few visits are far off.
SIX = (4, 4, 4, 4, 4, 4)
NOISE = (
    *((visits, 0.02, SIX, False) for visits in (0.0, 0.005, 0.01, 0.02, 0.05)),
    *((0.02, 0.02, SIX, True), (0.02, 0.01, (8, 2, 2, 8, 2, 2), False)),
    *((0.01, 0.02, (8, 8), False), (0.02, 0.02, (8, 8), False)),
)


def grid(rng: np.random.Generator, visit_sd: float, block_sd: float, blocks: tuple[int, ...], far: bool) -> list[Cell]:
    """Cells whose ratio is 1."""
    cells: list[Cell] = []
    between = Between(cells)
    for number in range(CELLS):
        offsets = visit_sd * (rng.standard_t(3, len(blocks)) / 1.73 if far else rng.normal(size=len(blocks)))
        logs = np.repeat(offsets, blocks) + rng.normal(0, block_sd, sum(blocks))
        seconds = {standard: 1.0, separable: np.exp(logs)[:, None]}
        shape = ConvShape(3, number + 1, 4, 5)
        measured = made.measured(shape, seconds, blocks=sum(blocks), rounds=1, visits=blocks)
        cells.append(Cell(measured, made.run([kernel.name for kernel in KERNELS]), between))
    return cells


def covered(rng: np.random.Generator, grids: int, *noise) -> tuple[float, float, float]:
    """How often the truth is within the interval, with the component and without; the median half-width with it."""
    found = []
    for _ in range(grids):
        for cell in grid(rng, *noise):
            whole = cell.ratio(separable.name, standard.name)
            alone = ratio(cell.samples[separable.name], cell.samples[standard.name])
            found.append((whole.lo <= 1 <= whole.hi, alone.lo <= 1 <= alone.hi, whole.half_width))
    holds, held, widths = np.array(found).T
    return float(holds.mean()), float(held.mean()), float(np.median(widths))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    print("| visits differ by | blocks by | blocks | with it | without | half-width |\n|---:|---:|---|---:|---:|---:|")
    for noise in NOISE:
        visit_sd, block_sd, blocks, far = noise
        with_it, without, width = covered(rng, GRIDS, *noise)
        name = f"{visit_sd:.1%}{', some far' if far else ''} | {block_sd:.1%} | {' and '.join(map(str, blocks))}"
        print(f"| {name} | {with_it:.1%} | {without:.1%} | {width:.2%} |")
