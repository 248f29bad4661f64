"""When something outside goes wrong, nothing that was recorded is lost. experiments/faults.py does more of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import QUICK

from sepconv_bench import files
from sepconv_bench.errors import InputError
from sepconv_bench.results import store, tables

SMALL = ("run", "--M", "2,4", "--N", "2,4", "--D_G", "3", "--kernels", "cpu.*.numpy", *QUICK)


@pytest.fixture
def torn(swept: Path, tmp_path: Path) -> Path:
    """A folder as a kill in the middle of a commit leaves it: half of a transaction in the file, the rest in a journal."""
    file = tmp_path / store.FILE_NAME
    file.write_bytes((swept / store.FILE_NAME).read_bytes())
    script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(file)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 3")
connection.execute("BEGIN")
connection.execute("UPDATE samples SET seconds = zeroblob(length(seconds))")
connection.execute("UPDATE runs SET machine = 'half'")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert file.with_name("results.sqlite-journal").exists()
    assert file.read_bytes() != (swept / store.FILE_NAME).read_bytes()
    return tmp_path


def test_a_torn_file_is_made_whole_by_whoever_reads_it(torn, swept):
    with store.open_results(torn) as mended, store.open_results(swept) as original:
        assert tables.samples(mended).equals(tables.samples(original))


def test_a_torn_file_that_is_set_aside_is_whole_and_spoils_no_new_one(torn, swept):
    kept = store.set_aside(torn)
    with store.create(torn) as new:
        assert new.cells() == []
    (torn / "earlier").mkdir()
    kept.rename(torn / "earlier" / store.FILE_NAME)
    with store.open_results(torn / "earlier") as mended, store.open_results(swept) as original:
        assert tables.samples(mended).equals(tables.samples(original))


def test_a_journal_of_no_use_is_not_left_to_the_next_file(tmp_path):
    (tmp_path / store.FILE_NAME).write_bytes(b"no database" * 99)
    (tmp_path / f"{store.FILE_NAME}-journal").write_bytes(b"no journal" * 99)
    kept = store.set_aside(tmp_path)
    assert kept.read_bytes() == b"no database" * 99
    assert not (tmp_path / f"{store.FILE_NAME}-journal").exists()
    (tmp_path / f"{store.FILE_NAME}-journal").write_bytes(b"no journal" * 99)  # its file was deleted by hand
    with store.create(tmp_path) as new:
        assert new.cells() == []


def test_a_file_with_a_view_for_a_table_is_refused(swept, tmp_path):
    import sqlite3

    (tmp_path / store.FILE_NAME).write_bytes((swept / store.FILE_NAME).read_bytes())
    connection = sqlite3.connect(tmp_path / store.FILE_NAME)
    with connection:
        connection.execute("ALTER TABLE cells RENAME TO others")
        endless = "WITH RECURSIVE more(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM more) SELECT * FROM more"
        connection.execute(f"CREATE VIEW cells AS {endless}")
    connection.close()
    with pytest.raises(InputError, match="holds more than tables"):
        store.open_results(tmp_path)


# ---------------------------------------------------------------------------------------------- no room


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, of which a file of 40 is in use."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    (folder / "precious.md").write_text("x" * 40_000 + "\n<!-- ladder -->\n<!-- end of ladder -->\n")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_on_a_full_disk_stays_as_it_was(full_disk, swept, door):
    before = (full_disk / "precious.md").read_bytes()
    (full_disk / "more").write_bytes(bytes(20_000))
    for words in (("ladder", swept, "--into"), ("export", swept, "--table", "samples", "--output")):
        done = door(*words, full_disk / "precious.md")
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") == 1
        assert (full_disk / "precious.md").read_bytes() == before
    assert sorted(path.name for path in full_disk.iterdir()) == ["more", "precious.md"]


def test_a_run_that_finds_no_more_room_keeps_its_cells_and_goes_on_later(tmp_path, quickly, door):
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    command = [*quickly, *SMALL, "--output", str(tmp_path / "out")]
    done = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    with store.open_results(tmp_path / "out") as results:
        before = tables.samples(results)
    resumed = door(*SMALL, "--resume", "--output", tmp_path / "out")
    assert resumed.returncode == 0, resumed.stderr
    with store.open_results(tmp_path / "out") as results:
        after = tables.samples(results)
        assert len(results.cells()) == 4
    assert after.iloc[: len(before)].equals(before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_or_full_is_no_traceback(redirection, swept):
    shell = f"{sys.executable} -m sepconv_bench export {swept} {redirection}"
    done = subprocess.run(["bash", "-c", shell], stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    full = redirection == ">/dev/full"
    assert done.stderr == "sepconv-bench: standard output: No space left on device\n" * full
    assert done.returncode == 2 * full


@pytest.mark.parametrize("count", ["abc", "0", "-1", "100000", "9" * 5000, ""])
def test_a_number_of_threads_in_the_environment_that_is_none_is_told(count, sepconv, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", count)
    done = sepconv("list")
    assert done.returncode == 2
    assert done.stderr.startswith(f"sepconv-bench: NUMBA_NUM_THREADS is '{count[:9]}")
    assert done.stderr.count("\n") == 1


def test_a_file_is_replaced_as_what_it_is(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    files.write(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    files.write(Path("/dev/null"), "gone")
    assert not Path("/dev/null").is_file()
    with pytest.raises(InputError, match="Is a directory"):
        files.write(tmp_path, "no")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_report_leaves_other_peoples_figures_alone(swept, tmp_path, door):
    (tmp_path / store.FILE_NAME).write_bytes((swept / store.FILE_NAME).read_bytes())
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "thesis.pdf").write_text("years of work")
    (tmp_path / "figures" / "layers.svg").write_text("of an earlier report")
    assert door("report", tmp_path).returncode == 0
    assert (tmp_path / "figures" / "thesis.pdf").read_text() == "years of work"
    assert not (tmp_path / "figures" / "layers.svg").exists()


# ---------------------------------------------------------------------------------------------- signals


def _until(quickly: list[str], folder: Path, line: str, *more: str) -> subprocess.Popen:
    heeded: Callable[[], None] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [*quickly, *SMALL, *more, "--output", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded)
    for said in process.stdout:
        if said.startswith(line):
            break
    return process


def test_a_signal_for_all_is_not_taken_for_a_kernels_fault(tmp_path, quickly):
    """As when a machine is shut down: a worker that ended before the run would leave a sound kernel recorded as failed."""
    process = _until(quickly, tmp_path, "[1/", "--time-limit", "1")
    (worker,) = psutil.Process(process.pid).children()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        worker.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    with store.open_results(tmp_path) as results:
        assert set(tables.timings(results).status) == {"ok"}
        assert len(results.cells()) == 4


@pytest.mark.exhaustive
def test_an_impatient_user_is_told_once(tmp_path, quickly):
    process = _until(quickly, tmp_path, "[1/", "--time-limit", "1")
    (worker,) = psutil.Process(process.pid).children()
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1, errors
    assert "1 of 4 cells are in" in errors
    assert psutil.wait_procs([worker], timeout=10)[1] == []
