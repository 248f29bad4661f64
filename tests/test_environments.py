"""Real environments: what public bug reports of such tools describe, tried here. docs/environments.md is the log."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

import sepconv_bench as sb
from sepconv_bench import git
from sepconv_bench.cli import program
from sepconv_bench.errors import InputError, ResultsError, ShapeError
from sepconv_bench.kernels.peers.xnnpack import Graph
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.measure import doctor, machine
from sepconv_bench.measure.environment import refuse_environment
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.networks import mobilenet_v1
from sepconv_bench.model.operators import SEPARABLE
from sepconv_bench.model.scanned import NotCovered
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.image import read_image
from sepconv_bench.network.readers import read
from sepconv_bench.network.weights import convolutions, folded, random_weights, read_weights
from sepconv_bench.results import store
from sepconv_bench.run import checking, protocol, revision, worker
from sepconv_bench.run.kernel_process import WorkerSettings

ROOT = Path(__file__).parents[1]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 16\n"


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100, check=False, env=given)


def test_the_log_names_tests_that_there_are():
    log = (ROOT / "docs" / "environments.md").read_text()
    rows = [row.split(" | ") for row in log.splitlines() if row.startswith("| ") and not row.startswith("| source")]
    assert len(rows) >= 20
    for *_, test in rows:
        for file, name in re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", test):
            assert f"def {name}(" in (Path(__file__).parent / (file or Path(__file__).name)).read_text(), name
        assert re.search(r"`test_|the same|by hand", test), test


# ---------------------------------------------------------------------------------------- the environment


@pytest.mark.parametrize("setting", ["OMP_THREAD_LIMIT=1", "OMP_DYNAMIC=true", "OMP_DYNAMIC=TRUE"])
def test_a_setting_by_which_fewer_threads_run_than_are_reported_is_refused(setting):
    name, _, value = setting.partition("=")
    with pytest.raises(InputError, match=rf"{name} is '{value}' in the environment: .* than are reported"):
        refuse_environment({name: value})
    refuse_environment({"OMP_DYNAMIC": "false", "OMP_THREAD_LIMIT": ""})


def test_a_threading_layer_that_is_not_there_is_one_line(door, monkeypatch):
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "nosuch")
    done = door("check", "--kernels", "cpu.pointwise.numpy")
    assert done.returncode == 2
    assert done.stderr.startswith("sepconv-bench: NUMBA_THREADING_LAYER is 'nosuch' in the environment, and Numba refuses: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("backend", ["module://no_such_package.backend_inline", "no such backend"])
def test_the_backend_of_a_notebook_that_this_python_lacks_is_no_obstacle(backend):
    """As in a cell that calls `!sepconv-bench report`."""
    words = "from sepconv_bench.cli import main; main(['list']); import sepconv_bench.report.drawn"
    done = python("-c", words, MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr


def test_without_docstrings_and_asserts_it_runs():
    done = python("-m", "sepconv_bench", "list", PYTHONOPTIMIZE="2")
    assert done.returncode == 0, done.stderr
    assert "cpu.separable.fused" in done.stdout


def test_a_checkout_that_is_not_installed_has_no_version_and_no_traceback(monkeypatch):
    assert program._version()[0].isdigit()
    monkeypatch.setattr(program, "PROGRAM", "no-such-distribution")
    assert program._version() == "of a checkout that is not installed"
    monkeypatch.setattr(machine, "_PACKAGES", ("no-such-distribution", "numpy"))
    assert machine._versions(["nor-this"]) == {"numpy": np.__version__}


def test_a_wheel_holds_every_file_that_is_no_module():
    (globs,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"].values()
    package = ROOT / "sepconv_bench"
    held = {path for glob in globs for path in package.glob(glob)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there - held == set()
    assert {path.parent for path in package.rglob("*.py")} == {path.parent for path in package.rglob("__init__.py")}


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_a_worker_starts_where_standard_error_is_no_file_and_from_any_thread(stream, monkeypatch):
    """A notebook's streams are objects, and a dashboard's code does not run in the main thread."""
    found: list[checking.CheckResult] = []
    monkeypatch.setattr(sys, "stderr", stream)
    settings = WorkerSettings(kernels="cpu.pointwise.numpy")
    thread = threading.Thread(target=lambda: found.extend(checking.check(settings, [ConvShape(1, 2, 3, 4)])))
    thread.start()
    thread.join()
    assert [one.outcome.status for one in found] == ["ok"]


def test_a_clock_that_is_set_back_makes_no_negative_time(monkeypatch):
    process = worker._Worker(lambda name: None)
    days = iter(range(1000, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 86400.0 * next(days))
    rules = Rules(target=0.5, seconds=1)
    names = ("cpu.pointwise.numpy", "cpu.separable.numpy")
    cell = process.answer(protocol.MeasureCell(ConvShape(1, 2, 3, 4), names, rules, seed=0))
    assert isinstance(cell, protocol.CellTimed)
    assert 0 < cell.cell.seconds < 60


# ---------------------------------------------------------------------------------------- git


def git_in(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=git.environment()).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of something that looks like this package's source."""
    folder = tmp_path / "repository"
    (folder / "sepconv_bench").mkdir(parents=True)
    git_in(tmp_path, "init", "--quiet", str(folder))
    for text in ("one", "two"):
        (folder / "sepconv_bench" / "__init__.py").write_text(f"# {text}\n")
        git_in(folder, "add", ".")
        git_in(folder, "commit", "--quiet", "-m", text)
    git_in(folder, "tag", "first", "HEAD~1")
    return folder


