"""Files that are written whole or not at all, and files that are not there in full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sepconv_bench.errors import InputError

_POINTER = b"version https://git-lfs.github.com/spec/"


def write(path: Path, content: str | bytes) -> None:
    """Put `content` into a file, text as UTF-8. What was there before stays until all of the new is on the disk.

    InputError where it cannot be written; then nothing has changed.
    """
    # A file name that is not UTF-8, or half a character out of somebody's JSON, is written as its escape.
    data = content if isinstance(content, bytes) else content.encode(errors="backslashreplace")
    try:
        there = path.resolve()
        if there.exists():
            there.open("r+b").close()  # may it be written at all?
        if there.exists() and not there.is_file():  # a device or a pipe has no contents to lose
            there.write_bytes(data)
        else:
            _replace(there, data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def refuse_pointer(path: Path) -> None:
    """InputError for what Git LFS leaves in the place of a file that it has not brought."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise InputError(f"{path} is a pointer of Git LFS, not the file itself; `git lfs pull` brings it")


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".sepconv-bench-{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            new.chmod(path.stat().st_mode)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
