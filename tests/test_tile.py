"""Register tiles: what the compiler makes of them, their edges, the memory around them, and other vector widths."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit, types

from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names
from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.assembly import inner_loop, product_loop, roll_loop, row_loop
from sepconv_bench.kernels.cpu.choice import choose
from sepconv_bench.kernels.cpu.registers import Tile, Vectors, host_vectors
from sepconv_bench.model.grids import get_grid
from sepconv_bench.model.reference import Reference
from sepconv_bench.network import host

VECTORS = host_vectors()
LANES = VECTORS.lanes
TILED = [name for name in kernel_names(device="cpu") if name.endswith((".tiled", ".fused"))]

on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="forces widths of x86's vectors")
# As Numba's own variables force them: 4, 8 and (where the host has them) 16 floats in a vector.
FORCED = {
    4: {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse4.2"},
    8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
}


def python(source: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | environment, check=False)


# ---------------------------------------------------------------------------------------------- what the compiler made


@pytest.mark.sampled(2)
@pytest.mark.parametrize("prefetches", [False, True])
@pytest.mark.parametrize("NV", [1, 2, 3, 4])
def test_the_inner_loop_of_a_product_is_its_multiply_adds_with_nothing_on_the_stack(NV, prefetches):
    """One rank-1 update: MR x NV multiply-adds, NV loads of weights, MR pixels, and what counts the loop."""
    tile = Tile(VECTORS.max_pixels(NV), NV, LANES)
    loop = product_loop(tile, prefetches)
    assert loop.multiply_adds == tile.MR * tile.NV
    assert loop.spills == 0
    assert len(loop.lines) <= tile.MR * tile.NV + tile.MR + tile.NV + 6 + 3 * prefetches


def _chosen_tiles() -> list[tuple[int, int]]:
    """Pixels and vectors of all tiles that are chosen here for the shapes of the grids, on one thread or two."""
    shapes = dict.fromkeys(shape for name in ("default", "mobilenet", "inception") for shape in get_grid(name).shapes)
    chosen = [choose(shape, VECTORS, threads).products for shape in shapes for threads in (1, 2)]
    blocks = [product.best.blocks for products in chosen for product in products]
    return sorted({(one.pixels.most, one.vectors.most) for one in blocks})


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("MR", "NV"), _chosen_tiles())
def test_a_chosen_tile_loads_each_pixel_and_each_vector_of_weights_once(MR, NV):
    """(MR + NV) / (MR NV) loads a multiply-add: what blocking.py reckons with, and test_blocking.py holds over the grids."""
    loop = product_loop(Tile(MR, NV, LANES))
    assert 0 < loop.loads / loop.multiply_adds <= (MR + NV) / (MR * NV)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("D_K", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_the_inner_loop_of_a_depthwise_tile_is_its_multiply_adds_with_nothing_on_the_stack(D_K, stride):
    """A row of taps: MR x NV x D_K multiply-adds."""
    tile = Tile(*VECTORS.filtered_tile(D_K), LANES)
    loop = row_loop(tile, D_K, stride)
    assert loop.multiply_adds == tile.MR * tile.NV * D_K
    assert loop.spills == 0


@pytest.mark.skipif(VECTORS.max_rolled_pixels(3) < 4, reason="with 16 registers a depthwise tile goes row by row")
def test_the_inner_loop_of_a_rolling_depthwise_tile_loads_each_pixel_once():
    """A row of F for three rows of G: 9 multiply-adds a pixel, MR + 2 loads. Sums and taps fill all registers but one;
    the compiler's schedule may keep one tap of the nine on the stack."""
    tile = Tile(VECTORS.max_rolled_pixels(3), 1, LANES)
    loop = roll_loop(tile)
    assert loop.multiply_adds == 9 * tile.MR
    assert loop.spills <= 1
    assert sum(bool(re.search(r"vmovups\s[^%]*\((?!%rsp).*%[yz]mm\d+$", line)) for line in loop.lines) == tile.MR + 2


def test_the_guard_sees_a_tile_that_does_not_fit_into_the_registers():
    tile = Tile(20, 2, LANES)
    loop = product_loop(tile)
    assert loop.spills > 0
    assert loop.loads > tile.MR + tile.NV


