"""What a user may rely on when something goes wrong: signals, full disks, broken files, odd machines.

    python experiments/faults.py [--tries 60] [--seed 0]

Every try is a real `sepconv-bench run` in a process of its own. A try passes if nothing that was recorded is lost or changed
(the samples of each cell, byte by byte, in whichever file they now are), the file is sound, no process is left, and what is
said on standard error is one line, or nothing where a run goes on or was killed; what Python itself says of a Ctrl-C before it
has come to our first line is counted apart. Full disks are small tmpfs mounts (as root)
and a limit on file sizes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil

from sepconv_bench.errors import ResultsError
from sepconv_bench.results import schema, store

CELLS = 12
GRID = ("--D_K", "1,3", "--M", "2,4", "--N", "2,4,6", "--D_G", "4", "--kernels", "cpu.*.numpy")
QUICK = ("--time-limit", "0.1", "--target", "0.5")
found: Counter[tuple[str, str]] = Counter()


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sepconv_bench", "run", *GRID, *QUICK, "--output", str(folder), *more]


def started(folder: Path, *more: str, limit: Callable[[], None] | None = None, **environment: str) -> subprocess.Popen:
    def heeded() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if limit:
            limit()

    return subprocess.Popen(
        command(folder, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        preexec_fn=heeded,
    )


def recorded(folder: Path) -> Counter:
    """What the files in the folder hold: of each cell its kernels' samples."""
    held: Counter = Counter()
    for file in folder.glob("results*.sqlite"):
        with tempfile.TemporaryDirectory() as copy:
            for part in (file, file.with_name(file.name + "-journal")):
                if part.exists():
                    (Path(copy) / part.name.replace(file.name, store.FILE_NAME)).write_bytes(part.read_bytes())
            with suppress(ResultsError), store.open_results(Path(copy)) as results:
                for cell in results.cells():
                    samples = tuple(
                        (name, b"".join(each.tobytes() for each in blocks)) for name, blocks in cell.samples.items()
                    )
                    status = tuple((outcome.kernel.name, outcome.status) for outcome in cell.outcomes)
                    held[cell.shape, samples, status] += 1
    return held


def sound(folder: Path) -> bool:
    if not (folder / store.FILE_NAME).exists():
        return True
    with suppress(ResultsError), store.open_results(folder) as results:
        results.cells()
        return True
    return False


def judged(what: str, before: Counter, folder: Path, errors: str, lines: tuple[int, ...], code: bool = True) -> None:
    """Count a try; say what was wrong with it."""
    wrong = []
    if "<frozen site>" in errors and "sepconv_bench/" not in errors:
        found[what, "python"] += 1
        errors, lines = "", (0,)
    if before - recorded(folder):
        wrong.append(f"lost {sum((before - recorded(folder)).values())} cells")
    if not sound(folder):
        wrong.append("the file is not sound")
    if errors.count("\n") not in lines or "Traceback" in errors:
        wrong.append(f"said {errors[-600:]!r}")
    if not code:
        wrong.append("exit code")
    found[what, "wrong" if wrong else "right"] += 1
    if wrong:
        print(f"  {what}: {'; '.join(wrong)}", flush=True)


def signals(tries: int, rng: random.Random) -> None:
    """A signal at a random moment, to the run, to its worker, or to both, as when a machine is shut down."""
    for number in range(tries):
        if number % 6 == 0:
            folder = Path(tempfile.mkdtemp())
        before = recorded(folder)
        which = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3]
        whom = ("the run", "its worker", "both")[number // 3 % 3]
        process = started(folder, "--resume")
        list(itertools.islice(process.stdout, rng.choice((0, 1, 2, 3, 5, 9))))
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.5))
        with suppress(psutil.Error):
            workers = psutil.Process(process.pid).children(recursive=True)
            for one in workers if whom != "the run" else []:
                with suppress(psutil.Error):
                    one.send_signal(which)
            if whom != "its worker":
                process.send_signal(which)
                if rng.random() < 0.3:
                    process.send_signal(which)  # an impatient one
        _, errors = process.communicate(timeout=300)
        _, alive = psutil.wait_procs(workers, timeout=10)
        expected = {0, 2, 130, -which} if whom != "its worker" else {0, 2}
        lines = (0,) if process.returncode in (0, -which) else (1,)
        what = f"{which.name} to {whom}"
        judged(what, before, folder, errors, lines, process.returncode in expected and not alive)
        failed = [key for key in recorded(folder) - before for _, status in key[2] if status == "failed"]
        if failed and which != signal.SIGKILL:
            found[what, "sound kernels recorded as failed"] += 1


