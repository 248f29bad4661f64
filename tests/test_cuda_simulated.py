"""CUDA kernels in Numba's simulator, thread by thread in Python, against the reference.

The simulator must be asked for before Numba is imported: outside of it, this file has one test, which runs the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sepconv_bench import ConvShape, KernelError, Problem, ShapeError, get_kernel, kernel_names
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.rounding import rounded

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":

    def test_in_the_simulator(pytestconfig):
        environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            __file__,
            *(["--all"] if pytestconfig.getoption("--all") else []),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        print(done.stdout[-4000:])
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert " passed" in done.stdout

else:
    from sepconv_bench.kernels.cuda import rungs, tensor_core
    from sepconv_bench.kernels.cuda.arrays import fetch
    from sepconv_bench.kernels.cuda.block_tile import BlockTile
    from sepconv_bench.kernels.cuda.elements import narrowed, widened
    from sepconv_bench.kernels.cuda.tensor_core import COLUMNS, DEPTH_WORDS, ROWS, A_row, B_row
    from sepconv_bench.kernels.cuda.tensor_tile import TensorTile
    from sepconv_bench.kernels.cuda.tiles import NARROW_STRIPS, STRIPS
    from sepconv_bench.model.networks import WHOLE, Layer
    from sepconv_bench.model.operators import POINTWISE, SEPARABLE, STANDARD
    from sepconv_bench.model.rounding import rounded
    from sepconv_bench.run import network_contenders
    from sepconv_bench.run.contest import Contest

    OURS = [name for name in kernel_names(device="cuda") if "torch" not in name]
    # One warp; and two side by side either way, so that each part of an index counts.
    SMALL = (BlockTile(4, 4, 1, 1, 8, 1), BlockTile(8, 4, 1, 2, 8, 1), BlockTile(4, 8, 2, 1, 16, 1))
    SHAPES = (
        ConvShape(1, 1, 1, 1),
        ConvShape(3, 4, 4, 3),
        ConvShape(3, 3, 5, 4, stride=2, batch=2),
        ConvShape(2, 9, 34, 3, stride=3),
        ConvShape(5, 8, 12, 5, batch=2),
    )

    def in_its_dtype(name: str, shape: ConvShape) -> ConvShape:
        return replace(shape, dtype=get_kernel(name).declaration.dtypes[0])

    def error(name: str, problem: Problem, dtype: str | None = None) -> float:
        """On the problem's numbers as a dtype has them, the kernel's first if none is named."""
        kernel = get_kernel(name)
        dtype = dtype or kernel.declaration.dtypes[0]
        F, *weights = (rounded(array, dtype) for array in (problem.F, *problem.weights))
        problem = replace(problem, shape=replace(problem.shape, dtype=dtype), F=F, weights=tuple(weights))
        kernel.unpack(kernel.bind(problem)(), problem.G)
        reference = Reference(kernel.operator, problem.shape, problem.F, problem.weights)
        return reference.error(problem.G) / kernel.rounding(problem.shape)

    @pytest.mark.sampled(each="name")
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("name", OURS)
    def test_a_kernel_agrees_with_the_reference(name, shape):
        drawn = Problem.draw(get_kernel(name).operator, in_its_dtype(name, shape), np.random.default_rng(0))
        assert error(name, drawn) <= 1

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("splits", [1, 3])
    @pytest.mark.parametrize("tile", SMALL, ids=lambda tile: f"{tile.BP}x{tile.BN}")
    @pytest.mark.parametrize("name", ["cuda.standard.tiled", "cuda.separable.fused"])
    def test_every_way_to_cut_a_product(name, tile, splits, monkeypatch):
        monkeypatch.setattr(rungs, "choose_tile", lambda *sizes: (tile, splits))
        shape = ConvShape(2, 4 * tile.BK + 1, tile.BN + 3, 5)  # two tiles of channels and of pixels, and a rest of each
        assert error(name, Problem.draw(get_kernel(name).operator, shape, np.random.default_rng(1))) <= 1

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("strip", STRIPS, ids=str)
    def test_every_strip(strip, monkeypatch):
        monkeypatch.setattr(rungs, "choose_strip", lambda *sizes: strip)
        for shape in (ConvShape(3, 8, 8, 5, stride=2, batch=2), ConvShape(3, 3, 3, 9), ConvShape(4, 4, 4, 5, stride=3)):
            assert error("cuda.depthwise.tiled", Problem.draw("depthwise", shape, np.random.default_rng(2))) <= 1

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("strip", NARROW_STRIPS, ids=str)
    @pytest.mark.parametrize("dtype", ["tf32", "bf16", "fp16"])
    def test_every_strip_of_another_dtype(dtype, strip, monkeypatch):
        """In vectors of eight channels, in a rest of them, and in a window whose weights do not stay."""
        monkeypatch.setattr(rungs, "choose_strip", lambda *sizes: strip)
        for shape in (ConvShape(3, 16, 1, 3, stride=2, batch=2), ConvShape(3, 12, 1, 3), ConvShape(4, 8, 1, 5)):
            problem = Problem.draw("depthwise", replace(shape, dtype=dtype), np.random.default_rng(2))
            assert error("cuda.depthwise.tiled", problem, dtype) <= 1

    def test_a_lane_holds_what_the_ptx_isa_says():
        """Every element of a matrix is one lane's; lane 5 is the second of the second group of four."""
        places = {
            (ROWS, DEPTH_WORDS): (tensor_core.A_PLACES, [(1, 1), (9, 1), (1, 5), (9, 5)]),
            (DEPTH_WORDS, COLUMNS): (tensor_core.B_PLACES, [(1, 1), (5, 1)]),
            (ROWS, COLUMNS): (tensor_core.C_PLACES, [(1, 2), (1, 3), (9, 2), (9, 3)]),
        }
        for size, ((rows, columns), of_lane_5) in places.items():
            assert sorted((rows * size[1] + columns).ravel()) == list(range(size[0] * size[1]))
            assert list(zip(rows[5], columns[5], strict=True)) == of_lane_5

    @pytest.mark.parametrize(("dtype", "depth", "unit"), [("tf32", 8, 2.0**-11), ("bf16", 16, 2.0**-8), ("fp16", 16, 2.0**-11)])
    def test_ldmatrix_and_the_instruction_multiply(dtype, depth, unit):
        """Rows of A, and of B along what is summed, as lanes bring them: against numpy, on rounded numbers and on others."""
        assert tensor_core.depth(dtype) == depth
        rng = np.random.default_rng(5)
        A, B, C = (rng.standard_normal(size, np.float32) for size in ((ROWS, depth), (2 * COLUMNS, depth), (ROWS, COLUMNS)))
        words = [narrowed(tensor_core.rounded_to_tf32(X) if dtype == "tf32" else X, dtype) for X in (A, B)]

        def loaded(rows, of_lane):
            brought = [rows[row].reshape(2, 4)[half] for row, half in map(of_lane, range(32))]
            return tensor_core.matrices(np.array(brought))

        left, right = loaded(words[0], A_row), loaded(words[1], B_row)
        held = C[tensor_core.C_PLACES]
        for which in range(2):
            given = np.empty_like(C)
            pair = right[:, 2 * which : 2 * which + 2]
            given[tensor_core.C_PLACES] = tensor_core.multiplied(left, pair, held, dtype)
            part = B[COLUMNS * which :][:COLUMNS].astype(float)
            exact = widened(words[0], dtype).astype(float) @ widened(words[1], dtype)[COLUMNS * which :][:COLUMNS].T + C
            np.testing.assert_allclose(given, exact, rtol=2.0**-22, atol=2.0**-22)
            magnitude = np.abs(A.astype(float)) @ np.abs(part).T
            error = np.abs(given - (A.astype(float) @ part.T + C))
            assert (error <= 2.01 * unit * magnitude + 2.0**-22).all()
            assert (error > unit / 64 * magnitude).any(), "float32 would be nearer"

    def test_halves_are_rounded_away_from_zero_and_the_rest_to_the_nearest():
        unit = 2.0**-10
        given = np.float32([1 + unit / 2, -1 - unit / 2, 1 + 0.49 * unit, 1 + 0.51 * unit, 0, np.inf, -np.inf, np.nan])
        rounded = np.float32([1 + unit, -1 - unit, 1, 1 + unit, 0, np.inf, -np.inf, np.nan])
        np.testing.assert_array_equal(tensor_core.rounded_to_tf32(given), rounded)

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("sizes", [(1, 2, 1, 1), (2, 2, 1, 2), (1, 4, 2, 1)], ids=str)
    @pytest.mark.parametrize("dtype", ["tf32", "bf16", "fp16"])
    @pytest.mark.parametrize("operator", ["pointwise", "standard", "separable"])
    def test_every_way_to_cut_a_product_for_tensor_cores(operator, dtype, sizes, monkeypatch):
        """Tiles of pixels and of channels, and slices, whole ones and a rest of each; channels in whole chunks and in none."""
        tile = TensorTile(*sizes, blocks=1)
        monkeypatch.setattr(rungs, "choose_tensor_tile", lambda *sizes: tile)
        for shape in (ConvShape(2, 40, tile.BN + 3, 5, dtype=dtype), ConvShape(3, 3, 5, 3, stride=2, batch=2, dtype=dtype)):
            assert error(f"cuda.{operator}.tensor", Problem.draw(operator, shape, np.random.default_rng(6))) <= 1

    @pytest.mark.parametrize("which", ["F", "K"])
    def test_both_factors_are_rounded_and_not_cut_off(which, monkeypatch):
        monkeypatch.setattr(rungs, "choose_tensor_tile", lambda *sizes: TensorTile(1, 2, 1, 1, blocks=1))
        F, K = np.ones((2, 2, 8), np.float32), np.ones((8, 3), np.float32)
        (F if which == "F" else K)[:] = 1 + 0.75 * 2.0**-10
        np.testing.assert_array_equal(get_kernel("cuda.pointwise.tensor")(F, K), np.float32(8 * (1 + 2.0**-10)))

    class OnGpu:
        """An array as a library for GPUs would offer it; the simulator's memory is the host's."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        @property
        def __cuda_array_interface__(self) -> dict:
            described = self.array.__array_interface__
            strides = described["strides"]
            return {key: described[key] for key in ("shape", "typestr", "data", "version")} | {"strides": strides}

    @pytest.mark.parametrize("name", OURS)
    def test_arrays_on_the_gpu_are_taken_as_they_lie(name):
        """F and G as views with a halo into larger buffers, whose other floats stay NaN."""
        kernel = get_kernel(name)
        shape = in_its_dtype(name, ConvShape(3, 8, 4, 4, stride=2))
        rng = np.random.default_rng(3)
        weights = [
            rounded(rng.standard_normal(weight, np.float32), shape.dtype) for weight in kernel.operator.weight_shapes(shape)
        ]
        buffers = []
        for wanted in (kernel.operator.F_shape(shape), kernel.operator.G_shape(shape)):
            buffers.append(np.full((wanted[1] + 2, wanted[2] + 3, wanted[3] + 4), np.nan, np.float32))
        F, G = (buffer[1:-1, 1:-2, 4:] for buffer in buffers)
        F[:] = rounded(rng.standard_normal(F.shape, np.float32), shape.dtype)
        stride = 1 if kernel.operator is POINTWISE else 2
        kernel(OnGpu(F), *map(OnGpu, weights), stride=stride, out=OnGpu(G))
        assert Reference(kernel.operator, shape, F[np.newaxis], tuple(weights)).error(G[np.newaxis]) <= kernel.rounding(shape)
        assert np.isnan(buffers[1]).sum() == buffers[1].size - G.size
        np.testing.assert_array_equal(kernel(F, *weights, stride=stride), G)

    @pytest.mark.parametrize("splits", [1, 2])
    @pytest.mark.parametrize(("operator", "rung"), [("standard", "tiled"), ("separable", "tiled"), ("separable", "fused")])
    def test_maps_end_with_bias_and_relu6(operator, rung, splits, monkeypatch):
        """With sums on both sides of 0 and of 6; channels in vectors, and in none."""
        monkeypatch.setattr(rungs, "choose_tile", lambda *sizes: (SMALL[0], splits))
        rng = np.random.default_rng(4)
        for shape in (ConvShape(2, 16, 8, 3), ConvShape(2, 9, 3, 3, stride=2)):
            problem = Problem.draw(operator, shape, rng)
            biases = tuple(rng.standard_normal(weights.shape[-1], np.float32) for weights in problem.weights)
            fetch(getattr(rungs, rung)(problem, biases)(), problem.G)
            assert Reference(operator, shape, problem.F, problem.weights, biases).error(problem.G) <= 1
            assert 0 == problem.G.min() < problem.G.max() == 6

    def tiny_network(alpha: float, resolution: int, batch: int, separable: bool) -> tuple[Layer, ...]:
        """From an image of 8 x 8 by way of 4 x 4 to 2 x 2, with strides of 2, and channels that are no whole vectors."""
        blocks = (ConvShape(3, 4, 6, 4, 1, batch), ConvShape(3, 6, 8, 2, 2, batch))
        operators = SEPARABLE.parts if separable else (STANDARD,)
        body = (Layer(block, operator, shape) for block, shape in enumerate(blocks, 1) for operator in operators)
        conv, dense = ConvShape(3, 3, 4, 4, 2, batch), ConvShape(1, 8, 5, 1, 1, batch)
        return Layer(0, STANDARD, conv), *body, Layer(3, POINTWISE, dense)

    @pytest.mark.parametrize(("fuses", "splits", "batch"), [(True, 1, 2), (False, 2, 1)])
    def test_a_network_is_right_step_by_step_and_whole(fuses, splits, batch, monkeypatch):
        """As `sepconv-bench mobilenet --device cuda` checks it before it is timed."""
        monkeypatch.setattr(network_contenders, "mobilenet_v1", tiny_network)
        monkeypatch.setattr(rungs, "fuses", lambda *sizes: fuses)
        monkeypatch.setattr(rungs, "choose_tile", lambda *sizes: (SMALL[0], splits))
        network = network_contenders.NetworkContenders(1.0, 8, batch, None, 0, "cuda")
        found = {}
        for part in network.parts:
            contenders = network.contenders(part)
            contest = Contest(contenders, np.random.default_rng(0), lambda name: None)
            for outcome in (contest.checked(name) for name in contenders if "torch" not in name):
                found[part, outcome.kernel.name] = outcome.status, outcome.reason
        both = ("cuda.separable.plan", "cuda.standard.plan")
        expected = {(part, name) for part in ("block1", "block2", WHOLE) for name in both}
        assert found.keys() == expected | {("conv", "cuda.standard.plan"), ("classifier", "cuda.pointwise.plan")}
        assert set(found.values()) == {("ok", "")}

    def test_what_does_not_fit_is_said_before_anything_runs():
        standard = get_kernel("cuda.standard.tiled")
        F, K = np.ones((5, 5, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
        with pytest.raises(ShapeError, match=r"F runs backwards on the GPU.*must not be negative"):
            standard(OnGpu(F[::-1]), K)
        with pytest.raises(ShapeError, match="out shares memory with F"):
            get_kernel("cuda.pointwise.tiled")(OnGpu(F), np.ones((4, 4), np.float32), out=OnGpu(F))
        with pytest.raises(ShapeError, match=r"F has dtype <f8; it must be float32"):
            standard(OnGpu(F.astype(np.float64)), K)
        with pytest.raises(ShapeError, match="F is a list; it must be an array of float32, numpy's or one on the GPU"):
            standard([1.0], K)
        with pytest.raises(ShapeError, match="F is a OnGpu; it must be a numpy array"):
            get_kernel("cpu.standard.loops")(OnGpu(F), K)
        with pytest.raises(KernelError, match="torch has no simulator"):
            get_kernel("cuda.standard.torch")(F, K)
