"""The door: every command works, every wrong word gets one clear line and exit code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

from sepconv_bench import gpu
from sepconv_bench.measure.environment import refuse_environment
from sepconv_bench.results import store, tables

OWN_KERNEL = Path(__file__).parents[1] / "docs" / "own-kernel.md"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run --D_K 3,x", "--D_K '3,x' is not understood"),
        ("run --D_K 0", "D_K is 0"),
        ("check --kernels cuda.*.torch --device cpu", "no kernel of cpu" if gpu.missing() is None else "CUDA finds none here"),
        ("run --N 16:8:x2", "does not lead from its first to its last size"),
        ("run --N 16:64:x1", "does not lead from its first to its last size"),
        ("run --N 1:2000000000:+1", "at most"),
        ("run --N 1:90000:+1 --M 1:90000:+1", "cells"),
        ("run --N 99999999999999999999", "not understood"),
        ("run --grid nosuch", "no grid is named 'nosuch'"),
        ("run --grid smoke --M 4", "--grid smoke came together with --M"),
        ("run --kernels cpu.*.nosuch --grid smoke --output {tmp}", "no kernel matches 'cpu.*.nosuch'"),
        ("run --kernels , --grid smoke --output {tmp}", "no kernel matches"),
        ("run --plugin nosuch.py --grid smoke --output {tmp}", "there is no plug-in file"),
        ("run --plugin {tmp} --grid smoke --output {tmp}", "there is no plug-in file"),
        ("run --threads 0", "0 is not in the range"),
        ("run --threads 1000 --grid smoke", "1000 threads are too many for the "),
        ("run --threads two", "'two' is not a valid integer"),
        ("run --target 0", "--target"),
        ("run --target nan", "--target"),
        ("run --time-limit -1", "--time-limit"),
        ("run --time-limit inf", "--time-limit"),
        ("run --timeout nan", "--timeout"),
        ("run --seed -1", "--seed"),
        ("run --nosuch", "--nosuch"),
        ("run --output=", "the folder's name is empty"),
        ("list --plugin {tmp}/file", "is not a Python file"),
        ("run extra", "extra"),
        ("run --output {tmp}/file/below --grid smoke", "cannot be used for results"),
        ("report", "DIR"),
        ("report {tmp}/nosuch", "there is no results.sqlite"),
        ("export {tmp} --table nosuch", "'nosuch'"),
        ("export {tmp} --format nosuch", "'nosuch'"),
        ("export {tmp}", "there is no results.sqlite"),
        ("check --kernels nosuch", "no kernel matches"),
        ("list --plugin nosuch.py", "there is no plug-in file"),
        ("machine --threads -3", "--threads"),
        ("nosuch", "nosuch"),
    ],
)
def test_wrong_words_get_one_line_and_exit_code_2(arguments, told, tmp_path, door, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    done = door(*(word.format(tmp=tmp_path) for word in arguments.split()))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("sepconv-bench: ")
    assert told in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"], "nothing is left behind"


@pytest.mark.parametrize("arguments", ["nosuch", "run --kernels cpu.*.nosuch --grid smoke"])
def test_so_does_the_process(arguments, sepconv, tmp_path):
    done = sepconv(*arguments.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize("setting", ["NUMBA_DISABLE_JIT=1", "NUMBA_BOUNDSCHECK=1", "NUMBA_OPT=0", "NUMBA_DEBUGINFO=1"])
def test_a_setting_under_which_no_time_means_anything_is_refused(setting, tmp_path, door, monkeypatch):
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    for words in (
        ("run", "--grid", "smoke", "--output", tmp_path / "out"),
        ("machine",),
        ("mobilenet", "--output", tmp_path / "out"),
    ):
        done = door(*words)
        assert done.returncode == 2
        assert done.stderr.startswith(f"sepconv-bench: {name} is '{value}' in the environment: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(name, "3" if name == "NUMBA_OPT" else "0")
    refuse_environment()


@pytest.mark.skipif(gpu.missing() is None, reason="there is a GPU here")
@pytest.mark.parametrize("arguments", ["run --grid gpu --output {tmp}", "mobilenet --output {tmp}", "check", "machine"])
def test_without_a_gpu_that_is_said_and_nothing_is_written(arguments, tmp_path, door):
    done = door(*arguments.format(tmp=tmp_path / "out").split(), "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr == "sepconv-bench: CUDA kernels are for an NVIDIA GPU, and CUDA finds none here\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", ["run --device cuda --grid smoke", "mobilenet --device cuda"])
def test_the_simulator_is_never_timed(arguments, tmp_path, sepconv, monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    done = sepconv(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert "what runs in the simulator is checked, never timed" in done.stderr


def test_export_into_a_folder_that_is_not_there(swept, door, tmp_path):
    done = door("export", swept, "--output", tmp_path / "nosuch" / "table.csv")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_export_onto_a_full_disk(swept, door):
    done = door("export", swept, "--output", "/dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr


def test_more_threads_than_cores_still_run(door, tmp_path):
    kernels = "cpu.separable.tiled,cpu.separable.numpy"
    sizes = ("--M", "2", "--N", "2", "--D_G", "3")
    done = door("run", *sizes, "--kernels", kernels, "--threads", "7", *QUICK, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    with store.open_results(tmp_path) as results:
        assert results.runs()[0].machine.threads == 7


def test_help_names_every_command(door):
    told = door("--help").stdout
    for command in ("run", "report", "export", "check", "list", "machine"):
        assert re.search(rf"^  {command}\s+\S", told, re.M)
        assert door(command, "--help").returncode == 0


def test_list_names_kernels_and_grids(door):
    told = door("list").stdout
    for word in (
        "cpu.standard.loops",
        "cpu.separable.parallel",
        "cpu.pointwise.numpy",
        "smoke",
        "default",
        "full",
        "mobilenet",
    ):
        assert word in told


def test_machine_tells_ceilings(door):
    done = door("machine", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^threads +1$", done.stdout, re.M)
    assert re.search(r"^FMA peak +[\d.]+ GFLOP/s", done.stdout, re.M)
    assert len(re.findall(r"^copy +\d+ KiB +[\d.]+ GB/s", done.stdout, re.M)) > 5


def test_check_exits_1_if_a_kernel_is_wrong(door, tmp_path):
    assert door("check", "--kernels", "cpu.pointwise.numpy").returncode == 0
    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        "from sepconv_bench import kernel\n\n"
        "@kernel('cpu.pointwise.zero')\n"
        "def zero(problem):\n    return lambda: problem.G.fill(0)\n"
    )
    done = door("check", "--plugin", plugin, "--kernels", "cpu.pointwise.numpy,cpu.pointwise.zero")
    assert done.returncode == 1
    assert "WRONG  cpu.pointwise.zero" in done.stdout
    assert "right  cpu.pointwise.numpy" in done.stdout


def test_the_documented_plugin_is_checked_timed_and_plotted(door, tmp_path):
    (code,) = re.findall(r"```python\n(# mykernels\.py\n.*?)```", OWN_KERNEL.read_text(), re.S)
    assert code.count("\n") <= 12
    plugin = tmp_path / "mykernels.py"
    plugin.write_text(code)
    (name,) = re.findall(r'@kernel\("(.+?)"\)', code)
    assert door("check", "--plugin", plugin, "--kernels", name).returncode == 0
    done = door(
        *("run", "--plugin", plugin, "--kernels", f"{name},cpu.*.numpy", "--M", "8", "--N", "4,8", "--D_G", "7"),
        *("--time-limit", "0.3", "--target", "0.2", "--output", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    with store.open_results(tmp_path / "out") as results:
        mine = tables.ratios(results).query("separable_kernel == @name")
    assert len(mine) == 2
    assert mine.speedup.gt(0).all()
    assert f'<td class="name">{name}</td>' in (tmp_path / "out" / "index.html").read_text()


def test_a_reader_that_hangs_up_is_no_traceback(swept):
    shell = f"{sys.executable} -m sepconv_bench export {swept} --table samples | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("D_K,M,N,D_G")
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["get_kernel", "kernel", "kernel_names", "ConvShape", "Problem"])
def test_the_package_offers_what_its_documentation_names(name: str):
    import sepconv_bench

    assert getattr(sepconv_bench, name) is not None


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"], ["predict", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]):
    heavy = ["numba", "scipy", "pandas", "matplotlib", "jinja2", "rich", "distributed"]
    code = f"""
import sys
try:
    from sepconv_bench.cli import main
    main({arguments})
finally:
    print("loaded:", [name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_without_a_command_there_is_the_full_help(sepconv):
    done, asked = sepconv(), sepconv("--help")
    assert (done.returncode, done.stdout) == (0, asked.stdout)
    assert "Measure a grid of shapes" in done.stdout
