"""torch, onnxruntime and OpenVINO as peers: real libraries, and what happens where they are not installed.

That every peer agrees with the reference on random shapes and strided maps is in test_kernels.py, with all other kernels.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names
from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import Grid
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.reference import Reference
from sepconv_bench.results import store, tables
from sepconv_bench.run import protocol
from sepconv_bench.run.checking import CheckResult, check
from sepconv_bench.run.describe import Progress
from sepconv_bench.run.kernel_process import WorkerSettings, open_kernel_process
from sepconv_bench.run.network_sweep import NetworkSettings, sweep_networks
from sepconv_bench.run.sweep import Settings, sweep

PEERS = [name for name in kernel_names(missing=True) if name.startswith("cpu.") and get_kernel(name).needs]
LIBRARIES = ("torch", "onnxruntime", "openvino", "xnnpack", "ncnn")
INTO_G = [
    "cpu.pointwise.torch-matmul",
    "cpu.separable.torch-matmul",
    "cpu.pointwise.onnxruntime-matmul",
    *(f"cpu.{operator}.openvino" for operator in OPERATORS),
]


def test_all_libraries_offer_every_operator():
    assert {f"cpu.{operator}.{library}" for operator in OPERATORS for library in LIBRARIES} <= set(PEERS)
    assert set(PEERS) <= set(kernel_names()), "the tests are to run with all of them installed"


# ------------------------------------------------------------------------------------ a library that is not there


HIDE = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {modules} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


@pytest.fixture
def hidden(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """hidden("torch"): processes started from now on do not find that module; Python runs a sitecustomize first."""

    def hide(*modules: str) -> None:
        folder = tmp_path_factory.mktemp("hidden")
        folder.joinpath("sitecustomize.py").write_text(HIDE.format(modules=modules))
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    return hide


def test_a_peer_that_is_missing_is_listed_with_the_extra_that_brings_it(hidden, sepconv):
    hidden("torch", "onnx", "openvino", "ai_edge_litert", "ncnn")
    told = {line.split()[0]: line for line in sepconv("list").stdout.splitlines()}
    for name in PEERS:
        extra = get_kernel(name).needs[0]
        assert told[name].endswith(f" not installed: pip install 'sepconv-bench[{extra}]'")
    assert "not installed" not in told["cpu.standard.numpy"]


def test_only_the_library_that_is_missing_is_left_out(hidden):
    hidden("torch")
    for asked in (None, "cpu.standard.*,cpu.*.parallel"):
        with open_kernel_process(WorkerSettings(kernels=asked)) as process:
            variants = {kernel.variant for kernel in process.start().kernels}
        assert {"numpy", "parallel", "onnxruntime"} < variants
        assert not any(variant.startswith("torch") for variant in variants)


class _HeardError(Exception):
    pass


def test_a_whole_network_does_without_and_says_so(hidden, tmp_path):
    hidden("torch", "ai_edge_litert", "ncnn")
    threads = 2  # as test_mobilenet_door.py, whose machine code is kept; tiles are chosen by threads
    lines = []

    def heard(step: Progress) -> None:
        lines.append(step.line)
        raise _HeardError

    with pytest.raises(_HeardError):
        sweep_networks(NetworkSettings((0.25,), (128,), threads=threads), lambda machine: store.create(tmp_path), heard)
    extras = "torch,ai-edge-litert,ncnn"
    assert lines == [f"not installed, so not compared with ours: {extras}; pip install 'sepconv-bench[{extras}]'"]
    with open_kernel_process(WorkerSettings(threads)) as process:
        opened = process.ask(protocol.OpenNetwork(0.25, 128, 1, None, 0), protocol.NetworkOpened)
    assert {one.library for one in opened.parts[-1].contenders} == {"ours", "onnxruntime", "openvino"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["run --grid smoke --output {tmp}/out", "check"])
@pytest.mark.parametrize(("pattern", "extra"), [("cpu.*.torch*", "torch"), ("*.onnxruntime", "onnxruntime")])
def test_asking_for_nothing_but_what_is_missing_is_refused(hidden, door, tmp_path, command, pattern, extra):
    hidden("torch", "onnxruntime")
    done = door(*command.format(tmp=tmp_path).split(), "--kernels", f"cpu.pointwise.numpy,{pattern}")
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{pattern!r} matches only kernels that cannot run here" in done.stderr
    assert f"pip install 'sepconv-bench[{extra}]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_calling_one_says_what_to_install(hidden):
    hidden("onnxruntime")
    code = """
import numpy as np, sepconv_bench
try:
    sepconv_bench.get_kernel("cpu.pointwise.onnxruntime")(np.ones((2, 2, 1), np.float32), np.ones((1, 1), np.float32))
