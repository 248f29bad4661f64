"""A grid over hosts: a real scheduler and real workers on loopback, each with an address of its own, as hosts have."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import metadata
from pathlib import Path

import dask
import psutil
import pytest
from msgspec.structs import replace

from sepconv_bench.errors import InputError
from sepconv_bench.measure.machine import commit
from sepconv_bench.measure.records import Fingerprint, Rules
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.grids import Grid, cross, in_dtypes
from sepconv_bench.results import store, tables
from sepconv_bench.run.describe import Progress
from sepconv_bench.run.fleet import cluster, coordinator, hosts
from sepconv_bench.run.sweep import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.2 without being asked")

SHAPES = cross(D_K=(1, 3), M=(2, 4), N=(2,), D_G=(4,))
AXES = ("--D_K", "1,3", "--M", "2,4", "--N", "2", "--D_G", "4")
KERNELS = "cpu.standard.numpy,cpu.separable.numpy"
SCHEDULER = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", ":0")
# Never narrow enough: a cell takes its whole time, in which something can happen to it.
RULES = Rules(0.0001, 0.6)
SLOW = ("--kernels", KERNELS, "--threads", "1", "--target", RULES.target, "--time-limit", RULES.seconds)

# Tells what environment it runs in; on the shapes with M = 4 it first sleeps, until the file RESUMED is there.
TELLS = """
import os, time
from sepconv_bench import kernel

@kernel("cpu.standard.tells")
def tells(problem):
    while problem.shape.M == 4 and not os.path.exists("RESUMED"):
        time.sleep(0.1)
    names = ("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")
    raise RuntimeError(" ".join(f"{name}={os.environ.get(name)}" for name in names))
"""


class Started:
    """A `dask ...` process whose log is looked at."""

    def __init__(self, folder: Path, name: str, *arguments: str, **variables: str) -> None:
        self.name, self._log = name, folder / f"{name}.log"
        with self._log.open("w") as log:
            command = ["env", *(f"{key}={value}" for key, value in variables.items()), sys.executable, "-m", "dask", *arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def says(self, pattern: str, times: int = 1) -> str:
        """What the pattern's group matches in the log, once it does so often."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = re.findall(pattern, self._log.read_text())
            if len(found) >= times:
                return found[-1]
            time.sleep(0.1)
        raise AssertionError(f"{self.name} never said {pattern}:\n{self._log.read_text()}")

    def measuring(self) -> list[psutil.Process]:
        """The processes of ours beside it that kernels run in."""
        return [child for child in self._below() if "sepconv_bench.run.worker" in _command(child)]

    def dask_worker(self) -> psutil.Process:
        """The process that Dask's nanny has started."""
        (found,) = (child for child in self._below() if any("spawn_main" in word for word in _command(child)))
        return found

    def _below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        """End it and all that it has started; a worker whose nanny is gone has gone with it."""
        if self.process.poll() is None:
            for process in [psutil.Process(self.process.pid), *self._below()]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


def _command(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that has ended meanwhile, or whose parent has yet to notice."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@contextmanager
def worker(folder: Path, scheduler: str, name: str, host: str, *more: str, **variables: str) -> Iterator[Started]:
    quiet = ("--no-dashboard", "--local-directory", str(folder), "--memory-limit", "0")
    one = ("--nworkers", "1", "--nthreads", "1", "--resources", "cell=1")
    started = Started(folder, name, "worker", scheduler, "--name", name, "--host", host, *one, *quiet, *more, **variables)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dask")


@pytest.fixture(scope="module")
def scheduler(folder: Path) -> Iterator[str]:
    """The address of a scheduler."""
    started = Started(folder, "scheduler", "scheduler", *SCHEDULER)
    try:
        yield started.says(r"Scheduler at:\s+(tcp://\S+)")
    finally:
        started.stop()


@pytest.fixture(scope="module")
def workers(folder: Path, scheduler: str) -> Iterator[dict[str, Started]]:
    """Two hosts, `left` and `right`."""
    with ExitStack() as stack:
        hosts = {"left": "127.0.0.1", "right": "127.0.0.2"}
        started = {name: stack.enter_context(worker(folder, scheduler, name, host)) for name, host in hosts.items()}
        for one in started.values():
            one.says("Registered to")
        yield started


@contextmanager
def run(scheduler: str, *arguments: object) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "sepconv_bench", "run", "--cluster", scheduler, *AXES, *map(str, arguments)]
    # Whoever runs these tests in the background may ignore Ctrl-C; the run then would, too.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=heeded, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen, *wanted: str) -> list[str]:
    """What the run says until it has said all of those."""
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if all(any(words in line for line in lines) for words in wanted):
            return lines
    raise AssertionError("".join([*lines, process.stderr.read()]))


def cells(folder: Path) -> Counter:
    with store.open_results(folder) as results:
        return Counter(cell.shape for cell in results.cells())


def refuse(name: str) -> store.Results:
    raise AssertionError(f"results of {name} were opened")


def settings(**more: object) -> Settings:
    return Settings(Grid("test", "", SHAPES), **{"kernels": KERNELS, "rules": RULES} | more)