def test_a_hook_of_another_repository_does_not_answer_for_ours(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    git_in(tmp_path, "init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git.said(repository, "rev-parse", "HEAD") == git_in(repository, "rev-parse", "HEAD")
    monkeypatch.chdir(repository)
    assert revision.repository() == repository.resolve()
    assert revision.commit_of(repository, "first") == git_in(repository, "rev-parse", "HEAD~1")


def test_a_checkout_of_another_user_is_told_with_what_helps(repository, monkeypatch, door):
    assert not git.owned_by_another(repository)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own, for its tests
    assert git.owned_by_another(repository)
    done = door("ab", "HEAD", cwd=repository)
    assert done.returncode == 2
    assert "belongs to another user" in done.stderr
    assert "git config --global --add safe.directory" in done.stderr
    assert done.stderr.count("\n") == 1
    monkeypatch.setattr(doctor, "__file__", str(repository / "sepconv_bench" / "measure" / "doctor.py"))
    finding = doctor._versioned()
    assert finding is not None
    assert not finding.good
    assert "results do not know their commit" in finding.says


def test_a_shallow_checkout_knows_its_commit_and_says_why_it_knows_no_other(repository, tmp_path):
    shallow = tmp_path / "shallow"
    git_in(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repository}", str(shallow))
    assert revision.commit_of(shallow, "HEAD") == git_in(repository, "rev-parse", "HEAD")
    with pytest.raises(InputError, match=r"'first' is no revision of .*shallow, and `git fetch --unshallow` brings"):
        revision.commit_of(shallow, "first")
    with pytest.raises(InputError, match=r"'nosuch' is no revision of .* or a commit$"):
        revision.commit_of(repository, "nosuch")


# ---------------------------------------------------------------------------------------- folders


def test_a_file_system_without_locks_is_not_taken_for_a_second_run(tmp_path, monkeypatch):
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(ResultsError, match=r"cannot be locked: No locks available; choose an --output on a local disk"),
        store.claimed(tmp_path / "out"),
    ):
        pass


def test_a_file_in_place_of_a_folder_is_told(committed):
    with pytest.raises(ResultsError, match=r"results\.sqlite is a file; results are read by the name of the folder"):
        sb.load(committed / "results.sqlite")


# ---------------------------------------------------------------------------------------- models


def convolution(
    taken: tuple = (1, 3, 8, 8), K: tuple = (4, 3, 3, 3), kind: int = TensorProto.FLOAT, opset: int = 18, **said: object
):
    """An ONNX model of one convolution."""
    bytes_each = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2}[kind]
    weight = helper.make_tensor("w", kind, K, bytes(bytes_each * int(np.prod(K))), raw=True)
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name, shape in (("x", taken), ("y", None)))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], "conv", **said)], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(*words: object, **said: object) -> Path:
        path = tmp_path / "m.onnx"
        path.write_bytes(convolution(*words, **said).SerializeToString())
        return path

    return save


