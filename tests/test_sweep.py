"""A sweep loses nothing: not when it is killed, and not when a kernel crashes, hangs, eats memory or is wrong."""

from __future__ import annotations

import itertools
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import made
import pandas as pd
import psutil
import pytest
from conftest import QUICK

from sepconv_bench.errors import InputError, ResultsError
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import Grid, cross
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store, tables
from sepconv_bench.run.checking import check
from sepconv_bench.run.kernel_process import WorkerSettings
from sepconv_bench.run.sweep import Settings, missing_shapes, sweep

AXES = ("--D_K", "1,3", "--M", "2", "--N", "2,4,6", "--D_G", "4")
SHAPES = cross(D_K=(1, 3), M=(2,), N=(2, 4, 6), D_G=(4,))
NUMPY = ("--kernels", "cpu.*.numpy")

FAULTY = """
import ctypes, os, time
import numpy as np
from sepconv_bench import kernel

once = lambda shape: "only M=2 N=3" if (shape.M, shape.N) != (2, 3) else None

@kernel("cpu.standard.crashes", supports=once)
def crashes(problem):
    return lambda: ctypes.string_at(0)

@kernel("cpu.depthwise.hangs")
def hangs(problem):
    def launch():
        while True:
            time.sleep(0.1)
    return launch

@kernel("cpu.pointwise.wrong")
def wrong(problem):
    def launch():
        np.matmul(problem.F, problem.K_tilde, out=problem.G)
        problem.G[0, -1, -1, -1] += 0.01
    return launch

@kernel("cpu.pointwise.forgets")
def forgets(problem):
    def launch():
        problem.G[:, :-1] = np.matmul(problem.F[:, :-1], problem.K_tilde)
    return launch

@kernel("cpu.pointwise.scribbles")
def scribbles(problem):
    def launch():
        np.matmul(problem.F, problem.K_tilde, out=problem.G)
        problem.F[0, 0, 0, 0] = 7
    return launch

@kernel("cpu.separable.huge")
def huge(problem):
    return lambda: np.ones(1 << 50, np.float32)

@kernel("cpu.separable.raises")
def raises(problem):
    raise RuntimeError("no such luck\\non two lines")

@kernel("cpu.pointwise.exits")
def exits(problem):
    raise SystemExit(0)

@kernel("cpu.standard.stops")
def stops(problem):
    def launch():
        raise KeyboardInterrupt
    return launch

@kernel("cpu.depthwise.no_launch")
def no_launch(problem):
    pass

@kernel("cpu.standard.quits", supports=once)
def quits(problem):
    return lambda: os._exit(3)

@kernel("cpu.standard.picky", supports=lambda shape: "only M=2" if shape.M != 2 else None)
def picky(problem):
    windows = np.lib.stride_tricks.sliding_window_view(problem.F, problem.K.shape[:2], axis=(1, 2))
    return lambda: np.einsum("bklmij,ijmn->bkln", windows, problem.K, out=problem.G)
"""


def timings(folder: Path) -> pd.DataFrame:
    with store.open_results(folder) as results:
        return tables.timings(results)