def with_plugin(path: Path) -> Settings:
    return settings(kernels=f"{KERNELS},cpu.*.tells", plugins=(str(path),))


def test_a_scheduler_that_does_not_answer_is_refused_within_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1' \(Timed out"):
        coordinator.measure("tcp://127.0.0.1:1", settings(), 1, False, refuse, lambda step: None)
    assert time.monotonic() - start < 15


def test_what_is_no_address_is_refused_in_one_line(door: Callable, tmp_path: Path):
    done = door("run", "--cluster", "here", *AXES, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no Dask scheduler answers at 'here' (missing port number" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_worker_that_offers_to_measure_the_message_says_what_to_start(scheduler: str):
    with pytest.raises(InputError, match=r"start one on each host: `dask worker tcp.* --nthreads 1 --resources cell=1"):
        coordinator.measure(scheduler, settings(), 1, False, refuse, lambda step: None)


@pytest.fixture(scope="module")
def stopped(scheduler: str, workers: dict[str, Started], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run on each host leaves behind that was stopped by Ctrl-C in the middle of its cells; beside it its plug-in."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    plugin = out.with_name("tells.py")
    plugin.write_text(TELLS.replace("RESUMED", str(out.with_name("resumed"))))
    with run(scheduler, *SLOW, "--kernels", f"{KERNELS},cpu.*.tells", "--plugin", plugin, "--output", out) as process:
        lines_until(process, "left: D_K", "right: D_K")
        assert all(one.measuring() for one in workers.values())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (130, 1), errors
    assert "--resume" in errors
    until = time.monotonic() + 20  # where a kernel that hangs is ended after 60 s
    while (left := [one.name for one in workers.values() if one.measuring()]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left, "something still runs on the hosts"
    return out


def test_ctrl_c_keeps_what_has_come_back(stopped: Path):
    folders = sorted(stopped.iterdir())
    assert [folder.name.rpartition("-")[2] for folder in folders] == ["left", "right"]
    for folder in folders:
        assert cells(folder).total() == 1, "the cell in flight was measured to its end"
        with store.open_results(folder) as results:
            (found,) = results.runs()
            table = tables.timings(results)
        assert found.machine.host == folder.name.rpartition("-")[2]
        # The plug-in has travelled, and the kernels' process has the environment of a local run and not the nanny's.
        (reason,) = set(table[table.variant == "tells"].reason)
        assert "MALLOC_TRIM_THRESHOLD_=None OMP_NUM_THREADS=1 GOMP_SPINCOUNT=5000" in reason


def test_a_resumed_run_measures_the_rest_though_a_worker_is_killed_and_comes_back(
    scheduler: str, workers: dict[str, Started], stopped: Path
):
    stopped.with_name("resumed").touch()
    before = {folder.name: cells(folder) for folder in stopped.iterdir()}
    lines: list[str] = []

    def progress(step: Progress) -> None:
        lines.append(step.line)
        if "right: FMA peak" in step.line:
            workers["right"].dask_worker().kill()  # its nanny starts another

    def opened(name: str) -> store.Results:
        return store.open_results(stopped / name, write=True)

    assert coordinator.measure(scheduler, with_plugin(stopped.with_name("tells.py")), 1, False, opened, progress) == []
    assert any("right: its worker was lost" in line for line in lines)
    for name, there in before.items():
        assert cells(stopped / name) == dict.fromkeys(SHAPES, 1)
        told = sum(line.startswith(f"{name.rpartition('-')[2]}: D_K") for line in lines)
        assert told == len(SHAPES) - there.total(), "what was there is not measured again"


def test_hosts_that_are_not_alike_do_not_share_a_grid(folder: Path, scheduler: str, stopped: Path):
    with worker(folder, scheduler, "odd", "127.0.0.3", NUMBA_CPU_NAME="x86-64") as odd:
        odd.says("Registered to")
        with pytest.raises(InputError, match=r"--share needs hosts that are alike: left has llvm_cpu .*, odd has x86-64;"):
            coordinator.measure(scheduler, with_plugin(stopped.with_name("tells.py")), 1, True, refuse, lambda step: None)


def test_threads_that_are_too_many_for_a_host_are_refused_by_it(scheduler: str, workers: dict[str, Started]):
    with pytest.raises(InputError, match=r"(left|right): 100000 threads are too many for the \d+ CPUs of this machine"):
        coordinator.measure(scheduler, settings(), 100_000, False, refuse, lambda step: None)


@pytest.mark.parametrize("share", [False, True])
def test_a_dtype_that_no_kernel_of_a_host_takes_is_refused(scheduler: str, workers: dict[str, Started], share: bool):
    asked = Settings(in_dtypes(Grid("test", "", SHAPES), "f32,bf16"), KERNELS, rules=RULES)
    with pytest.raises(InputError, match=r"^(left|right): none of the chosen kernels of cpu computes in bf16; they take f32$"):
        coordinator.measure(scheduler, asked, 1, share, refuse, lambda step: None)


def test_no_worker_is_taken_for_lost_while_the_client_looks_at_its_cluster(scheduler: str, workers: dict[str, Started]):
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}), cluster.connected(scheduler) as client:
        for _ in range(300):
            assert {worker["name"] for worker in cluster.workers_of(client).values()} >= set(workers)


def test_a_scheduler_that_is_lost_is_told_in_a_line_for_as_long_as_one_asks(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)  # of trying again, after which the client closes
    started = Started(folder, "lost", "scheduler", *SCHEDULER)
    try:
        with cluster.connected(started.says(r"Scheduler at:\s+(tcp://\S+)")) as client:
            assert cluster.workers_of(client) == {}
            started.process.kill()
            states = set()
            while "closed" not in states:
                with pytest.raises(InputError, match="the Dask scheduler was lost on the way"):
                    cluster.workers_of(client)
                states.add(client.status)
                time.sleep(0.05)
            with pytest.raises(InputError, match="the Dask scheduler was lost on the way"):
                cluster.workers_of(client)
    finally:
        started.stop()


def test_two_workers_on_one_host_are_refused(folder: Path, scheduler: str, workers: dict[str, Started]):
    with worker(folder, scheduler, "second", "127.0.0.1") as second:
        second.says("Registered to")
        with pytest.raises(InputError, match=r"2 workers offer to measure on the host 127\.0\.0\.1"):
            coordinator.measure(scheduler, settings(), 1, False, refuse, lambda step: None)


def test_a_lost_hosts_cells_are_done_by_those_that_share_the_grid(scheduler: str, workers: dict[str, Started], tmp_path: Path):
    with run(scheduler, *SLOW, "--share", "--output", tmp_path) as process:
        lines = lines_until(process, "right: FMA peak")
        time.sleep(0.3)
        workers["right"].process.kill()  # the nanny; what it has started dies with it
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told = [*lines, *output.splitlines()]
    (lost,) = (number for number, line in enumerate(told) if "right: its worker was lost" in line)
    again = re.search(r"lost; (.*) is measured again", told[lost])[1]
    assert any(f"left: {again}:" in line for line in told[lost:])
    assert cells(tmp_path) == dict.fromkeys(SHAPES, 1)
    with store.open_results(tmp_path) as results:
        assert {run.machine.host for run in results.runs()} == {"left", "right"}
        assert results.cells()[-1].run.machine.host == "left"


def test_when_the_last_host_is_lost_the_run_says_what_is_missing(
    scheduler: str, workers: dict[str, Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(coordinator, "_GRACE_SECONDS", 2.0)

    def progress(step: Progress) -> None:
        if step.done == 1:
            workers["left"].process.kill()

    lacking = coordinator.measure(scheduler, settings(), 1, True, lambda name: store.create(tmp_path), progress)
    missing = len(SHAPES) - cells(tmp_path).total()
    assert missing
    assert lacking == [f"left: {missing} cells lost with the worker"]


MACHINE = Fingerprint(
    **{"machine": "a", "cpu": "A", "llvm_cpu": "a", "system": "Linux", "python": "3", "threading_layer": "omp", "time": ""},
    **{"caches": {}, "versions": {"sepconv-bench": metadata.version("sepconv-bench"), "numba": "1"}, "wait_policy": {}},
    **{"memory_bytes": 1, "threads": 2, "blas": (), "logical_cpus": 2, "commit": commit()},
)


def alike(*changes: dict, variants: Sequence[str] = ()) -> Sequence[hosts.Host]:
    """Hosts of this sepconv-bench that are alike but for the changes of their machines, and the variants of their kernel."""
    found = []
    for number, change in enumerate(changes):
        variant = variants[number] if variants else "loops"
        kernel = Declaration("cpu", "standard", variant, OURS, ("standard",), variant)
        found.append(hosts.Host(f"host{number}", "", "", replace(MACHINE, **change), (kernel,)))
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpu": "B"}, "host0 has cpu A, host1 has B"),
        ({"threads": 1}, "host0 has threads 2, host1 has 1"),
        ({"versions": {"sepconv-bench": "0", "numba": "2"}}, "versions .*'numba': '1'.*'numba': '2'"),
    ],
)
def test_what_makes_hosts_unlike_is_named(change, words):
    hosts.refuse_unlike(alike({}, {}))
    with pytest.raises(InputError, match=words):
        hosts.refuse_unlike(alike({}, change))


def test_hosts_with_other_kernels_are_unlike():
    words = "kernels of its own cpu.standard.loops, host1 has cpu.standard.torch"
    with pytest.raises(InputError, match=words):
        hosts.refuse_unlike(alike({}, {}, variants=("loops", "torch")))


def test_a_host_of_another_commit_is_refused():
    hosts.refuse_other_versions(alike({}, {}))
    with pytest.raises(InputError, match=r"host1 runs sepconv-bench .* \(abc\), and this is"):
        hosts.refuse_other_versions(alike({}, {"commit": "abc"}))


def test_share_goes_with_a_cluster(door, tmp_path):
    done = door("run", "--share", *AXES, "--output", tmp_path)
    assert (done.returncode, done.stderr) == (2, "sepconv-bench: --share goes with --cluster\n")
