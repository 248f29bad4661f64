"""Two revisions of a real repository, built and timed against each other; and two results files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import QUICK
from msgspec.structs import replace

from sepconv_bench.results import store
from sepconv_bench.results.records import packed

ROOT = Path(__file__).parents[1]
SMALL = ("--kernels", "cpu.*.loops", "--M", "8", "--N", "8", "--D_G", "7", "--time-limit", "1", "--threads", "1")
# What a revision adds to the registry of kernels. Every kernel comes out of get_kernel.
_CHANGED = """

_get_{operator} = get_kernel


def get_kernel(name):
    import dataclasses

    kernel = _get_{operator}(name)
    if kernel.declaration.operator == "{operator}":
        return dataclasses.replace(kernel, bind=lambda problem: _changed_{operator}(problem, kernel.bind(problem)))
    return kernel


def _changed_{operator}(problem, launch):
    {change}
"""
SLOWER = "return lambda: [launch() for _ in range(3)]"
WRONG = "return lambda: (launch(), problem.G.fill(0))"
CRASH = "import os; os.abort()"
CRASH_LATER = "import os; return os.abort"
# What the process of a revision imports. It draws no page: matplotlib and pandas take longest to install.
NEEDED = ("msgspec", "numba", "numpy", "psutil", "scipy")

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository, not only its files")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with this checkout's package, and branches on which one thing is changed."""
    folder = tmp_path_factory.mktemp("repository") / "clone"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    shutil.copytree(ROOT / "sepconv_bench", folder / "sepconv_bench", dirs_exist_ok=True)
    project = (ROOT / "pyproject.toml").read_text()
    (all_of_them,) = re.findall(r"^dependencies = \[\n(.*?)^\]", project, re.M | re.S)
    needed = [line for line in all_of_them.splitlines(keepends=True) if line.strip(' "').startswith(NEEDED)]
    (folder / "pyproject.toml").write_text(project.replace(all_of_them, "".join(needed)))
    git(folder, "checkout", "--quiet", "-b", "base")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "base")
    registry = folder / "sepconv_bench" / "kernels" / "registry.py"
    for branch, changes in {
        "same": [],
        "worse": [("pointwise", SLOWER), ("depthwise", WRONG), ("standard", CRASH), ("separable", CRASH_LATER)],
    }.items():
        git(folder, "checkout", "--quiet", "-b", branch, "base")
        with registry.open("a") as file:
            for operator, change in changes:
                file.write(_CHANGED.format(operator=operator, change=change))
        (folder / "NOTE").write_text(branch)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", branch)
    git(folder, "checkout", "--quiet", "base")
    return folder


def test_the_same_code_is_not_called_different(clone, sepconv, tmp_path):
    page = tmp_path / "told.md"
    done = sepconv("ab", "base", "same", *SMALL, "--output", page, cwd=clone)
    assert "building base" in done.stdout
    for _ in range(2):
        # A neighbour that keeps one of the two processes from its core for the second that this takes is a difference, too.
        if done.returncode or "slower  " in done.stdout or "faster  " in done.stdout:
            done = sepconv("ab", "base", "same", *SMALL, "--output", page, cwd=clone)
    assert done.returncode == 0, done.stderr
    assert "slower  " not in done.stdout
    assert "faster  " not in done.stdout
    assert page.read_text().count("cpu.separable.loops") == 1
    assert len(git(clone, "worktree", "list").splitlines()) == 1, "nothing is left behind"
    assert git(clone, "status", "--porcelain") == ""


def test_slower_wrong_and_missing_are_told_apart(clone, door):
    words = ("base", "worse", *SMALL, "--kernels", "cpu.pointwise.loops,cpu.depthwise.loops")
    done = door("ab", *words, cwd=clone)
    assert done.returncode == 1, done.stderr
    assert "building base" not in done.stdout, "what was built once is kept"
    lines = done.stdout.splitlines()
    (slower,) = (line for line in lines if line.startswith("slower"))
    assert "cpu.pointwise.loops" in slower
    change = float(slower.split("D_G=7")[1].split("%")[0])
    assert 100 < change < 400, "it does everything three times; other processes may be at work, too"
    (left_out,) = (line for line in lines if line.startswith("not compared"))
    assert "cpu.depthwise.loops" in left_out
    assert "the new one: its result is wrong" in left_out
    assert door("ab", *words, "--threshold", "5", cwd=clone).returncode == 0