def cells(folder: Path) -> Counter:
    with store.open_results(folder) as results:
        return Counter(cell.shape for cell in results.cells())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, quickly: list[str]) -> tuple[pd.DataFrame, subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("faulty")
    plugin = folder / "faulty.py"
    plugin.write_text(FAULTY)
    names = "crashes,hangs,wrong,forgets,scribbles,huge,raises,quits,exits,stops,no_launch,picky,numpy".replace(",", ",cpu.*.")
    command = [
        *(*quickly, "run", "--M", "2,4", "--N", "3,5", "--D_G", "5", "--plugin", str(plugin), "--kernels", f"cpu.*.{names}"),
        *("--timeout", "2", "--output", str(folder / "out"), *QUICK),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return timings(folder / "out"), done


@pytest.mark.parametrize(
    ("kernel", "status", "reason"),
    [
        ("cpu.standard.crashes", "failed", "it crashed its process with SIGSEGV"),
        ("cpu.depthwise.hangs", "failed", "it gave no result within 2 s, and was ended"),
        ("cpu.standard.quits", "failed", "it ended its process with exit code 3"),
        ("cpu.pointwise.exits", "failed", "it raised SystemExit: 0"),
        ("cpu.standard.stops", "failed", "it raised KeyboardInterrupt"),
        ("cpu.depthwise.no_launch", "failed", "it raised TypeError: 'NoneType' object is not callable"),
        ("cpu.pointwise.wrong", "wrong", "differs from the reference's by"),
        ("cpu.pointwise.forgets", "wrong", "never written"),
        ("cpu.pointwise.scribbles", "wrong", "it changed its own input"),
        ("cpu.separable.huge", "failed", "out of memory"),
        ("cpu.separable.raises", "failed", "it raised RuntimeError: no such luck"),
    ],
)
def test_a_faulty_kernel_is_reported_as_what_it_is(faulty, kernel, status, reason):
    rows = faulty[0][faulty[0].kernel == kernel]
    assert len(rows) == 4, "one row in each cell"
    rows = rows[rows.status != "unsupported"]
    assert set(rows.status) == {status}
    assert rows.reason.iloc[0].find(reason) >= 0, rows.reason.iloc[0]
    assert rows.time_s.isna().all(), "a kernel that failed has no time"


def test_the_other_kernels_of_the_same_cells_are_all_there(faulty):
    sound = faulty[0][faulty[0].variant == "numpy"]
    assert len(sound) == 4 * 4
    assert set(sound.status) == {"ok"}
    assert sound.time_s.gt(0).all()


def test_a_kernel_is_not_tried_for_ever(faulty):
    rows = faulty[0][faulty[0].kernel == "cpu.depthwise.hangs"]
    assert list(rows.reason.str.startswith("not tried")) == [False, False, False, True]


def test_a_kernel_that_does_not_support_a_shape_says_so(faulty):
    rows = faulty[0][faulty[0].kernel == "cpu.standard.picky"].set_index("M")
    assert set(rows.loc[2].status) == {"ok"}
    assert set(rows.loc[4].status) == {"unsupported"}
    assert set(rows.loc[4].reason) == {"only M=2"}


def test_what_failed_is_said_while_it_runs(faulty):
    assert "cpu.standard.crashes failed (it crashed its process with SIGSEGV)" in faulty[1].stdout


@pytest.fixture
def started(quickly: list[str], tmp_path: Path) -> Callable[[], subprocess.Popen]:
    """Starts a run into the test's folder, or goes on with it."""
    command = [*quickly, "run", *AXES, *NUMPY, *QUICK, "--output", str(tmp_path), "--resume"]
    # Whoever runs these tests in the background may ignore Ctrl-C; the sweep then would, too.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return lambda: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded)


def test_killed_at_random_moments_and_resumed_it_ends_with_every_cell_once(started: Callable, tmp_path: Path):
    rng = random.Random(7)
    killed = Counter()
    for attempt in range(6):
        process = started()
        # A few lines on, then a random moment: most moments of so short a sweep lie before its first cell.
        lines = list(itertools.islice(process.stdout, rng.choice((0, 2, 3, 4, 5))))
        try:
            process.wait(rng.uniform(0.0, 0.4) if attempt < 5 else 120)
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            killed["in the cells" if len(lines) >= 2 else "before"] += 1
            for worker in psutil.wait_procs(workers, timeout=10)[1]:
                pytest.fail(f"worker {worker} outlived the sweep")
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
    assert killed["in the cells"] >= 2, "the sweep was too quick to be killed"
    assert process.returncode == 0, errors
    assert cells(tmp_path) == dict.fromkeys(SHAPES, 1)
    assert set(timings(tmp_path).status) == {"ok"}
    assert (tmp_path / "index.html").exists()


def test_interrupted_it_says_how_to_go_on_and_resumes(started: Callable, tmp_path: Path, door: Callable):
    process = started()
    for line in process.stdout:
        if line.startswith("[1/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert "`sepconv-bench run " in errors
    assert "--resume` goes on" in errors
    assert (tmp_path / "index.html").exists(), "what is there is drawn"
    before = cells(tmp_path)
    assert 1 <= len(before) < len(SHAPES)
    process = started()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert sum(line.startswith("[") and "promised" in line for line in output.splitlines()) == len(SHAPES) - len(before)
    assert cells(tmp_path) == dict.fromkeys(SHAPES, 1)
    again = door("run", *AXES, *NUMPY, *QUICK, "--output", tmp_path, "--resume")
    assert "nothing to measure" in again.stdout


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ends a child with its parent; elsewhere it ends at its next answer"
)
def test_a_kernel_that_hangs_does_not_outlive_a_sweep_that_is_killed(tmp_path: Path):
    plugin = tmp_path / "faulty.py"
    plugin.write_text(FAULTY.replace("while True:", "print('hanging', flush=True)\n        while True:"))
    command = [sys.executable, "-m", "sepconv_bench", "run", *AXES, "--plugin", str(plugin), "--kernels", "cpu.depthwise.hangs"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "hanging\n"
    (worker,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs([worker], timeout=10)
    for left in alive:
        left.kill()
    process.stderr.close()
    assert not alive


def test_a_killed_worker_costs_no_cell(started: Callable, tmp_path: Path):
    process = started()
    for line in process.stdout:
        if line.startswith("[2/"):
            break
    (worker,) = psutil.Process(process.pid).children()
    worker.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert cells(tmp_path) == dict.fromkeys(SHAPES, 1)


def test_a_run_without_resume_keeps_the_earlier_results(tmp_path: Path, door: Callable):
    command = ("run", "--M", "2", "--N", "2", "--D_G", "3", *NUMPY, *QUICK, "--output", tmp_path)
    assert door(*command).returncode == 0
    first = (tmp_path / store.FILE_NAME).read_bytes()
    again = door(*command)
    assert again.returncode == 0, again.stderr
    (kept,) = tmp_path.glob("results-*.sqlite")
    assert kept.read_bytes() == first
    assert str(kept) in again.stdout


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path, door: Callable):
    with store.claimed(tmp_path):
        second = door("run", *AXES, *NUMPY, *QUICK, "--output", tmp_path)
    assert second.returncode == 2
    assert "another run is writing" in second.stderr
    assert list(tmp_path.iterdir()) == []


def _settings(*shapes: ConvShape, **more: object) -> Settings:
    return Settings(Grid("test", "", shapes), "cpu.*.numpy", rules=Rules(0.5, 1), **more)


def test_only_cells_without_these_kernels_are_missing(tmp_path: Path):
    one, other = (made.declared(f"cpu.standard.{variant}") for variant in ("loops", "tiled"))
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        results.add_cell(run, made.measured(SHAPES[0], {one: 1e-3}))
        assert missing_shapes(SHAPES, [one], results) == [*SHAPES[1:]]
        assert missing_shapes(SHAPES, [one, other], results) == [*SHAPES]


def test_resuming_on_another_machine_is_refused(tmp_path: Path):
    sweep(_settings(ConvShape(3, 2, 2, 3)), lambda: store.create(tmp_path), lambda step: None)
    other = _settings(ConvShape(3, 2, 2, 4), threads=2)
    with pytest.raises(ResultsError, match="was measured with threads 1"):
        sweep(other, lambda: store.open_results(tmp_path, write=True), lambda step: None)


def test_a_cell_that_does_not_fit_in_memory_is_refused_before_it_is_made(tmp_path: Path):
    huge = ConvShape(3, 1 << 20, 1 << 20, 1 << 10)
    start = time.monotonic()
    sweep(_settings(huge, ConvShape(3, 2, 2, 3)), lambda: store.create(tmp_path), lambda step: None)
    table = timings(tmp_path)
    assert time.monotonic() - start < 60
    assert list(table[table.M == huge.M].status) == ["failed"] * 4
    assert table[table.M == huge.M].reason.str.contains("GiB of memory are free").all()
    assert set(table[table.M == 2].status) == {"ok"}


def test_a_plugin_that_cannot_be_loaded_ends_the_run_in_one_line(tmp_path: Path):
    plugin = tmp_path / "broken.py"
    plugin.write_text("import ctypes\nctypes.string_at(0)\n")
    with pytest.raises(InputError, match="SIGSEGV"):
        sweep(_settings(ConvShape(3, 2, 2, 3), plugins=(str(plugin),)), lambda: store.create(tmp_path), lambda step: None)
    assert not (tmp_path / store.FILE_NAME).exists()


def test_check_finds_a_wrong_kernel_and_goes_on(tmp_path: Path):
    plugin = tmp_path / "faulty.py"
    plugin.write_text(FAULTY)
    names = "cpu.pointwise.wrong,cpu.standard.crashes,cpu.pointwise.numpy"
    shapes = (ConvShape(3, 2, 3, 3), ConvShape(1, 3, 2, 4))
    found = list(check(WorkerSettings(kernels=names, plugins=(str(plugin),)), shapes))
    assert [(result.outcome.kernel.name, result.outcome.status) for result in found] == [
        ("cpu.pointwise.numpy", "ok"),
        ("cpu.pointwise.numpy", "ok"),
        ("cpu.standard.crashes", "failed"),
        ("cpu.pointwise.wrong", "wrong"),
        ("cpu.pointwise.wrong", "wrong"),
    ]


def test_the_file_is_sound_sqlite_with_a_transaction_a_cell(swept: Path):
    with sqlite3.connect(swept / store.FILE_NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM cells").fetchone() == (6,)
    connection.close()


def test_a_folder_that_cannot_be_made_is_refused(door: Callable):
    done = door("run", *AXES, "--output", "/proc/nothing-can-be-made-here")
    assert done.returncode == 2
    assert "cannot be used for results" in done.stderr
