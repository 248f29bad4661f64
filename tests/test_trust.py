"""What comes from outside is refused or taken, and never trusted: random input, markup, pickles, names of revisions, sizes."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import sqlite3
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from sepconv_bench import ConvShape, KernelError, Problem, ShapeError, kernel, kernel_names
from sepconv_bench.errors import InputError
from sepconv_bench.kernels import registry
from sepconv_bench.model.declaration import USER, Declaration
from sepconv_bench.model.networks import mobilenet_v1
from sepconv_bench.model.operators import POINTWISE
from sepconv_bench.model.reference import Reference, reference_bytes
from sepconv_bench.network.image import read_image
from sepconv_bench.network.weights import folded, read_weights
from sepconv_bench.report.history import write_history
from sepconv_bench.report.ladder import ladder, markdown
from sepconv_bench.results import store, tables
from sepconv_bench.results.history import read as read_history
from sepconv_bench.results.records import CellMeasured, Outcome, plain
from sepconv_bench.run.revision import commit_of

EVIL = "<script>alert(1)</script> $\\frac{ | `x` \x1b[2J --> 字"


def _experiment(name: str) -> ModuleType:
    file = Path(__file__).parents[1] / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZ = _experiment("fuzz")
A_FEW = {"results": 20, "values": 15, "asv_report": 3, "report": 3}


@pytest.mark.parametrize("target", FUZZ.COUNTS)
def test_random_input_is_taken_or_refused_in_one_line(target, everything, svg_alone):
    """A few of what experiments/fuzz.py does a hundred thousand times."""
    count = A_FEW.get(target, 100) // (1 if everything else 3)
    outcomes, odd, _ = FUZZ.driven(target, count, seed=1)
    assert odd == {}
    assert outcomes["taken"] + outcomes["refused"] == count


def test_the_fuzzer_sees_a_fault(monkeypatch, tmp_path):
    monkeypatch.setitem(FUZZ.TARGETS, "shapes", lambda: lambda rng: 1 / rng.randrange(2))
    monkeypatch.setenv("FUZZ_PROGRESS", str(tmp_path / "progress"))
    told = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", told)
    FUZZ.fuzz("shapes", 0, 20, seed=0)
    outcomes, odd = json.loads(told.getvalue())
    assert outcomes["fault"] > 0
    assert "ZeroDivisionError" in " ".join(odd)


# ---------------------------------------------------------------------------------------------- kernels of others


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_names()
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))


HALF = """
from sepconv_bench import kernel

@kernel("cpu.pointwise.half")
def half(problem):
    return lambda: problem.G.fill(0)