def torn(tries: int, rng: random.Random) -> None:
    """Killed in the middle of a commit: part of a transaction is in the file, the rest of it in a journal."""
    whole = Path(tempfile.mkdtemp())
    started(whole).communicate()
    before = recorded(whole)
    for number in range(tries):
        folder = Path(tempfile.mkdtemp())
        (folder / store.FILE_NAME).write_bytes((whole / store.FILE_NAME).read_bytes())
        script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(folder / store.FILE_NAME)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = {rng.randrange(1, 8)}")
connection.execute("BEGIN")
connection.execute("UPDATE samples SET seconds = zeroblob(length(seconds))")
connection.execute("UPDATE runs SET machine = 'half'")
os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", script], check=False)
        more = (("--resume",), (), ("--grid",))[number % 3]
        if more == ("--grid",):
            words = [sys.executable, "-m", "sepconv_bench", "export", str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            errors, code = done.stderr, done.returncode
        else:
            process = started(folder, *more)
            _, errors = process.communicate()
            code = process.returncode
        judged(f"a torn file, then {('run --resume', 'run', 'export')[number % 3]}", before, folder, errors, (0,), code == 0)


def full(tries: int, rng: random.Random) -> None:
    """No room: on a small file system, and by a limit on the size of a file."""
    for _ in range(tries):
        folder, size = Path(tempfile.mkdtemp()), rng.randrange(4, 200) << 10
        process = started(folder, limit=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
        _, errors = process.communicate()
        judged("files limited in size", Counter(), folder, errors, (1,), process.returncode == 2)
        before = recorded(folder)
        process = started(folder, "--resume")
        _, errors = process.communicate()
        judged("... and run --resume with room", before, folder, errors, (0,), process.returncode == 0)
    for _ in range(tries if os.geteuid() == 0 else 0):
        folder, size = Path(tempfile.mkdtemp()), rng.randrange(8, 200)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=False).returncode:
            print("no tmpfs can be mounted here")
            return
        process = started(folder)
        _, errors = process.communicate()
        before = recorded(folder)
        judged("a full disk", Counter(), folder, errors, (1,), process.returncode == 2)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=False)
        process = started(folder, "--resume")
        _, errors = process.communicate()
        judged("an output that is read-only", before, folder, errors, (1,), process.returncode == 2)
        subprocess.run(["mount", "-o", "remount,rw,size=16m", folder], check=False)
        process = started(folder, "--resume")
        _, errors = process.communicate()
        judged("... and run --resume with room", before, folder, errors, (0,), process.returncode == 0)
        subprocess.run(["umount", folder], check=False)


def broken(tries: int, rng: random.Random) -> None:
    """A results file that is cut, changed or of another version: refused, and kept as it is."""
    whole = Path(tempfile.mkdtemp())
    started(whole).communicate()
    data = (whole / store.FILE_NAME).read_bytes()
    for number in range(tries):
        folder = Path(tempfile.mkdtemp())
        file = folder / store.FILE_NAME
        spoilt = bytearray(data)
        if number % 3 == 0:
            del spoilt[rng.randrange(1, len(data)) :]
        elif number % 3 == 1:
            at = rng.randrange(len(data) - 4096)
            spoilt[at : at + 4096] = rng.randbytes(4096)
        file.write_bytes(spoilt)
        if number % 3 == 2:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute(f"PRAGMA user_version = {rng.randrange(schema.VERSION + 1, 99)}")
            spoilt = bytearray(file.read_bytes())
        told = ("cut", "changed", "of a newer version")[number % 3]
        process = started(folder, "--resume")
        _, errors = process.communicate()
        refused = process.returncode == 2
        judged(
            f"a file that is {told}: run --resume",
            Counter(),
            folder,
            errors,
            (1,) if refused else (0,),
            refused or sound(folder),
        ) if sound(folder) else _kept(told, file, spoilt, errors, process.returncode)
        if refused:
            process = started(folder)
            _, errors = process.communicate()
            (kept,) = folder.glob("results-*.sqlite")
            judged(
                f"a file that is {told}: run",
                Counter(),
                folder,
                errors,
                (0,),
                process.returncode == 0 and kept.read_bytes() == spoilt,
            )