def test_the_checkout_as_it_is_is_a_revision(clone, door):
    registry = clone / "sepconv_bench" / "kernels" / "registry.py"
    before = registry.read_text()
    try:
        registry.write_text(before + _CHANGED.format(operator="standard", change=SLOWER))
        done = door("ab", "base", *SMALL, "--kernels", "cpu.standard.loops", cwd=clone)
    finally:
        registry.write_text(before)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "this checkout" in done.stdout
    assert git(clone, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["base", "nosuch"], "'nosuch' is no revision of"),
        (["--", "--help"], "'--help' is no revision of"),
        (["base", "worse", *SMALL, "--kernels", "cpu.standard.loops"], "ended with exit code -6"),
        (["base", "worse", *SMALL, "--kernels", "cpu.separable.loops"], "ended with exit code -6"),
        (["base", "same", "--kernels", "cpu.*.nosuch"], "no kernel matches"),
        (["base", "same", "--grid", "smoke", "--M", "3"], "--grid smoke came together with --M"),
        (["base", "same", "--threshold", "nan"], "--threshold"),
        ([], "BASE"),
    ],
)
def test_what_cannot_be_compared_ends_in_one_line(arguments, told, clone, door):
    done = door("ab", *arguments, cwd=clone)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_outside_a_checkout_there_are_no_revisions(door, tmp_path):
    done = door("ab", "main", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not in a git checkout of sepconv-bench" in done.stderr


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_comparison_that_is_killed_leaves_no_process_behind(clone):
    command = [sys.executable, "-m", "sepconv_bench", "ab", "base", "same", *SMALL, "--time-limit", "60"]
    process = subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("benchmarks"):
            break
    _until(lambda: len(_workers(clone)) >= 4)  # a process of each revision, and what they have forked
    process.kill()
    process.communicate()
    _until(lambda: not _workers(clone))


def _workers(clone: Path) -> list[str]:
    """Processes that run a revision of this clone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"revision_worker" in (process / "cmdline").read_bytes():
                environment = (process / "environ").read_bytes()
                found += [process.name] if str(clone).encode() in environment else []
    return found


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


# ---------------------------------------------------------------------------------------------- two results files


def _with_times(swept: Path, folder: Path, change: Callable[[str], float]) -> Path:
    """The results of `swept` once more, each kernel's samples multiplied by change(kernel)."""
    with store.open_results(swept) as old:
        (run,) = old.runs()
        cells = list(old.cells())
    folder.mkdir()
    with store.create(folder) as new:
        number = new.add_run(run.machine, run.settings, run.ceilings)
        for cell in cells:
            samples = {name: packed([block * change(name) for block in blocks]) for name, blocks in cell.samples.items()}
            new.add_cell(number, replace(cell.measured, samples=samples))
    return folder


def test_two_results_files_are_compared_kernel_by_kernel(swept, door, tmp_path):
    other = _with_times(swept, tmp_path / "other", lambda kernel: 1e12 if kernel == "cpu.depthwise.numpy" else 1.0)
    # So much that no neighbour's noise in the few blocks of `swept` hides it.
    done = door("compare", swept, other, "--output", tmp_path / "told.md")
    assert done.returncode == 1, done.stderr
    slower = [line for line in done.stdout.splitlines() if line.startswith("slower")]
    assert len(slower) >= 5  # of six cells; one may have too few blocks on a loaded machine
    assert all("cpu.depthwise.numpy" in line and "x 1e+12" in line for line in slower)
    assert "x 1e+12" in (tmp_path / "told.md").read_text()
    assert door("compare", other, swept).returncode == 0


def test_drift_of_the_whole_machine_is_no_regression(swept, door, tmp_path):
    drifted = _with_times(swept, tmp_path / "drifted", lambda kernel: 3.0)
    done = door("compare", swept, drifted)
    assert done.returncode == 0, done.stderr
    assert "slower  " not in done.stdout


def test_what_only_one_file_has_is_named(swept, door, tmp_path):
    shape = ("--D_K", "1", "--N", "4", "--M", "8", "--D_G", "7", "--stride", "2", "--batch", "2")
    done = door("run", *shape, *QUICK,
                   "--kernels", "cpu.pointwise.numpy,cpu.pointwise.parallel", "--output", tmp_path / "part")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = door("compare", swept, tmp_path / "part")
    assert "not compared: cpu.pointwise.parallel" in done.stdout
    assert "the old results have no time of it" in done.stdout
    assert "cpu.pointwise.numpy" in done.stdout


def test_files_without_a_shape_in_common_are_refused(swept, door, tmp_path):
    done = door("run", "--D_K", "2", "--M", "2", "--N", "2", "--D_G", "3", *QUICK,
                   "--kernels", "cpu.*.numpy", "--output", tmp_path / "foreign")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = door("compare", swept, tmp_path / "foreign")
    assert done.returncode == 2
    assert "have no kernel on a shape in common" in done.stderr
    assert done.stderr.count("\n") == 1
