"""Where results go, and where they are looked for, when the user names no folder: nothing that git tracks is touched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import QUICK
from msgspec.structs import replace

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.machine import default_threads, machine_name
from sepconv_bench.results import store
from sepconv_bench.run import folders

ROOT = Path(__file__).parents[1]
HERE = machine_name(default_threads())
TINY = ("--M", "2", "--N", "2", "--D_G", "3", "--kernels", "cpu.*.numpy", *QUICK)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with this one's .gitignore, to work in."""
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "--all"], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def untracked() -> list[str]:
    told = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in told if line != "A  .gitignore"]


def placed(folder: Path, committed: Path, seconds: float = 0.0) -> Path:
    """The results of a committed report in another folder, `seconds` younger than they would be."""
    folder.mkdir(parents=True)
    shutil.copy(committed / store.FILE_NAME, folder)
    time = folder.stat().st_mtime + seconds
    os.utime(folder / store.FILE_NAME, (time, time))
    return folder


def test_a_run_goes_to_a_folder_of_its_own_that_git_ignores(clone, door):
    done = door("run", *TINY)
    assert done.returncode == 0, done.stderr
    (own,) = (path for path in Path("results").iterdir() if not path.is_symlink())
    assert re.fullmatch(rf"{HERE}-\d{{4}}-\d\d-\d\d", own.name)
    assert Path("results/latest/index.html").samefile(own / "index.html")
    assert door("export").stdout == door("export", own).stdout != ""
    assert folders.to_write(HERE, resume=True) == own
    assert folders.to_write(HERE, resume=False) == own.with_name(f"{own.name}-2"), "what was measured is not overwritten"
    assert untracked() == []


def test_a_second_run_on_the_machine_is_refused_in_one_line(clone, door):
    with folders.held(None, lambda: folders.new(HERE)):
        done = door("run", *TINY)
    assert (done.returncode, done.stderr) == (
        2,
        "sepconv-bench: another run is writing into results; wait for it, or choose another --output\n",
    )
    assert not Path("results").exists(), "nothing is left behind"


def test_read_is_the_latest_of_this_machine_then_what_is_committed_of_it(clone, committed):
    with pytest.raises(ResultsError, match=r"no DIR was given, and neither results/.*<date> nor reports/.* holds results"):
        folders.to_read(None)
    there = placed(Path("reports") / HERE, committed)
    assert folders.to_read(None) == there
    with pytest.raises(ResultsError, match="no results/"):
        folders.own_to_read()
    placed(Path("results") / "another-cpu-2026-01-01", committed, 90)
    assert folders.to_read(None) == there
    first = placed(Path("results") / f"{HERE}-2026-01-02", committed, 20)
    placed(Path("results") / f"{HERE}-2026-01-01-2", committed, 10)
    assert folders.to_read(None) == folders.own_to_read() == first
    assert folders.to_read(Path("x")) == Path("x")


def test_a_network_joins_the_latest_cells_of_its_own_commit_and_no_others(clone, committed):
    with store.open_results(committed) as results:
        measured = results.runs()[0].machine
    folder = placed(Path("results") / f"{measured.machine}-2026-01-01", committed)
    assert folders.that_goes_on(measured) == folder
    later = folders.that_goes_on(replace(measured, commit="f" * 40))
    assert later.parent == Path("results")
    assert not later.exists()
