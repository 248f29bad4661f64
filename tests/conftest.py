"""What several test files share: a command line in a process of its own, and one small sweep."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

QUICK = ("--time-limit", "0.1", "--target", "0.5")


@pytest.fixture(scope="session")
def sepconv() -> Callable[..., subprocess.CompletedProcess]:
    """Run `python -m sepconv_bench ...` for real; nothing of it happens in this process."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sepconv_bench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False)

    return run


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, sepconv: Callable[..., subprocess.CompletedProcess]) -> Path:
    """A folder with the results and the report of six small cells: two rungs, stride and batch among them."""
    folder = tmp_path_factory.mktemp("swept")
    done = sepconv(
        *("run", "--D_K", "1,3", "--N", "4,16,32", "--M", "8", "--D_G", "7", "--stride", "2", "--batch", "2"),
        *("--kernels", "cpu.*.numpy,cpu.*.loops", "--output", folder, "--time-limit", "0.4", "--target", "0.1"),
    )
    assert done.returncode == 0, done.stderr
    return folder