def test_the_guard_sees_a_loop_that_is_not_vectorised():
    @njit
    def dot(x, y):
        total = np.float32(0)
        for m in range(len(x)):  # without fastmath a sum keeps its order: one at a time
            total += x[m] * y[m]
        return total

    array = types.Array(types.float32, 1, "C")
    with pytest.raises(ValueError, match="no loop of dot holds packed"):
        inner_loop(dot, (array, array))


@on_x86
def test_the_inner_loops_are_whole_with_avx2_as_well():
    source = """
        from sepconv_bench.kernels.cpu.assembly import product_loop
        from sepconv_bench.kernels.cpu.registers import Tile, host_vectors
        vectors = host_vectors()
        for NV in (1, 2, 3):
            tile = Tile(vectors.max_pixels(NV), NV, vectors.lanes)
            loop = product_loop(tile)
            print(tile.MR, NV, tile.lanes, loop.multiply_adds - tile.MR * NV, loop.loads - tile.MR - NV, loop.spills)
    """
    done = python(source, **FORCED[8])
    assert done.stdout.splitlines() == ["14 1 8 0 0 0", "6 2 8 0 0 0", "4 3 8 0 0 0"], done.stderr


# ---------------------------------------------------------------------------------------------- edges

# One less, as many, one more than tiles, panels and vectors hold; twice as many and a rest.
_AROUND_MR = sorted({size + d for size in (VECTORS.max_pixels(1), VECTORS.max_pixels(2)) for d in (-1, 0, 1)})
_AROUND_NR = sorted({size + d for size in (LANES, 2 * LANES, 4 * LANES) for d in (-1, 0, 1)})
EDGES = [
    *(ConvShape(3, LANES + 1, LANES - 1, D_G) for D_G in [*_AROUND_MR, 2 * VECTORS.max_pixels(2) + 1]),
    *(ConvShape(2, 5, N, VECTORS.max_pixels(2) + 1, stride=2) for N in [*_AROUND_NR, 5 * LANES + 3]),
    *(ConvShape(3, M, LANES + 1, 7, batch=2) for M in (1, LANES - 1, LANES, LANES + 1, 2 * LANES + 1)),
]


@pytest.mark.sampled(each="name")
@pytest.mark.parametrize("shape", EDGES, ids=str)
@pytest.mark.parametrize("name", TILED)
def test_every_edge_of_tiles_panels_and_vectors_is_right(name, shape):
    kernel = get_kernel(name)
    problem = Problem.draw(kernel.operator, shape, np.random.default_rng(0))
    kernel.bind(problem)()
    error = Reference(kernel.operator, shape, problem.F, problem.weights).error(problem.G)
    assert error <= 1, f"{error} times what float32 rounding explains"


def _blocks(operator: str, D_G: int, vectors: int) -> blocking.Blocks:
    """Of three images, and so many vectors of output channels of which the last holds three."""
    taps, filter_taps = (1, 9) if operator == "separable" else (9, 0)
    N, threads = (vectors - 1) * LANES + 3, numba.get_num_threads()
    return blocking.product_blocks(3 * D_G, D_G, LANES + 3, N, taps, VECTORS, threads, filter_taps)


def _one_short_tile() -> tuple[int, int]:
    """Width and vectors of a map whose rows end with one shorter tile: a pixel more would be the next row's."""
    cuts = {D_G: _blocks("standard", D_G, 5).pixels for D_G in range(15, 60)}
    return next(D_G for D_G, cut in cuts.items() if cut.longer == cut.parts - 1), 5


def _narrow_panels() -> tuple[int, int]:
    """Width and vectors of a map with two narrower panels, or with one where no map has two."""
    cuts = {(D_G, count): _blocks("separable", D_G, count).vectors for D_G in range(4, 8) for count in range(5, 30)}
    return max(cuts, key=lambda sizes: min(2, cuts[sizes].parts - cuts[sizes].longer))


@pytest.mark.parametrize(("operator", "stride", "sizes"), [("standard", 2, _one_short_tile), ("separable", 1, _narrow_panels)])
def test_all_edges_at_once_end_with_bias_and_relu6(operator, stride, sizes):
    """Of tiles, panels, bands of rows, and vectors that are not full; with images that threads share."""
    D_G, vectors = sizes()
    shape = ConvShape(3, LANES + 3, (vectors - 1) * LANES + 3, D_G, stride, 3)
    rng = np.random.default_rng(0)
    problem = Problem.draw(operator, shape, rng)
    biases = tuple(rng.standard_normal(weights.shape[-1], np.float32) for weights in problem.weights)
    host.bind(problem, biases)()
    error = Reference(operator, shape, problem.F, problem.weights, biases).error(problem.G)
    assert error <= 1, f"{error} times what float32 rounding explains"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", [ConvShape(3, 1500, 40, 5), ConvShape(1, 9000, 33, 5), ConvShape(5, 400, 1100, 3)], ids=str)
