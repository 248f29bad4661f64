"""A revision of the user's own repository as something that runs: its package, and an environment with what it needs.

Both are kept beside the repository's objects, by commit and by requirements: the next comparison finds them there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sepconv_bench import git
from sepconv_bench.errors import InputError

_CACHE = "sepconv-bench"
_ENVIRONMENTS = 3  # kept, the last ones used: each takes half a gigabyte


@dataclass(frozen=True)
class Revision:
    """`python` runs it, with `package` on its path. `label`: how the user named it, and its commit."""

    commit: str
    label: str
    python: Path
    package: Path


def repository() -> Path:
    """The checkout around the current folder; InputError if that is none of this package's source."""
    top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    if top is None and git.owned_by_another(Path.cwd()):
        raise InputError(
            f"{Path.cwd()} belongs to another user, and git does not read it; `git config --global --add safe.directory DIR`"
            " with its top folder allows that"
        )
    if top is None or not (Path(top) / "sepconv_bench" / "__init__.py").is_file():
        raise InputError(f"{Path.cwd()} is not in a git checkout of sepconv-bench, whose revisions could be compared")
    return Path(top)


def commit_of(checkout: Path, name: str | None) -> str:
    """The commit that a branch, tag or hash names; None is the checkout as it is, changes to tracked files and all."""
    if name is None:
        # A commit on no branch, which git forgets again after a while.
        return _git(checkout, "stash", "create") or commit_of(checkout, "HEAD")
    commit = None if name.startswith("-") else _git(checkout, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit is None:
        shallow = _git(checkout, "rev-parse", "--is-shallow-repository") == "true"
        more = "; this checkout is shallow, and `git fetch --unshallow` brings its history" if shallow else ""
        raise InputError(f"{name!r} is no revision of {checkout}; it takes a branch, a tag or a commit{more}")
    return commit


def build(checkout: Path, name: str | None, log: Callable[[str], None]) -> Revision:
    """Install a revision's package and requirements, unless they are there. InputError if it cannot be built."""
    commit = commit_of(checkout, name)
    label = f"{name or 'this checkout'} ({commit[:10]})"
    cache = Path(checkout, _git(checkout, "rev-parse", "--git-common-dir") or ".git") / _CACHE
    package = cache / "packages" / f"{commit}-{sys.implementation.cache_tag}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another comparison may be building just this
            if not package.is_dir() or not _python(package).exists():
                log(f"building {label}")
                with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as folder:
                    python = _install(checkout, commit, Path(folder), cache, log)
                    shutil.rmtree(package, ignore_errors=True)
                    package.parent.mkdir(exist_ok=True)
                    (Path(folder) / "package").rename(package)
                    (package / "python").symlink_to(python)
            python = _python(package)
            os.utime(python.parents[1])
            _forget_old(cache / "environments")
    except OSError as error:
        raise InputError(f"{label} cannot be built in {cache}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} cannot be built: its pyproject.toml is not understood: {error}") from error
    return Revision(commit, label, python, package)


def _python(package: Path) -> Path:
    link = package / "python"
    return Path(os.readlink(link)) if link.is_symlink() else link


def _install(checkout: Path, commit: str, folder: Path, cache: Path, log: Callable[[str], None]) -> Path:
    """The package into folder/package; gives the interpreter of the environment that holds its requirements."""
    source = folder / "source"
    _run("git", "-C", checkout, "worktree", "add", "--quiet", "--detach", source, commit)
    try:
        constraints = source / "constraints.txt"
        limits = ["--constraint", constraints] if constraints.exists() else []
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        wanted = [sys.version, *project.get("dependencies", []), constraints.read_text() if limits else ""]
        key = hashlib.sha256("\0".join(wanted).encode()).hexdigest()[:16]
        environment = cache / "environments" / key
        python = environment / "bin" / "python"
        install = (python, "-m", "pip", "install", "--quiet", "--no-compile")  # what is imported, Python compiles
        if not (environment / "whole").exists():
            log("installing its requirements, once for all revisions that have the same")
            shutil.rmtree(environment, ignore_errors=True)
            _run(sys.executable, "-m", "venv", environment)
            _run(*install, *limits, source)
            _run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "sepconv-bench")
            (environment / "whole").touch()
        _run(*install, "--no-deps", "--target", folder / "package", source)
    finally:
        _git(checkout, "worktree", "remove", "--force", str(source))
    return python


def _forget_old(environments: Path) -> None:
    kept = sorted(environments.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[_ENVIRONMENTS:]:
        shutil.rmtree(old, ignore_errors=True)


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=git.environment())
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise InputError(f"`{' '.join(words)}` failed: {last}")


def _git(checkout: Path, *words: str) -> str | None:
    """What git prints, or None where it fails or prints nothing."""
    try:
        done = git.asked(checkout, *words)
    except OSError as error:
        raise InputError(f"git cannot be started: {error.strerror}") from error
    return done.stdout.strip() or None if done.returncode == 0 else None
