"""Git, asked about a folder: without what a hook around us says of its own repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What git tells the hooks that it runs; for git these count more than the folder it is asked about.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")


def environment() -> dict[str, str]:
    """The environment for a git that goes by the folder it is asked about."""
    return {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}


def asked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What git answers; OSError where it cannot be started."""
    command = ["git", "-C", str(folder), *words]
    english = {**environment(), "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=english)


def said(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails, or is not there."""
    try:
        answer = asked(folder, *words)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def owned_by_another(folder: Path) -> bool:
    """Whether git does not read the checkout around a folder because somebody else owns it, as in many containers."""
    try:
        return "dubious ownership" in asked(folder, "rev-parse", "--show-toplevel").stderr
    except OSError:
        return False
