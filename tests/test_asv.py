"""asv's door: what its settings say, what its benchmarks are, a real run of them, and the pages it publishes of it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sepconv_bench.model.grids import get_grid

asv_config = pytest.importorskip("asv.config", reason="asv is not installed: pip install '.[asv]'")

ROOT = Path(__file__).parents[1]
CONFIGS = ("asv.conf.json", "asv.numba.conf.json")
QUESTIONS = {"standard", "depthwise", "pointwise", "separable", "ratio", "compile_time", "code_quality", "memory"}
A_FEW = {
    "pointwise",
    "ratio",
    "code_quality",
}  # a sampled number, a ratio beside its theory, and what is read from machine code


def config(name: str) -> dict:
    return json.loads((ROOT / name).read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_one_that_asv_knows(name):
    """asv ignores a key that is misspelt."""
    known = set(vars(asv_config.Config())) | {"version"}
    assert set(config(name)) <= known
    asv_config.Config.load(str(ROOT / name))


def test_the_runner_is_pinned_everywhere_to_one_version():
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name in CONFIGS:
        assert config(name)["matrix"]["req"]["pip+asv_runner"] == [constraints["asv_runner"]]


def test_the_line_of_numba_releases_differs_in_nothing_else():
    ours, numba = (config(name) for name in CONFIGS)
    differing = {key for key in ours | numba if ours.get(key) != numba.get(key)}
    assert differing == {"matrix", "install_command", "results_dir", "html_dir"}
    assert len(numba["matrix"]["req"]["numba"]) >= 3


@pytest.fixture(scope="module")
def discovered(tmp_path_factory) -> list[dict]:
    """The benchmarks as asv finds them."""
    file = tmp_path_factory.mktemp("discovered") / "benchmarks.json"
    code = "import sys; from asv_runner.discovery import list_benchmarks as found; found(sys.argv[1], open(sys.argv[2], 'w'))"
    command = [sys.executable, "-c", code, str(ROOT / "benchmarks"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


def test_there_are_some_fifty_numbers_a_question_a_file(discovered):
    assert {found["name"].split(".")[0] for found in discovered} == QUESTIONS
    points = 0
    for found in discovered:
        count = 1
        for values in found["params"]:
            count *= len(values)
        points += count
    assert 20 <= points <= 55


def test_the_gpu_is_asked_only_where_there_is_one(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import benchmarks.cuda as found; print(hasattr(found, 'Cuda'))"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    for path, there in (("", "False"), (str(tmp_path), "True")):
        command = [sys.executable, "-c", code, str(ROOT)]
        done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == there


def test_versions_are_set_by_hand_and_parameters_are_plain(discovered):
    """A version that asv makes of the source throws the history away with each comment; a parameter is kept as its repr."""
    for found in discovered:
        assert found["version"] in ("1", "2"), found["name"]
        for values in found["params"]:
            assert all(isinstance(ast.literal_eval(value), str | int) for value in values)


def test_the_shapes_are_those_of_the_grid_that_is_tracked(discovered):
    (ratio,) = (found for found in discovered if found["name"] == "ratio.Ratio.track_cost_ratio")
    assert [ast.literal_eval(value) for value in ratio["params"][1]] == [str(shape) for shape in get_grid("tracked").shapes]


def test_importing_the_benchmarks_imports_nothing_of_the_suite():
    """A commit without a module that a benchmark wants must fail in that benchmark only."""
    code = "import sys, benchmarks.standard, benchmarks.ratio, benchmarks.code_quality, benchmarks.memory;"
    code += "sys.exit(any(name.startswith(('sepconv_bench', 'numba')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.exhaustive  # tests/test_compile_once.py does it on modules that compile in no time
def test_no_compiled_kernel_of_another_commit_is_timed(tmp_path):
    """Numba's cache of files does not notice a change in an imported module. Ours lies under a digest of them."""
    code = """
        import sys
        import numpy as np
        import numba.core.event as event
        from sepconv_bench import ConvShape, Problem, get_kernel
        with event.install_recorder("numba:compile") as recorder:
            for name in ("cpu.pointwise.loops", "cpu.depthwise.tiled"):
                kernel = get_kernel(name)
                kernel.bind(Problem.draw(kernel.operator, ConvShape(3, 4, 4, 3), np.random.default_rng(0)))()
        print(len(recorder.buffer))
    """
    shutil.copytree(ROOT / "sepconv_bench", tmp_path / "package" / "sepconv_bench")

    def compiled() -> int:
        where = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path / "package")}
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, env=os.environ | where, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert compiled() > 0
    assert compiled() == 0
    assert {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {".code"}
    with (tmp_path / "package" / "sepconv_bench" / "kernels" / "cpu" / "layout.py").open("a") as file:
        file.write("\n# changed\n")
    assert compiled() > 0


# ---------------------------------------------------------------------------------------------- a real run


@pytest.fixture(scope="module")
def asked(everything) -> set[str]:
    return QUESTIONS if everything else A_FEW


@pytest.fixture(scope="module")
def ran(tmp_path_factory, asked) -> Path:
    """A clone of this repository in which the benchmarks asked for of its last commit have been run, in this environment."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository, not only its files")
    folder = tmp_path_factory.mktemp("asv") / "clone"
    home = tmp_path_factory.mktemp("home")  # asv keeps what it knows of the machine there
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", "-B", "main"], check=True)
    for name in ("benchmarks", "asv.conf.json"):
        source, target = ROOT / name, folder / name
        shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
    if asked != QUESTIONS:  # every cell is swept all the same, in as little time as gives each number an interval
        cells = folder / "benchmarks" / "cells.py"
        assert cells.read_text().count("\n_SECONDS = 6.0") == 1
        cells.write_text(cells.read_text().replace("\n_SECONDS = 6.0", "\n_SECONDS = 3.0"))
    head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    here = ("--machine", "here")
    run = (
        "run",
        "--record-samples",
        "--bench",
        rf"^({'|'.join(asked)})\.",
        "--environment",
        f"existing:{sys.executable}",
        "--set-commit-hash",
        head.stdout.strip(),
        *here,
    )
    for words in (("machine", "--yes", *here), run, ("publish",)):
        command = [sys.executable, "-m", "asv", *words]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_benchmark_has_a_number_and_the_sampled_ones_an_interval(ran, asked):
    (file,) = (path for path in (ran / ".asv" / "results" / "here").glob("*.json") if path.name != "machine.json")
    stored = json.loads(file.read_text())
    columns = stored["result_columns"]
    found = {name: dict(zip(columns, values, strict=False)) for name, values in stored["results"].items()}
    assert {name.split(".")[0] for name in found} == asked
    for name, values in found.items():
        assert all(isinstance(value, int | float) for value in values["result"]), name
        if name.endswith(("track_time", "track_peak_over_attained")):
            assert all(len(samples) >= 4 for samples in values["samples"]), name
            assert all(lo < hi for lo, hi in zip(values["stats_ci_99_a"], values["stats_ci_99_b"], strict=True)), name
    spills = found["code_quality.InnerLoop.track_spills"]["result"]
    assert spills[0] == 0


def test_the_theory_stands_beside_the_measured_ratio(ran):
    (file,) = (path for path in (ran / ".asv" / "results" / "here").glob("*.json") if path.name != "machine.json")
    stored = json.loads(file.read_text())
    values = stored["results"]["ratio.Ratio.track_cost_ratio"][stored["result_columns"].index("result")]
    assert values[-2:] == [pytest.approx(1 / 64 + 1 / 9), pytest.approx(1 / 512 + 1 / 9)]
    assert all(0.01 < value < 10 for value in values[:-2])


# What asv's pages fetch from elsewhere, as packages of the npm registry: the test answers in their place.
_PAGE_PACKAGES = {
    "jquery@3.3.1": {"jquery-3.3.1.min.js": "jquery/dist/jquery.min.js"},
    "jquery-flot@0.8.3": {
        f"jquery.flot{part}.min.js": f"jquery-flot/jquery.flot{part}.js" for part in ("", ".time", ".selection", ".categories")
    },
    "flot-orderbars@1.0.0": {"jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js"},
    "stupid-table-plugin@1.1.3": {"stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js"},
    "blueimp-md5@2.19.0": {"md5.min.js": "blueimp-md5/js/md5.min.js"},
    "bootstrap@3.1.1": {
        "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
        "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
    },
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> dict[str, Path]:
    """By file name, what the pages ask other hosts for."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("asv's pages take scripts from other hosts; without npm there is nothing to answer with")
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", *_PAGE_PACKAGES], cwd=folder, check=True)
    files = {name: folder / "node_modules" / path for found in _PAGE_PACKAGES.values() for name, path in found.items()}
    assert all(path.is_file() for path in files.values())
    return files


def test_the_published_pages_show_graphs_and_no_errors(ran, asked, everything, elsewhere, browser):
    html = ran / ".asv" / "html"
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    unmeasured = "Failed to load resource: the server responded with a status of 404 (Not Found)"
    page.on("pageerror", lambda error: errors.append(str(error)))

    def answer(route):
        name = route.request.url.split("?")[0].rsplit("/", 1)[-1]
        if route.request.url.startswith("http://asv.test/"):
            path = html / (route.request.url.split("?")[0].removeprefix("http://asv.test/") or "index.html")
            if not path.is_file():
                return route.fulfill(status=404)
            if path.name == "index.html":
                # its checksums are those of the minified scripts; the packages hold some as they were written
                text = re.sub(r' integrity="[^"]*"', "", path.read_text())
                return route.fulfill(body=text, content_type="text/html")
            return route.fulfill(path=path)
        return route.fulfill(path=elsewhere[name]) if name in elsewhere else route.abort()

    page.route("**/*", answer)
    page.goto("http://asv.test/index.html")
    page.wait_for_selector("#summarygrid-display .benchmark-container canvas, #summarygrid-display .benchmark-container img")
    shown = page.locator("#summarygrid-display .benchmark-container").count()
    assert shown >= len(asked), "a small graph for each benchmark"
    page.goto("http://asv.test/index.html#ratio.Ratio.track_cost_ratio?x-axis=commit")
    page.wait_for_selector("#main-graph canvas")
    beside = page.locator("#graph-display").inner_text()
    assert "fused / tiled" in beside
    assert "1/N + 1/D_K^2" in beside, "the theory is a line of the same graph"
    assert [error for error in errors if everything or error != unmeasured] == []
    page.close()