def _kept(told: str, file: Path, spoilt: bytes, errors: str, code: int) -> None:
    right = file.read_bytes() == spoilt and errors.count("\n") == 1 and "Traceback" not in errors and code == 2
    found[f"a file that is {told}: run --resume", "right" if right else "wrong"] += 1
    if not right:
        print(f"  a file that is {told}: {code}, {errors[-300:]!r}")


def two_at_once(tries: int, rng: random.Random) -> None:
    for _ in range(tries):
        folder = Path(tempfile.mkdtemp())
        both = [started(folder, "--resume")]
        time.sleep(rng.uniform(0, 2))
        both.append(started(folder, "--resume"))
        told = [process.communicate()[1] for process in both]
        codes = sorted(process.returncode for process in both)
        judged("two runs into one folder", Counter(), folder, "".join(told), (0, 1), codes in ([0, 2], [0, 0]))
        assert len(recorded(folder)) == CELLS


def odd_machines() -> None:
    cache = Path(tempfile.mkdtemp())
    (cache / "rubbish.nbi").write_bytes(b"\x80\x04rubbish")
    closed = Path("/proc/nothing")
    for what, environment in (
        ("a Numba cache of rubbish", {"NUMBA_CACHE_DIR": str(cache)}),
        ("a Numba cache that cannot be written", {"NUMBA_CACHE_DIR": str(closed)}),
        ("NUMBA_NUM_THREADS=abc", {"NUMBA_NUM_THREADS": "abc"}),
        ("NUMBA_NUM_THREADS=100000", {"NUMBA_NUM_THREADS": "100000"}),
        ("an ASCII terminal", {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}),
    ):
        folder = Path(tempfile.mkdtemp())
        process = started(folder, **environment)
        _, errors = process.communicate()
        judged(what, Counter(), folder, errors, (0, 1), process.returncode in (0, 2))
    for what, more, limit in (
        ("--threads 1000", ("--threads", "1000"), None),
        ("--threads 8 where 2 may be", ("--threads", "8"), lambda: resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))),
        ("2 GB of address space", (), lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))),
        ("64 open files", (), lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))),
    ):
        folder = Path(tempfile.mkdtemp())
        process = started(folder, *more, limit=limit)
        _, errors = process.communicate()
        judged(what, Counter(), folder, errors, (0, 1), process.returncode in (0, 2))
    for what, redirections in (
        ("no standard output", ">&-"),
        ("no standard error", "2>&-"),
        ("no stream at all", "<&- >&- 2>&-"),
        ("standard output is full", ">/dev/full"),
    ):
        folder = Path(tempfile.mkdtemp())
        words = " ".join(f"'{word}'" for word in command(folder))
        done = subprocess.run(["bash", "-c", f"{words} {redirections}"], stderr=subprocess.PIPE, text=True, check=False)
        judged(what, Counter(), folder, done.stderr, (0, 1), done.returncode in (0, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("signals", "torn", "full", "broken", "two", "odd"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("ended before all tries were made"))
    rng, few = random.Random(given.seed), max(3, given.tries // 5)
    try:
        for name, go in (
            ("signals", lambda: signals(given.tries, rng)),
            ("torn", lambda: torn(few, rng)),
            ("full", lambda: full(few // 2, rng)),
            ("broken", lambda: broken(few, rng)),
            ("two", lambda: two_at_once(few // 3, rng)),
            ("odd", odd_machines),
        ):
            if given.only in (None, name):
                go()
    finally:
        table()
    sys.exit(any(each == "wrong" for _, each in found))


def table() -> None:
    columns = ("tries", "not as promised", "sound kernels recorded as failed", "Python's own traceback")
    print(f"| what | {' | '.join(columns)} |\n|---|---:|---:|---:|---:|")
    for what in dict.fromkeys(what for what, _ in found):
        each = ("right", "wrong", "sound kernels recorded as failed", "python")
        right, wrong, blamed, before = (found[what, one] for one in each)
        print(f"| {what} | {right + wrong} | {wrong} | {blamed} | {before} |", flush=True)


if __name__ == "__main__":
    main()
