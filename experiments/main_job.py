"""The main job against its goals: how long it takes, how many ratios close, and how much of the time is inside samples.

python experiments/main_job.py FOLDER [peers [GRID]]

Runs `sepconv-bench run` in a process of its own, as a user does, with our kernels and numpy or with all peers that are
installed. Compiling is part of the time where nothing was compiled before; run it twice to see both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from sepconv_bench.results.store import open_results
from sepconv_bench.results.tables import ratios

OURS = "cpu.*.loops,cpu.*.parallel,cpu.*.tiled,cpu.*.fused,cpu.*.winograd-*,cpu.*.numpy"
GOALS = {False: "3 min, 90 % of headline ratios, 60 % of all", True: "6 min"}


def closed(name: str, pairs: pd.DataFrame) -> str:
    within = (pairs.ratio_hi / pairs.ratio - 1 <= 0.03).mean()
    grades = ", ".join(f"{count} {grade}" for grade, count in sorted(Counter(pairs.grade).items()))
    return f"{name}: {len(pairs)}, {within:.0%} within 3 %; {grades}"


def main(folder: Path, peers: bool, grid: str) -> None:
    command = [sys.executable, "-m", "sepconv_bench", "run", "--grid", grid, "--output", str(folder)]
    start = time.monotonic()
    done = subprocess.run([*command, *([] if peers else ["--kernels", OURS])], stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - start
    with open_results(folder) as results:
        pairs = ratios(results)
    print(f"goal: {GOALS[peers]}, half of the time inside samples")
    print(f"{seconds:.0f} s in all; " + next(line for line in done.stdout.splitlines() if "inside timed samples" in line))
    print(closed("headline ratios", pairs[pairs.best]))
    print(closed("all ratios", pairs))


if __name__ == "__main__":
    _, to, *more = sys.argv
    main(Path(to), "peers" in more, next((word for word in more if word != "peers"), "default"))