except sepconv_bench.KernelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cpu.pointwise.onnxruntime is not installed: pip install 'sepconv-bench[onnxruntime]'\n"


def checked(kernels: str) -> list[CheckResult]:
    """One small shape through a worker."""
    return list(check(WorkerSettings(kernels=kernels), [ConvShape(1, 2, 3, 4)]))


def test_a_library_that_breaks_on_import_costs_its_own_place_only(tmp_path, monkeypatch):
    library = tmp_path / "broken" / "torch"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("import ctypes\nctypes.string_at(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(library.parent))
    results = checked("cpu.pointwise.torch,cpu.pointwise.onnxruntime,cpu.pointwise.numpy")
    outcomes = {result.outcome.kernel.name: result.outcome for result in results}
    broken = outcomes.pop("cpu.pointwise.torch")
    assert (broken.status, broken.reason) == ("failed", "it crashed its process with SIGSEGV")
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}


def test_nothing_is_imported_that_is_not_asked_for(monkeypatch, capfd):
    """Python itself tells what the worker imports."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    imported = {}
    for kernels in ("cpu.pointwise.parallel", "cpu.pointwise.torch"):
        assert [result.outcome.status for result in checked(kernels)] == ["ok"]
        lines = capfd.readouterr().err.splitlines()
        imported[kernels] = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "numba" in imported["cpu.pointwise.parallel"]
    assert not {"torch", "onnxruntime", "onnx", "openvino"} & imported["cpu.pointwise.parallel"]
    assert {"torch", "onnxruntime", "onnx", "openvino"} & imported["cpu.pointwise.torch"] == {"torch"}


# ------------------------------------------------------------------------------------ the libraries themselves


def test_the_worker_measures_and_pairs_them(tmp_path):
    kernels = "cpu.*.torch,cpu.*.torch-prepacked,cpu.*.onnxruntime*,cpu.*.openvino,cpu.*.numpy"
    settings = Settings(Grid("test", "", (ConvShape(3, 8, 17, 7, 2, 2),)), kernels, rules=Rules(0.5, 2))
    sweep(settings, lambda: store.create(tmp_path), lambda step: None)
    with store.open_results(tmp_path) as results:
        timings, ratios = tables.timings(results), tables.ratios(results)
        versions = results.runs()[0].machine.versions
    assert set(timings.status) == {"ok"}, timings[["kernel", "status", "reason"]]
    assert timings.time_s.gt(0).all()
    compared = set(zip(ratios.standard_kernel, ratios.separable_kernel, strict=True))
    for variant in ("torch", "torch-prepacked", "onnxruntime", "onnxruntime-nchwc", "openvino", "numpy"):
        assert (f"cpu.standard.{variant}", f"cpu.separable.{variant}") in compared
    assert versions["torch"].startswith("2.")
    assert versions["onnxruntime"].startswith("1.")
    assert versions["openvino"].startswith("2026.")


WRONG_IN_THE_END = """
import numpy as np
from sepconv_bench import kernel

launches = 0

@kernel("cpu.pointwise.elsewhere", unpack=lambda given, G: np.copyto(G, given))
def elsewhere(problem):
    def launch():
        global launches
        launches += 1
        G = problem.F @ problem.K_tilde
        return G if launches < 100 else G + np.float32(0.01)
    return launch

@kernel("cpu.pointwise.cannot", unpack=lambda given, G: np.copyto(G, given))
def cannot(problem):
    return lambda: None
