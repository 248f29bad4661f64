"""The same grid measured twice on one machine: how many ratio intervals overlap, and how far apart the ratios are.

sepconv-bench run --output reports/first && sepconv-bench run --output reports/second
python experiments/repeatability.py reports/first reports/second
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.shapes import AXES
from sepconv_bench.results.store import open_results
from sepconv_bench.results.tables import ratios

KEY = [*AXES, "standard_kernel", "separable_kernel"]


def table(folder: str) -> pd.DataFrame:
    with open_results(Path(folder)) as results:
        return ratios(results)


def row(name: str, both: pd.DataFrame) -> str:
    overlap = (both.ratio_lo_first <= both.ratio_hi_second) & (both.ratio_lo_second <= both.ratio_hi_first)
    apart = np.expm1(np.abs(np.log(both.ratio_first / both.ratio_second)))
    median, most = f"{apart.median():.2%}", f"{apart.quantile(0.95):.1%} | {apart.max():.1%}"
    return f"| {name} | {len(both)} | {overlap.mean():.1%} | {median} | {most} |"


def main(first: str, second: str) -> None:
    both = table(first).merge(table(second), on=KEY, suffixes=("_first", "_second"))
    print("| ratios | how many | intervals overlap | median difference | 95th percentile | most |")
    print("|---|---:|---:|---:|---:|---:|")
    print(row("all", both))
    print(row("fastest of each", both[both.best_first & both.best_second]))
    grades = np.maximum(both.grade_first, both.grade_second)
    for grade in sorted(set(grades)):
        print(row(f"grade {grade}, the lower of the two", both[grades == grade]))
    print(row("of our kernels", both[both.standard_library_first == OURS]))


if __name__ == "__main__":
    main(*sys.argv[1:])
