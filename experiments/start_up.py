"""How long the command takes to show its help, beside Python with what it cannot do without.

Processes alternate, so that the machine's drift hits both alike; printed is the median of the ratios within a pair. The goal is
at most 2.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

PAIRS = 25
LEAST = [sys.executable, "-c", "import click, numpy"]
COMMANDS = {"--help": ["--help"], "run --help": ["run", "--help"], "list": ["list"]}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    for name, words in COMMANDS.items():
        command = [sys.executable, "-m", "sepconv_bench", *words]
        seconds(command), seconds(LEAST)  # files come from the disk the first time
        pairs = [(seconds(command), seconds(LEAST)) for _ in range(PAIRS)]
        ratio = median(ours / least for ours, least in pairs)
        print(f"{name}: {median(ours for ours, _ in pairs):.2f} s, {ratio:.2f} times `import click, numpy`")


if __name__ == "__main__":
    main()
