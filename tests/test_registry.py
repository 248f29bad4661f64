"""Names, patterns, and kernels that come from outside: by decorator, by file, by entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sepconv_bench import KernelError, get_kernel, kernel, kernel_names
from sepconv_bench.kernels import registry
from sepconv_bench.model.operators import OPERATORS, STANDARD

ZEROS = """
from sepconv_bench import kernel

@kernel('cpu.pointwise.zeros')
def zeros(problem):
    return lambda: problem.G.fill(0)
"""


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_names()
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))


WINOGRAD = ("cpu.standard.winograd-2x2", "cpu.standard.winograd-4x4")
FACTS = ("cpu.separable.fused", "cpu.separable.tiled", "cpu.standard.numpy")


def always_there(operator: str | None = None) -> list[str]:
    return [name for name in kernel_names(operator) if not get_kernel(name).needs]


def test_every_operator_has_its_rungs_and_the_peer():
    rungs = [f"cpu.{o}.{v}" for v in ("loops", "parallel", "tiled") for o in OPERATORS]
    assert always_there() == [*rungs, "cpu.separable.fused", *WINOGRAD, *(f"cpu.{o}.numpy" for o in OPERATORS)]
    assert always_there("depthwise") == [f"cpu.depthwise.{v}" for v in ("loops", "parallel", "tiled", "numpy")]
    assert kernel_names(device="cuda") == []


def test_a_name_has_three_parts():
    standard = get_kernel("cpu.standard.loops")
    assert (standard.device, standard.operator, standard.declaration.variant) == ("cpu", STANDARD, "loops")


def test_a_kernel_says_what_it_is():
    fused, two_passes, numpy = (get_kernel(name).declaration for name in FACTS)
    assert (fused.library, fused.passes, fused.standard) == ("ours", ("separable",), "cpu.standard.tiled")
    assert (two_passes.passes, two_passes.standard) == (("depthwise", "pointwise"), "cpu.standard.tiled")
    assert (numpy.library, numpy.is_peer, numpy.algorithm) == ("numpy", True, "im2col")
    assert not fused.is_peer


def test_a_plug_in_declares_one_pass_whatever_it_is_called():
    @kernel("cpu.separable.in-one-go", passes=("separable",), like="tiled", library="acme")
    def in_one_go(problem):
        return lambda: None

    declaration = in_one_go.declaration
    assert (declaration.passes, declaration.standard, declaration.is_peer) == (("separable",), "cpu.standard.tiled", True)

    @kernel("cpu.separable.plain")
    def plain(problem):
        return lambda: None

    assert (plain.declaration.library, plain.declaration.is_peer) == ("user", False)
    assert plain.declaration.passes == ("depthwise", "pointwise")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"passes": ("pointwise",)}, r"passes of cpu\.separable\.odd are \('pointwise',\); separable is computed in "),
        ({"passes": ["depthwise", "pointwise"]}, "passes of"),
        ({"algorithm": "magic"}, "what cpu.separable.odd declares does not fit"),
        ({"like": "a b"}, "what cpu.separable.odd declares does not fit"),
        ({"library": None}, "what cpu.separable.odd declares does not fit"),
    ],
)
def test_what_cannot_be_declared_is_refused(given, message):
    with pytest.raises(KernelError, match=message):
        kernel("cpu.separable.odd", **given)(lambda problem: None)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("cpu.standard.loops", ["cpu.standard.loops"]),
        ("cpu.*.numpy", [f"cpu.{operator}.numpy" for operator in OPERATORS]),
        ("cpu.pointwise.[lp]*, cpu.pointwise.numpy", ["cpu.pointwise.loops", "cpu.pointwise.parallel", "cpu.pointwise.numpy"]),
        ("*.separable.l*", ["cpu.separable.loops"]),
    ],
)
def test_patterns_select(patterns, names):
    assert registry.select(patterns) == names


def test_what_is_not_there_lists_what_is():
    for ask in (lambda: get_kernel("cpu.standard.nosuch"), lambda: registry.select("cpu.*.numpy,nosuch")):
        with pytest.raises(KernelError, match=r"nosuch.*there are cpu\.standard\.loops, "):
            ask()
    with pytest.raises(KernelError, match="no operator is named 'conv'; there are standard"):
        kernel_names(operator="conv")
    with pytest.raises(KernelError, match="no device is named 'tpu'; there are cpu, cuda"):
        kernel_names(device="tpu")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "loops",
        "cpu.standard",
        "cpu.conv.mine",
        "tpu.standard.mine",
        "cpu.standard.a b",
        "cpu.standard.",
        "cpu.standard." + "x" * 65,
        3,
    ],
)
def test_a_name_that_does_not_fit_is_refused(name):
    with pytest.raises(KernelError, match=r"cannot name a kernel; a name is <device>\.<operator>\.<variant>"):
        kernel(name)(lambda problem: None)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(KernelError, match=r"'cpu\.standard\.loops' is registered already"):
        kernel("cpu.standard.loops")(lambda problem: None)


def test_a_decorated_function_is_a_kernel_with_the_checked_call():
    @kernel("cpu.pointwise.twice", supports=lambda shape: "odd N" if shape.N % 2 else None)
    def twice(problem):
        return lambda: np.matmul(problem.F, 2 * problem.K_tilde, out=problem.G)

    assert "cpu.pointwise.twice" in kernel_names(operator="pointwise")
    F = np.ones((3, 3, 2), np.float32)
    assert (twice(F, np.ones((2, 4), np.float32)) == 4).all()
    with pytest.raises(KernelError, match=r"cpu\.pointwise\.twice does not take D_K=1 M=2 N=3 D_G=3: odd N"):
        twice(F, np.ones((2, 3), np.float32))


def test_what_a_launch_returns_is_unpacked_into_g():
    @kernel("cpu.pointwise.elsewhere", unpack=lambda given, G: np.copyto(G, given.T.reshape(G.shape)))
    def elsewhere(problem):
        return lambda: problem.K_tilde.T @ problem.F.reshape(-1, problem.shape.M).T

    F, K_tilde = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)[:, :, :2], np.ones((4, 5), np.float32)
    halo = np.full((1, 4, 4, 5), np.float32(-1))
    elsewhere(F, K_tilde, out=halo[:, 1:3, 1:3])
    np.testing.assert_array_equal(halo[:, 1:3, 1:3], F @ K_tilde)
    assert halo.sum() == (F @ K_tilde).sum() - 12 * 5


def test_a_plugin_file_registers_its_kernels(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(ZEROS)
    assert registry.load_plugin(file) == ["cpu.pointwise.zeros"]
    assert (get_kernel("cpu.pointwise.zeros")(np.ones((2, 2, 1), np.float32), np.ones((1, 1), np.float32)) == 0).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def broken(:\n", "does not load: SyntaxError"),
        ("import no_such_module_anywhere\n", "does not load: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise RuntimeError('one\\ntwo')\n", "does not load: RuntimeError: one"),
        ("import sys\nsys.exit()\n", "does not load: SystemExit"),
        ("x = 1\n", "registers no kernel"),
        (ZEROS.replace("zeros'", "numpy'"), "is registered already"),
        (ZEROS.replace("pointwise", "conv"), "cannot name a kernel"),
    ],
)
def test_a_plugin_file_that_does_not_work_says_why_in_one_line(tmp_path: Path, text: str, expected: str):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(KernelError) as refused:
        registry.load_plugin(file)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_plugin_file_that_is_not_there(tmp_path: Path):
    for path in (tmp_path / "nosuch.py", tmp_path):
        with pytest.raises(KernelError, match="there is no plug-in file"):
            registry.load_plugin(path)


def test_a_plugin_is_a_python_file(tmp_path: Path):
    (tmp_path / "mine.txt").write_text(ZEROS)
    with pytest.raises(KernelError, match=r"mine\.txt' is not a Python file; a plug-in is a \.py file"):
        registry.load_plugin(tmp_path / "mine.txt")


def _in_a_process_with_an_entry_point(folder: Path, module: str) -> subprocess.CompletedProcess:
    """A package with an entry point is a module and a folder of metadata on the path: what pip would install."""
    (folder / "their_kernels.py").write_text(module)
    metadata = folder / "their_kernels-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-kernels\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sepconv_bench.kernels]\ntheirs = their_kernels\n")
    code = "import sepconv_bench; print(*sepconv_bench.kernel_names(operator='pointwise'))"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_an_entry_point_brings_its_kernels(tmp_path: Path):
    done = _in_a_process_with_an_entry_point(tmp_path, ZEROS)
    assert done.stdout.split()[-1] == "cpu.pointwise.zeros", done.stderr


def test_an_entry_point_that_does_not_load_is_named(tmp_path: Path):
    done = _in_a_process_with_an_entry_point(tmp_path, "1 / 0\n")
    assert "entry point theirs = their_kernels does not load: ZeroDivisionError" in done.stderr