def test_weights_in_several_blocks_give_the_same_sum(shape):
    """So many input channels that a panel of weights goes through the cache in pieces, and G is added to."""
    rng = np.random.default_rng(0)
    for name in ("cpu.standard.tiled", "cpu.pointwise.tiled", "cpu.separable.fused"):
        kernel = get_kernel(name)
        problem = Problem.draw(kernel.operator, shape, rng)
        kernel.bind(problem)()
        assert Reference(kernel.operator, shape, problem.F, problem.weights).error(problem.G) <= 1, name


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", [ConvShape(3, 64, 1, 184), ConvShape(5, 64, 1, 184, stride=2)], ids=str)
def test_a_map_that_is_stored_past_the_caches_is_written_whole(shape):
    """And one that does not start on a vector, which may not be stored so, too."""
    assert blocking.stores_nontemporal(64 * 184**2)
    rng = np.random.default_rng(0)
    problem = Problem.draw("depthwise", shape, rng)
    reference = Reference("depthwise", shape, problem.F, problem.weights)
    shifted = np.full(problem.G.size + 1, np.nan, np.float32)[1:].reshape(problem.G.shape)
    for G in (problem.G, shifted):
        get_kernel("cpu.depthwise.tiled").bind(replace(problem, G=G))()
        assert reference.error(G) <= 1


@on_x86
@pytest.mark.parametrize("nontemporal", [False, True])
def test_only_non_temporal_stores_go_past_the_caches(nontemporal):
    """One store of a sum of nine taps, however often the compiler unrolls the loop."""
    loop = roll_loop(Tile(4, 1, LANES), nontemporal)
    assert loop.multiply_adds >= 4 * 9
    assert sum("movntps" in line for line in loop.lines) == nontemporal * loop.multiply_adds / 9


FENCES = Path(__file__).parents[1] / "experiments" / "fences.py"


def fenced(names: Sequence[str], shapes: Sequence[ConvShape], **environment: str) -> subprocess.CompletedProcess:
    sizes = json.dumps([(s.D_K, s.M, s.N, s.D_G, s.stride, s.batch) for s in shapes])
    command = [sys.executable, str(FENCES), "--kernels", ",".join(names), "--shapes", sizes]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | environment, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect of a page as Linux has it")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_nothing_is_read_or_written_beside_the_arrays(shape, everything):
    """Every array lies against a page that may not be touched, and so does all that ours allocate: one float beside it ends the
    process. `experiments/fences.py` without arguments does so on all edges."""
    names = [name for name in kernel_names(device="cpu") if not get_kernel(name).needs]
    if everything:
        names = [*kernel_names(device="cpu"), "network.standard", "network.separable"]
    done = fenced(names, [shape])
    assert done.stdout.split()[::2] == ["lanes", *names], f"exit code {done.returncode}: {done.stderr}"


@on_x86
@pytest.mark.skipif(sys.platform != "linux", reason="mprotect of a page as Linux has it")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("lanes", FORCED)
def test_narrower_vectors_give_right_results_between_fences(lanes, everything):
    """On maps and channels around the edges of their own tiles; the product and the depthwise tile are in all kernels."""
    shapes = [
        ConvShape(3, lanes + 1, 2 * lanes - 1, 7),
        ConvShape(3, 2 * lanes, 3 * lanes + 1, 13),
        ConvShape(2, 3, 1, 5, 2, 2),
    ]
    if not everything:
        shapes = shapes[:1]
    names = ("cpu.standard.tiled", "cpu.separable.fused")
    done = fenced(names, shapes, **FORCED[lanes])
    assert done.stdout.split()[:2] == ["lanes", str(lanes)]
    assert done.stdout.split()[2::2] == [*names], f"exit code {done.returncode}: {done.stderr}"


def test_tiles_fit_into_the_registers_of_every_width():
    for vectors in (Vectors(4, 16), Vectors(8, 16), Vectors(16, 32), Vectors(4, 32)):
        for NV in (1, 2, 3, 4):
            MR = vectors.max_pixels(NV)
            assert MR >= 1
            assert vectors.registers >= MR * NV + NV + 1