@pytest.mark.parametrize("group", [0, -1, -3, 2, 5])
def test_groups_that_do_not_fit_are_no_convolution(group, saved, committed):
    path = saved(group=group)
    (layer,) = read(path).layers
    assert layer == NotCovered("conv", "Conv", f"no convolution: {group} groups, 3 -> 4 channels, 3 in a group")
    assert "not covered: no convolution" in str(sb.scan(path, results=committed))


@pytest.mark.parametrize("channels", [3, 9])
def test_groups_that_do_not_fit_are_none_in_a_tflite_file_either(channels, tmp_path):
    path, there = tmp_path / "m.tflite", struct.pack("<4i", 16, 1, 1, 8)
    problem, graph = Problem.draw(SEPARABLE, ConvShape(3, 8, 16, 10), np.random.default_rng(0)), Graph()
    x = graph.tensor(problem.F.shape)
    data = graph.between(x, graph.convolutions(x, problem.convolutions))
    assert data.count(there) == 1  # the sizes of the pointwise weights
    path.write_bytes(data.replace(there, struct.pack("<4i", 16, 1, 1, channels)))
    (told,) = (layer for layer in read(path).layers if isinstance(layer, NotCovered))
    assert told.reason == f"no convolution: 8 -> 16 channels, {channels} in a window"


@pytest.mark.parametrize(
    "words",
    [{"opset": 99}, {"kind": TensorProto.BFLOAT16, "opset": 22}, {"kind": TensorProto.FLOAT16}, {"taken": (0, 3, 8, 8)}],
    ids=["an opset to come", "bfloat16", "float16", "a batch of 0"],
)
def test_what_does_not_matter_to_sizes_does_not_matter(words, saved):
    (layer,) = read(saved(**words)).convolutions
    assert (layer.batch, layer.in_channels, layer.out_channels, layer.output) == (1, 3, 4, (6, 6))


@pytest.mark.parametrize("words", [{"K": (0, 3, 3, 3)}, {"K": (4, 3, 0, 3)}, {"strides": [0, 0]}, {"taken": (1, 3, 2, 2)}])
def test_a_layer_without_pixels_or_weights_is_not_covered(words, saved):
    (layer,) = read(saved(**words)).layers
    assert isinstance(layer, NotCovered)