"""


def test_the_result_of_the_last_launch_is_unpacked_and_verified(tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(WRONG_IN_THE_END)
    kernels = "cpu.pointwise.elsewhere,cpu.pointwise.cannot"
    settings = Settings(Grid("test", "", (ConvShape(1, 3, 4, 5),)), kernels, (str(plugin),), rules=Rules(0.5, 1))
    sweep(settings, lambda: store.create(tmp_path), lambda step: None)
    with store.open_results(tmp_path) as results:
        table = tables.timings(results).set_index("variant")
    assert table.status.to_dict() == {"elsewhere": "wrong", "cannot": "failed"}
    assert "differs from the reference's by" in table.reason["elsewhere"]
    assert table.reason["elsewhere"].endswith("after it was launched many times")
    assert "TypeError" in table.reason["cannot"]
    assert table.time_s.isna().all()


@pytest.mark.parametrize("name", INTO_G)
def test_a_product_of_matrices_is_written_into_a_dense_g(name):
    problem = Problem.draw(get_kernel(name).operator, ConvShape(3, 17, 9, 6, batch=2), np.random.default_rng(0))
    get_kernel(name).bind(problem)()
    assert Reference(problem.operator, problem.shape, problem.F, problem.weights).error(problem.G) <= 1


@pytest.mark.parametrize("name", [name for name in PEERS if name not in INTO_G])
def test_a_launch_of_the_others_leaves_g_alone(name):
    """Copying into G is no part of what is timed."""
    problem = Problem.draw(get_kernel(name).operator, ConvShape(3, 17, 9, 6, batch=2), np.random.default_rng(0))
    get_kernel(name).bind(problem)()
    assert np.isnan(problem.G).all()


@pytest.mark.parametrize("name", PEERS)
def test_read_only_arrays_are_as_good(name):
    kernel, shape = get_kernel(name), ConvShape(3, 5, 6, 4)
    rng = np.random.default_rng(3)
    F, *weights = (
        rng.standard_normal(of, np.float32) for of in (kernel.operator.F_shape(shape), *kernel.operator.weight_shapes(shape))
    )
    for array in (F, *weights):
        array.flags.writeable = False
    assert Reference(kernel.operator, shape, F, tuple(weights)).error(kernel(F, *weights)) <= 1


@pytest.mark.parametrize("name", [name for name in PEERS if ".torch" in name])
def test_torch_keeps_no_record_for_gradients(name):
    problem = Problem.draw(get_kernel(name).operator, ConvShape(3, 4, 4, 5), np.random.default_rng(0))
    given = get_kernel(name).bind(problem)()
    assert not given.requires_grad
    assert given.grad_fn is None


THREADS = """
import sys, time
import numba, numpy as np
from sepconv_bench import ConvShape, Problem, get_kernel
from sepconv_bench.measure.clocks import wait_for_idle_pools
from sepconv_bench.kernels.peers import onnxruntime as adapter

if sys.argv[2] == "left alone":
    adapter._WAITING.clear()
numba.set_num_threads(int(sys.argv[3]))
name = sys.argv[1]
work = get_kernel(name).bind(Problem.draw(name.split(".")[1], ConvShape(3, 64, 64, 28), np.random.default_rng(0)))
work()
shares = []
for _ in range(15):
    for _ in range(20):
        work()
    wait_for_idle_pools()
    everyone, mine = time.process_time(), time.thread_time()
    wait_for_idle_pools(0.02)
    shares.append(((time.process_time() - everyone) - (time.thread_time() - mine)) / 0.02)
busy, start = time.process_time(), time.perf_counter()
while time.perf_counter() - start < 0.3:
    work()
cores = (time.process_time() - busy) / (time.perf_counter() - start)
print(sorted(shares)[len(shares) // 2], cores)
"""


def pools(name: str, threads: int, waiting: str = "as we do") -> tuple[float, float]:
    """CPU time of the process's other threads once a kernel has finished, as a share of the time; cores it uses at work."""
    command = [sys.executable, "-c", THREADS, name, waiting, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | pool_environment(2), check=True)
    idle, cores = done.stdout.split()
    return float(idle), float(cores)


@pytest.mark.parametrize(
    "name",
    ["cpu.standard.torch", "cpu.standard.onnxruntime", "cpu.standard.openvino", "cpu.standard.xnnpack", "cpu.standard.ncnn"],
)
def test_an_idle_pool_sleeps_while_others_are_timed(name):
    assert pools(name, 2)[0] < 0.05


def test_left_alone_onnxruntimes_pool_does_spin():
    """The control: without it the test above might look in the wrong place."""
    assert pools("cpu.standard.onnxruntime", 2, "left alone")[0] > 0.15


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "name", ["cpu.standard.torch", "cpu.pointwise.torch-matmul", "cpu.standard.onnxruntime", "cpu.standard.openvino"]
)
def test_it_runs_on_as_many_threads_as_numba(name):
    assert pools(name, 1)[1] < 1.1


def test_a_peer_installed_since_is_no_other_machine(tmp_path):
    settings = Settings(Grid("test", "", (ConvShape(3, 2, 2, 3),)), "cpu.*.numpy", rules=Rules(0.5, 1))
    sweep(settings, lambda: store.create(tmp_path), lambda step: None)

    def change(**versions: str) -> None:
        with sqlite3.connect(tmp_path / store.FILE_NAME) as connection:
            connection.execute("UPDATE runs SET machine = json_set(machine, '$.versions', json(?))", (json.dumps(versions),))
        connection.close()

    lines = []
    change(numpy=np.__version__)
    sweep(settings, lambda: store.open_results(tmp_path, write=True), lambda step: lines.append(step.line))
    assert lines == ["all 1 cells are there already; nothing to measure"]
    change(numpy=np.__version__, torch="1.0")
    with pytest.raises(ResultsError, match=r"was measured with versions .*'torch': '1\.0'"):
        sweep(settings, lambda: store.open_results(tmp_path, write=True), lambda step: None)
