"""What experiments/goals.py and fused_regret.py say of results that were made up."""

import sys
from pathlib import Path

import made
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.model.networks import WHOLE, mobilenet_v1
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import store
from sepconv_bench.results.records import NetworkPart

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import fused_regret
import goals

NEAR, FAR = ConvShape(3, 8, 8, 10), ConvShape(3, 8, 16, 10)
TILED, LOOPS = (made.declared(f"cpu.standard.{variant}") for variant in ("tiled", "loops"))
WINOGRAD = replace(made.declared("cpu.standard.winograd-4x4"), algorithm="winograd")
TORCH = replace(made.declared("cpu.standard.torch", "torch"), algorithm="chosen")
NCNN = replace(made.declared("cpu.standard.ncnn", "ncnn"), algorithm="winograd")
DIRECT = replace(made.declared("cpu.standard.ncnn-direct", "ncnn"), algorithm="im2col")
AVX512 = replace(made.MACHINE, vector_features=("avx2", "avx512f"))


def written(folder: Path, machine: Fingerprint = made.MACHINE, cold: bool = False) -> Path:
    """Two shapes: on the first torch takes 1.25 times our time, on the second ncnn without Winograd 0.95 times."""
    folder.mkdir(exist_ok=True)
    with store.create(folder) as results:
        run = results.add_run(machine, replace(made.settings([]), cold=cold), made.CEILINGS)
        near = {TILED: 2e-3, LOOPS: 9e-3, WINOGRAD: 1e-3, TORCH: 2.5e-3, NCNN: 1.5e-3, DIRECT: 3e-3}
        results.add_cell(run, made.measured(NEAR, near))
        results.add_cell(run, made.measured(FAR, {TILED: 2e-3, TORCH: 2.2e-3, DIRECT: 1.9e-3}))
    return folder


def row_of(name: str, lines: list[str]) -> list[str]:
    (line,) = [line for line in lines if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_ours_is_the_fastest_and_so_is_the_peer_without_winograd(tmp_path):
    lines = goals.lines_of(written(tmp_path))
    mean, worst, at, cells, winners = row_of("standard", lines)
    assert mean == "1.090 (goal 1.05)", "the root of 1.25 x 0.95"
    assert (worst, at, cells) == ("0.950 (goal 0.92)", f"{FAR}, ncnn-direct", "2")
    assert winners == "torch 1, ncnn 1; by chosen 1, im2col 1"
    assert row_of("standard, Winograd on both sides", lines)[:2] == ["1.194", "0.950"], "the root of 1.5 x 0.95"
    assert lines[0] == "Grid custom, 2 cells, made-up-2-threads (made up, generic, 2 threads), goals for AVX2."
    assert lines[1] == "Not in the file: onnxruntime, openvino, xnnpack."
    assert row_of("separable", lines)[0] == "no cell"
    assert not any("cold" in line for line in lines)


def test_wider_vectors_have_higher_goals_and_a_missed_one_is_bold(tmp_path):
    mean, worst, *_ = row_of("standard", goals.lines_of(written(tmp_path, AVX512)))
    assert (mean, worst) == ("**1.090, goal 1.10 missed**", "0.950 (goal 0.95)")


def test_cold_cells_are_beside_warm_ones_and_not_among_them(tmp_path):
    warm, cold = written(tmp_path / "warm"), tmp_path / "cold"
    cold.mkdir()
    deep, peer = made.declared("cpu.depthwise.tiled"), made.declared("cpu.depthwise.torch", "torch")
    with store.create(cold) as results:
        run = results.add_run(made.MACHINE, replace(made.settings([]), cold=True), made.CEILINGS)
        results.add_cell(run, made.measured(NEAR, {deep: 1e-3, peer: 1.1e-3}))
    lines = goals.lines_of(warm, cold)
    assert row_of("depthwise", lines)[0] == "no cell"
    assert row_of("depthwise, cold", lines)[:2] == ["**1.100, goal 1.15 missed**", "1.100 (goal 0.92)"]
    with pytest.raises(ResultsError, match="holds nothing that `run --cold` measured"):
        goals.lines_of(warm, warm)


def test_a_whole_network_is_beside_its_peers_and_its_twin(tmp_path):
    plan, twin = made.declared("cpu.separable.plan"), made.declared("cpu.standard.plan")
    peer = made.declared("cpu.separable.xnnpack", "xnnpack")
    one = made.measured(mobilenet_v1()[0].shape, {plan: 1e-3, twin: 6e-3, peer: 1.3e-3})
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([]), made.CEILINGS)
        results.add_cell(run, replace(one, network=NetworkPart(1.0, 224, 1, WHOLE)))
    lines = goals.lines_of(tmp_path)
    assert "| alpha 1, 224, batch 1 | xnnpack | 1.300 (1.300 to 1.300) |" in lines
    assert lines[-1].endswith("| our all-standard twin | 6.000 (6.000 to 6.000); promised 8.56, of which 70% |")


def test_regret_is_told_by_blocks_that_did_not_choose():
    """Both forced tiles were lucky in the half of the blocks that chose them, and in the other as slow as the chosen one."""
    lucky, fair = np.full(3, 0.5), np.full(3, 1.0)
    samples = {"chosen": [fair] * 4, "a": [lucky, fair] * 2, "b": [fair, lucky] * 2}
    assert fused_regret.regret(samples) == (pytest.approx(0), ("a", "b"))
    faster = {"chosen": [fair] * 4, "a": [fair * 0.8] * 4}
    assert fused_regret.regret(faster) == (pytest.approx(0.25), ("a", "a"))