def test_sizes_beyond_64_bits_have_times(saved, committed):
    assert "not covered" not in str(sb.scan(saved((1, 3, 2**31, 2**31)), results=committed)).partition("\n\n")[2]
    assert "believe it less" in str(sb.explain(ConvShape(3, 64, 128, 10**9), committed))


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite", "m.safetensors", "m.npz", "m.jpg"])
def test_a_pointer_of_git_lfs_is_told_as_what_it_is(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(POINTER)
    with pytest.raises(InputError, match=r"is a pointer of Git LFS, not the file itself; `git lfs pull` brings it"):
        {"s": read_weights, "z": read_weights, "g": lambda one: read_image(one, 128)}.get(name[-1], read)(path)


@pytest.mark.parametrize("text", ["import sys\nsys.exit(3)", "import sys\ndef Net(): sys.exit(3)"])
def test_a_script_that_exits_when_it_is_imported_is_one_line(text, tmp_path, monkeypatch, door):
    (tmp_path / "a_script_that_exits.py").write_text(text)
    done = door("scan", "a_script_that_exits:Net", cwd=tmp_path)
    sys.modules.pop("a_script_that_exits", None)
    assert done.returncode == 2
    assert "SystemExit: 3" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_a_users_code_prints_is_not_in_the_table(tmp_path, door, committed):
    (tmp_path / "a_chatty_one.py").write_text("print('hello')\nfrom torch import nn\nNet = lambda: nn.Conv2d(3, 4, 3)\n")
    done = door("scan", "a_chatty_one:Net", "--format", "csv", "--from", committed, cwd=tmp_path)
    sys.modules.pop("a_chatty_one", None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("layer,")
    assert "hello" in done.stderr


# ---------------------------------------------------------------------------------------- weights


LAYERS = mobilenet_v1(0.25, 128)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights(LAYERS)


@pytest.mark.parametrize("wrapper", ["module.", "model.", "module.model."])
def test_what_a_wrapper_puts_before_all_names_is_left_out(wrapper, weights, tmp_path):
    save_file(
        {f"{wrapper}{name}": array for name, array in weights.items()} | {"epoch": np.zeros(1)}, tmp_path / "w.safetensors"
    )
    found = read_weights(tmp_path / "w.safetensors")
    assert found.keys() == weights.keys()
    assert np.array_equal(found["conv.weight"], weights["conv.weight"])


def test_half_precision_is_read_as_what_it_is(weights, tmp_path):
    half = {name: torch.tensor(array).bfloat16() for name, array in weights.items()}
    save_torch_file(half, tmp_path / "w.SAFETENSORS")
    found = read_weights(tmp_path / "w.SAFETENSORS")
    assert all(np.array_equal(found[name], half[name].float().numpy()) for name in weights)
    np.savez(tmp_path / "w.npz", **{name: array.astype(">f2") for name, array in weights.items()})
    (first, *_) = convolutions(LAYERS, read_weights(tmp_path / "w.npz"))
    np.testing.assert_array_equal(first.weight, weights["conv.weight"].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("given", "used"), [(None, 1e-5), (1e-3, 1e-3)])
def test_a_batch_norm_may_bring_its_epsilon(given, used):
    norm = {"weight": np.ones(8), "bias": np.zeros(8), "running_mean": np.zeros(8), "running_var": np.full(8, 1e-3)}
    named = {f"conv.bn.{part}": array for part, array in norm.items()} | ({"conv.bn.eps": np.array(given)} if given else {})
    K, _ = folded({"conv.weight": np.ones((8, 3, 3, 3)), **named}, "conv", LAYERS[0])
    np.testing.assert_allclose(K, 1 / np.sqrt(1e-3 + used), rtol=1e-6)
    with pytest.raises(ShapeError, match=r"conv\.bn\.eps is 0\.0; it must be one number above 0"):
        folded({"conv.weight": np.ones((8, 3, 3, 3)), **named, "conv.bn.eps": np.array(0.0)}, "conv", LAYERS[0])


def test_a_background_class_is_told_and_other_names_are_shown(weights):
    last = len(LAYERS) - 1
    more = {**weights, "classifier.weight": np.zeros((1001, 256)), "classifier.bias": np.zeros(1001)}
    with pytest.raises(ShapeError, match=r"leave out the first class, TensorFlow's background"):
        folded(more, "classifier", LAYERS[last])
    with pytest.raises(ShapeError, match=r"there is no conv\.weight, .*; the names are conv_stem\.weight, bn1\.weight$"):
        folded({"conv_stem.weight": np.ones(1), "bn1.weight": np.ones(1)}, "conv", LAYERS[0])


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
def test_a_file_of_torch_is_refused_with_what_converts_it(suffix, weights, tmp_path):
    path = tmp_path / f"w.{suffix}"
    torch.save({name: torch.tensor(array) for name, array in weights.items()}, path)
    with pytest.raises(InputError) as told:
        read_weights(path)
    line = str(told.value).split("`")[1].replace("FILE", repr(str(path))).replace("'weights", f"'{tmp_path}/weights")
    exec(f"import torch, safetensors.torch\n{line}")  # what it says is what works
    assert read_weights(tmp_path / "weights.safetensors").keys() == weights.keys()