raise RuntimeError("half way")
"""


@pytest.mark.usefixtures("own_registry")
def test_a_plugin_that_fails_half_way_leaves_nothing_and_can_be_mended(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(HALF)
    for _ in range(2):  # the second time it must say the same, and not that the name is taken
        with pytest.raises(KernelError, match="half way"):
            registry.load_plugin(file)
        assert "cpu.pointwise.half" not in kernel_names()
    assert not [name for name in sys.modules if name.startswith("sepconv_bench_plugin_")]
    file.write_text(HALF.replace("raise", "# raise"))
    assert registry.load_plugin(file) == ["cpu.pointwise.half"]


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    "text",
    [
        "class Own(BaseException):\n    pass\nraise Own('no')",
        "class Untold(Exception):\n    def __str__(self):\n        raise ValueError\nraise Untold",
        "from sepconv_bench import kernel\nkernel('cpu.pointwise.x')(3)",
        "from sepconv_bench import kernel\nkernel('cpu.pointwise.x', supports=3)(print)",
        "from sepconv_bench import kernel\nkernel('cpu.pointwise.x', needs='torch')(print)",
    ],
)
def test_whatever_a_plugin_raises_or_registers_is_told_in_one_line(text, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(KernelError) as refused:
        registry.load_plugin(tmp_path / "mine.py")
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("own_registry")
def test_a_kernel_may_need_a_module_of_a_package_that_is_not_there():
    needy = kernel("cpu.pointwise.needy", needs=("no_such_package.module",))(lambda problem: lambda: None)
    assert "no_such_package" in needy.missing


def test_an_entry_point_that_fails_is_told_every_time(tmp_path):
    (tmp_path / "theirs.py").write_text(HALF)
    metadata = tmp_path / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sepconv_bench.kernels]\ntheirs = theirs\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import sepconv_bench
for _ in range(3):
    try:
        sepconv_bench.kernel_names()
    except sepconv_bench.KernelError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["entry point theirs = theirs does not load: RuntimeError: half way"] * 3, done.stderr


def test_a_plugin_runs_only_if_it_is_named(tmp_path):
    for name in ("numpy.py", "coverage.py", "sitecustomize.py", "conftest.py", "sepconv_bench_plugin.py"):
        (tmp_path / name).write_text("open('ran', 'w').write(__name__)\n")
    program = Path(sys.executable).with_name("sepconv-bench")
    done = subprocess.run([program, "check", "--kernels", "cpu.pointwise.loops"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("operator", ["standard", "depthwise", "pointwise", "separable"])
@pytest.mark.parametrize("shape", [ConvShape(3, 64, 128, 40), ConvShape(5, 16, 16, 60, stride=2), ConvShape(3, 256, 64, 14)])
def test_what_the_reference_is_said_to_take_is_what_it_takes(operator, shape):
    drawn = Problem.draw(operator, shape, np.random.default_rng(0))
    tracemalloc.start()
    Reference(operator, shape, drawn.F, drawn.weights).error(np.zeros_like(drawn.G))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most <= reference_bytes(operator, shape) < 8 * most


def test_a_copy_that_does_not_fit_is_refused_before_it_is_made():
    shape = ConvShape(1, 1 << 20, 4, 1 << 15)
    F, G = (np.broadcast_to(np.float32(1), each) for each in (POINTWISE.F_shape(shape), POINTWISE.G_shape(shape)))
    drawn = Problem("pointwise", shape, F, (np.broadcast_to(np.float32(1), (shape.M, shape.N)),), G)
    with pytest.raises(ShapeError, match=r"a copy of the arrays of pointwise on D_K=1 .* need 4,194,\d+\.\d\d GiB; .* free"):
        drawn.placed_anew(np.random.default_rng(0))


@pytest.mark.parametrize("batch", ["1000000", "2147483647"])
def test_a_batch_that_does_not_fit_is_refused_with_the_bytes_it_needs(batch, door, tmp_path):
    done = door("mobilenet", "--batch", batch, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"a batch of {batch}" in done.stderr
    assert "of memory are free" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_array_that_unpacks_beyond_memory_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("conv.weight.npy", bytes(1 << 20))
        parts.filelist[0].file_size = 1 << 42
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"the arrays of .*bomb\.npz need 12,288\.00 GiB; .* of memory are free"):
        read_weights(tmp_path / "bomb.npz")


def test_an_array_whose_header_promises_more_than_there_is_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as parts, parts.open("conv.weight.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with pytest.raises(InputError, match=r"is said to be \(1099511627776,\) of float32"):
        read_weights(tmp_path / "w.npz")


# ---------------------------------------------------------------------------------------------- files of others


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([np.nan], np.float32), "NaN, infinite or beyond float32"),
        (np.array([1e300]), "NaN, infinite or beyond float32"),
        (np.array([1j]), "not real numbers"),
        (np.array(["x"]), "not real numbers"),
        (np.array([1], "m8[s]"), "not real numbers"),
    ],
)
def test_weights_are_numbers(array, told, tmp_path):
    np.savez(tmp_path / "w.npz", **{"conv.weight": array})
    with pytest.raises(InputError, match=told):
        read_weights(tmp_path / "w.npz")


def test_a_variance_below_zero_is_told(tmp_path):
    layer = mobilenet_v1(0.25, 128)[0]
    weights = {"conv.weight": np.ones((8, 3, 3, 3), np.float32)}
    weights |= {f"conv.bn.{part}": -np.ones(8, np.float32) for part in ("weight", "bias", "running_mean", "running_var")}
    with pytest.raises(ShapeError, match="running_var holds -1"):
        folded(weights, "conv", layer)


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_pickle_is_not_opened_wherever_it_lies(tmp_path, monkeypatch, swept):
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", allow_pickle=True, **{"conv.weight": np.array([_Bomb()], object)})
    stored = pickle.dumps(_Bomb())
    Path("raw.npz").write_bytes(stored)
    Path("raw.safetensors").write_bytes(stored)
    Path("picture.png").write_bytes(stored)
    Path(store.FILE_NAME).write_bytes(stored)
    for read in (
        lambda: read_weights(Path("w.npz")),
        lambda: read_weights(Path("raw.npz")),
        lambda: read_weights(Path("raw.safetensors")),
        lambda: read_image(Path("picture.png"), 128),
        lambda: store.open_results(Path()),
    ):
        with pytest.raises(InputError):
            read()
    assert not Path("ran").exists()
    pickle.loads(stored)
    assert Path("ran").exists(), "the control: opened, it does run"


def test_a_picture_that_another_program_would_open_is_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.eps")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_image(tmp_path / "picture.eps", 128)


# ---------------------------------------------------------------------------------------------- markup


def test_names_of_asvs_files_mean_nothing_to_pages_and_figures(tmp_path):
    benchmarks, stored = FUZZ.asv_result()
    evil = json.loads(json.dumps([benchmarks, stored]).replace("tiled / tiled", json.dumps(EVIL)[1:-1]))
    stored = evil[1] | {"env_name": EVIL, "requirements": {EVIL: EVIL}, "params": {"machine": EVIL}}
    (tmp_path / "m").mkdir()
    (tmp_path / "benchmarks.json").write_text(json.dumps(evil[0]))
    for name, date in (("a", 1_700_000_000_000), ("b", 1_700_000_100_000)):
        again = stored | {"date": date, "commit_hash": f"{name} {EVIL}", "env_name": f"{name} {EVIL}"}
        (tmp_path / "m" / f"{name}.json").write_text(json.dumps(again))
    text = write_history(read_history(tmp_path), tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    pictures = list((tmp_path / "out" / "figures").glob("*.svg"))
    assert len(pictures) >= 3
    assert not any("<script" in picture.read_text() for picture in pictures)


def test_half_a_character_is_no_text(tmp_path, swept):
    (tmp_path / "benchmarks.json").write_text('{"version": 2, "\\ud800": {}}')
    with pytest.raises(InputError, match="is not JSON"):
        read_history(tmp_path)
    _changed(swept, tmp_path, 'UPDATE runs SET machine = replace(machine, \'"cpu": "\', \'"cpu": "\\ud800\')')
    with (
        store.open_results(tmp_path) as results,
        pytest.raises(InputError, match=r"machine of run 1 cannot be read"),
    ):
        results.runs()


def test_what_a_kernel_says_in_no_encoding_is_recorded(tmp_path):
    kernel = Declaration("cpu", "standard", "x", USER, ("standard",), "x")
    with store.create(tmp_path) as results:
        results.add_cell(1, CellMeasured(ConvShape(1, 1, 1, 1), (Outcome(kernel, "failed", "\udcff"),)))
        assert results._rows("SELECT reason FROM outcomes") == [("\\udcff",)]


def _changed(swept: Path, folder: Path, statement: str, *values: object) -> None:
    (folder / store.FILE_NAME).write_bytes((swept / store.FILE_NAME).read_bytes())
    with closing(sqlite3.connect(folder / store.FILE_NAME)) as connection, connection:
        connection.execute(statement, values)


def test_a_machine_means_nothing_to_markdown(swept, tmp_path):
    with store.open_results(swept) as results:
        machine = replace(results.runs()[0].machine, cpu=f"{EVIL} <!-- end of ladder -->\n| a |")
    _changed(swept, tmp_path, "UPDATE runs SET machine = ?", json.dumps(plain(machine)))
    with store.open_results(tmp_path) as results:
        told = markdown(ladder(results))
    assert "<" not in told
    assert "\x1b" not in told
    assert "\n| a |" not in told


@pytest.mark.parametrize(
    ("column", "value"),
    [("kernel", "cpu.standard.<b>"), ("kernel", "cpu.standard.a|b"), ("kernel", "x"), ("status", "<b>"), ("compile_s", "x")],
)
def test_an_outcome_that_no_kernel_can_have_is_damage(column, value, swept, tmp_path):
    _changed(swept, tmp_path, f"UPDATE outcomes SET {column} = ? WHERE kernel = 'cpu.standard.loops'", value)
    with store.open_results(tmp_path) as results, pytest.raises(InputError, match=f"is damaged: .*{column}"):
        tables.timings(results)


def test_a_message_holds_nothing_that_a_terminal_obeys(door, tmp_path):
    done = door("report", tmp_path / "a\x1b[2Jb\rc")
    assert done.returncode == 2
    assert done.stderr[:-1].isprintable()
    assert "a\\x1b[2Jb" in done.stderr


# ---------------------------------------------------------------------------------------------- revisions


@pytest.mark.parametrize(
    "name",
    [
        *(
            "--upload-pack=touch ran",
            "-x",
            "--output=ran",
            "HEAD --exec=x",
            "ext::sh -c touch% ran",
            "https://example.org/x.git",
        ),
        *("../other", "/etc", "file:///etc", "HEAD:README.md", "HEAD..HEAD", "", " ", "a\nb", "refs/heads/nosuch", "0" * 40),
    ],
)
def test_a_revision_is_one_of_this_repositorys_commits_or_refused(name, tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    monkeypatch.chdir(tmp_path)
    assert len(commit_of(tmp_path, "HEAD")) == 40
    with pytest.raises(InputError, match="is no revision of"):
        commit_of(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == [".git"]
