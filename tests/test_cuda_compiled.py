"""CUDA kernels as machine code, without a GPU: what ptxas and nvdisasm say of every tile and every strip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sepconv_bench import get_kernel
from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.block_tile import BlockTile, Product
from sepconv_bench.kernels.cuda.entrance_exit import place_pass, pool_pass, softmax_pass
from sepconv_bench.kernels.cuda.launch import Pass
from sepconv_bench.kernels.cuda.loops import loops_pass
from sepconv_bench.kernels.cuda.machine_code import MachineCode, blocks_resident, compiled, compiled_as, passes
from sepconv_bench.kernels.cuda.product import product_pass, sum_pass
from sepconv_bench.kernels.cuda.tensor_tile import ROW_CHUNKS, TENSOR_TILES
from sepconv_bench.kernels.cuda.tiled import depthwise_pass, fits_in_vectors
from sepconv_bench.kernels.cuda.tiles import (
    FUSED_TILES,
    NARROW_STRIPS,
    SPLITS,
    STRIPS,
    TILES,
    choose_strip,
    choose_tile,
    fuses,
)
from sepconv_bench.kernels.cuda.vectors import FLOATS
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.measure.cuda import kernels
from sepconv_bench.model.grids import GRIDS
from sepconv_bench.model.networks import mobilenet_v1
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, SEPARABLE, STANDARD
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.plan import Plan
from sepconv_bench.network.weights import random_weights

AMPERE, HOPPER = (8, 0), (9, 0)
MULTIPROCESSORS = 132
# In whole vectors and slices, and in neither; channels enough for each of a thread's sums to be written somewhere.
WIDE, ODD = ConvShape(3, 64, 128, 28), ConvShape(3, 6, 130, 28, batch=2)


def product(shape: ConvShape, tile: BlockTile, filtered: bool = False, splits: int = 1, epilogue: bool = False) -> Product:
    F, G = (Layout.dense(each) for each in (STANDARD.F_shape(shape), STANDARD.G_shape(shape)))
    return Product(shape, F, G, filtered, tile, splits, epilogue)


def depthwise(shape: ConvShape, TH: int, TW: int, epilogue: bool = False) -> Pass:
    F, G = (Layout.dense(each, shape.itemsize) for each in (DEPTHWISE.F_shape(shape), DEPTHWISE.G_shape(shape)))
    return depthwise_pass(shape, F, G, TH, TW, epilogue)


class Recorded:
    """A plan's device that keeps the kernels a GPU would launch, a list a step; its maps have no memory behind them."""

    def __init__(self):
        self.steps: list[list[Pass]] = []

    def zeros(self, shape):
        steps = 4 * np.cumprod([1, *shape[:0:-1]])[::-1]
        return DeviceArray(None, 0, np.lib.stride_tricks.as_strided(np.zeros((), np.float32), shape, steps), False)

    def maps(self, shapes, apart):
        return [(self.zeros(shape), None) for shape in shapes]

    def bind(self, problem, biases=()):
        operator = problem.operator
        variant = "fused" if operator is SEPARABLE and fuses(problem.shape, MULTIPROCESSORS) else "tiled"
        layouts = Layout.of(problem.F), Layout.of(problem.G)
        self.steps.append(passes(get_kernel(f"cuda.{operator}.{variant}").declaration, problem.shape, *layouts, bool(biases)))

    def joined(self, launches):
        pass

    def Entrance(self, interior):
        self.steps.append([place_pass(interior.shape, Layout.of(interior))])

    def Exit(self, shape, G, K, bias):
        maps = (self.zeros(POINTWISE.F_shape(shape)), self.zeros(POINTWISE.G_shape(shape)))
        self.problem = Problem(POINTWISE, shape, maps[0], (K,), maps[1])
        self.bind(self.problem)
        self.steps.append([pool_pass(G.shape), softmax_pass(shape.batch, shape.N)])
        return self


def assert_sound(one: Pass, code: MachineCode) -> None:
    """Everything in registers, as many blocks at once as was planned for, and no arithmetic that nobody asked for."""
    assert (code.stack, code.spills) == (0, 0)
    assert blocks_resident(code, one.threads) >= one.blocks
    assert not code.doubles
    assert code.count("FFMA") > 0


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("shape", "cc"), [(WIDE, AMPERE), (WIDE, HOPPER), (ODD, HOPPER)])
@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.BP}x{tile.BN}")
def test_a_tile_is_nothing_but_multiply_adds_and_vectors(tile, shape, cc):
    one = product_pass(product(shape, tile))
    code = compiled(one, cc)
    assert_sound(one, code)
    # A slice of BK terms, unrolled: each is TP x TN multiply-adds on (TP + TN) / 4 vectors out of shared memory.
    assert code.count("FFMA") == tile.BK * tile.TP * tile.TN
    assert code.count("LDS.128") == tile.BK * (tile.TP + tile.TN) // 4
    assert code.count("LDG.E.128") >= (2 if shape is WIDE else 1)  # weights are padded to vectors; F is as it is
    assert code.shared == tile.shared_bytes
    assert code.count("STG.E.128") == (tile.TP * tile.TN // 4 if shape is WIDE else 0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("D_K", "cc"), [(3, AMPERE), (3, HOPPER), (7, AMPERE), (7, HOPPER)])
@pytest.mark.parametrize("tile", FUSED_TILES, ids=lambda tile: f"{tile.BP}x{tile.BN}")
def test_a_tile_that_filters_still_fits_into_registers(tile, D_K, cc):
    one = product_pass(product(ConvShape(D_K, 64, 128, 28), tile, filtered=True))
    code = compiled(one, cc)
    assert_sound(one, code)
    assert code.count("FFMA") >= tile.BK * tile.TP * tile.TN + 4
    assert code.count("LDG.E.128") >= 3  # F, the window's weights, K_tilde


@pytest.mark.sampled(3)
@pytest.mark.parametrize("D_K", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("strip", STRIPS, ids=str)
def test_a_strip_stays_in_registers(strip, stride, D_K):
    for M in (64, 6) if D_K == 3 else (64,):
        one = depthwise(ConvShape(D_K, M, M, 28, stride), *strip)
        code = compiled(one, HOPPER)
        assert_sound(one, code)
        assert bool(code.count("LDG.E.128")) == (M == 64 and fits_in_vectors(D_K, stride))
    assert_sound(one, compiled(one, AMPERE))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("D_K", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("strip", NARROW_STRIPS, ids=str)
@pytest.mark.parametrize(("dtype", "cc"), [("bf16", AMPERE), ("bf16", HOPPER), ("fp16", AMPERE), ("fp16", HOPPER)])
def test_eight_channels_of_two_bytes_are_one_load_and_one_store(dtype, cc, strip, stride, D_K):
    one = depthwise(ConvShape(D_K, 64, 64, 28, stride, dtype=dtype), *strip)
    code = compiled(one, cc)
    assert_sound(one, code)
    if fits_in_vectors(D_K, stride):
        assert code.count("LDG.E.128") == code.count("LDG") > 0
        assert code.count("STG.E.128") == code.count("STG") > 0
    ragged = depthwise(ConvShape(D_K, 68, 68, 28, stride, dtype=dtype), *strip)
    assert_sound(ragged, compiled(ragged, cc))
    assert compiled(ragged, cc).count("LDG.E.U16") > 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("filtered", [False, True])
def test_bias_and_relu6_are_applied_in_registers(filtered):
    """Two instructions more a sum, where it is complete, and nothing more of what takes time."""
    tile = FUSED_TILES[2]
    plain, one = (product_pass(product(WIDE, tile, filtered, epilogue=epilogue)) for epilogue in (False, True))
    without, code = compiled(plain), compiled(one)
    assert_sound(one, code)
    assert without.count("FMNMX") == 0
    quads = tile.BP * tile.BK // FLOATS // tile.threads  # of G_hat, that a thread filters a slice
    assert code.count("FMNMX") == 2 * (tile.TP * tile.TN + FLOATS * quads * filtered)
    for name in ("FFMA", "LDS.128", "STS.128", "STG.E.128"):
        assert code.count(name) == without.count(name)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("strip", [STRIPS[0], STRIPS[-1]], ids=str)
def test_bias_and_relu6_end_a_strip_in_registers(strip):
    one = depthwise(ConvShape(3, 64, 64, 28), *strip, epilogue=True)
    assert_sound(one, compiled(one))
    assert compiled(one).count("FMNMX") >= 2 * FLOATS * strip[1]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("shape", "cc"), [(WIDE, AMPERE), (ODD, HOPPER), (ConvShape(3, 512, 512, 28, batch=8), HOPPER)])
@pytest.mark.parametrize("dtype", ["tf32", "bf16", "fp16"])
@pytest.mark.parametrize("operator", ["pointwise", "standard", "separable"])
def test_tensor_cores_multiply_what_copies_and_ldmatrix_bring(operator, dtype, shape, cc):
    (one,) = passes(get_kernel(f"cuda.{operator}.tensor").declaration, replace(shape, dtype=dtype))
    code = compiled(one, cc)
    assert (code.stack, code.spills, code.doubles) == (0, 0, [])
    assert blocks_resident(code, one.threads) >= one.blocks
    tile = next(tile for tile in TENSOR_TILES if tile.threads == one.threads)
    assert code.shared == tile.shared_bytes
    # A slice is tiles_p x tiles_n tiles in two instructions each, out of an ldmatrix a row and a pair of columns.
    instruction = {"tf32": "HMMA.1688.F32.TF32", "bf16": "HMMA.16816.F32.BF16", "fp16": "HMMA.16816.F32"}[dtype]
    a_slice, multiplied = 2 * tile.tiles_p * tile.tiles_n, code.count(instruction)
    assert multiplied > 0
    assert multiplied % a_slice == 0
    assert code.count("HMMA") == multiplied
    assert code.count("LDSM.16.M88.4") * a_slice == multiplied * 2 * (tile.tiles_p + tile.tiles_n // 2)
    # Six channels are one slice under a tap: nothing is on its way while that is multiplied. A loop of few turns is unrolled.
    fills = 1 if shape is ODD and operator != "standard" else 2
    rows = tile.BN if shape is ODD or operator == "separable" else tile.BN + tile.BP  # weights alone are always copied
    a_fill, copies = ROW_CHUNKS * rows // tile.threads, code.count("LDGSTS.E.BYPASS.128")
    assert copies >= fills * a_fill
    assert copies % a_fill == 0
    assert bool(code.count("FFMA")) == (operator == "separable")
    # Only what is no whole 16 bytes, or is filtered, passes a register on its way.
    assert bool(code.count("STS.128")) == (operator == "separable" or shape is ODD)


@pytest.fixture(scope="module")
def mobilenet() -> list[list[Pass]]:
    """The kernels of MobileNet-V1 at alpha 1 and 224, step by step."""
    layers, recorded = mobilenet_v1(), Recorded()
    Plan(layers, random_weights(layers), recorded)
    assert len(recorded.steps) == 17
    return recorded.steps


# Of each kind of kernel one: other steps differ from these in their sizes alone. Of fused, how many quads of G_hat a thread
# filters a slice.
@pytest.mark.sampled(1)
@pytest.mark.parametrize(("step", "splits", "quads"), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (7, 8, 2), (13, 16, 2)])
def test_a_step_of_mobilenet_is_nothing_but_registers_and_vectors(mobilenet, step, splits, quads):
    product, *summed = mobilenet[step]
    code = compiled(product)
    assert_sound(product, code)
    assert product.grid[2] == splits
    assert bool(summed) == (splits > 1)
    assert code.count("LDG.E.128") >= 3  # of the image's three channels none: bias and weights
    assert code.count("STG.E.128") == code.count("STG")
    # Where the sums are split it is the depthwise map alone that ends here.
    sums = 0 if summed else code.count("STG.E.128") * FLOATS
    assert code.count("FMNMX") == 2 * (sums + FLOATS * quads)


def test_what_begins_and_ends_mobilenet_fits_into_registers(mobilenet):
    place, *steps, classifier, head = mobilenet
    for one in (*place, *head, *classifier, *steps[6][1:]):
        code = compiled(one)
        assert (code.stack, code.spills, code.doubles) == (0, 0, [])
        assert blocks_resident(code, one.threads) >= one.blocks


def test_a_block_is_fused_where_that_is_reckoned_to_pay():
    for shape in (ConvShape(3, 64, 128, 112, batch=8), ConvShape(3, 32, 64, 112)):
        assert fuses(shape, MULTIPROCESSORS)
    # Windows that would be applied again for each of many tiles of channels.
    for shape in (ConvShape(3, 512, 512, 14, batch=32), ConvShape(7, 512, 4096, 14, batch=8)):
        assert not fuses(shape, MULTIPROCESSORS)


def test_sums_of_splits_and_loops_compile_too():
    shape = WIDE
    F, G = Layout.dense(STANDARD.F_shape(shape)), Layout.dense(STANDARD.G_shape(shape))
    G_hat = Layout.dense(DEPTHWISE.G_shape(shape))
    loops = [
        loops_pass(STANDARD.convolutions[0], shape, F, G),
        loops_pass(DEPTHWISE.convolutions[0], shape, F, G_hat),
        loops_pass(POINTWISE.convolutions[0], shape, G_hat, G),
    ]
    for one in loops:
        assert_sound(one, compiled(one))
    summed = compiled(sum_pass(product(shape, TILES[-1], splits=4)))
    assert (summed.stack, summed.spills, summed.doubles) == (0, 0, [])
    assert summed.count("LDG.E.128") == 4


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kernel", ["cuda.standard.tiled", "cuda.separable.tiled", "cuda.separable.fused"])
@pytest.mark.parametrize(
    "shape", [ConvShape(3, 512, 512, 14), ConvShape(3, 32, 64, 112), ConvShape(5, 64, 64, 28, batch=8)], ids=str
)
def test_what_is_chosen_for_a_shape_fits_into_registers(kernel, shape):
    for one in passes(get_kernel(kernel).declaration, shape):
        code = compiled(one)
        assert (code.stack, code.spills, code.doubles) == (0, 0, [])


def test_the_choice_fills_a_gpu_and_prefers_large_tiles_where_it_is_full():
    large, _ = choose_tile(pixels=32 * 112 * 112, N=128, terms=64, taps=9, multiprocessors=132)
    assert (large.BP, large.BN) == (128, 128)
    tile, splits = choose_tile(pixels=14 * 14, N=512, terms=512, taps=9, multiprocessors=132)
    assert -(-196 // tile.BP) * -(-512 // tile.BN) * splits >= 100
    for shape in GRIDS["default"].shapes:
        tile, splits = choose_tile(shape.batch * shape.D_G**2, shape.N, shape.M, shape.D_K**2, 132)
        assert tile in TILES
        assert splits in SPLITS
        assert splits <= product(shape, tile).slices
    assert choose_strip(ConvShape(3, 128, 128, 112, batch=32), 132) == STRIPS[0]
    assert choose_strip(ConvShape(3, 64, 64, 7), 132) == STRIPS[-1]


def test_the_kernels_that_measure_the_gpu_compile():
    """The peak is multiply-adds and little else; a nap sleeps."""
    ours = kernels()
    floats, signed = "float32[::1]", "int64"
    code = {
        name: compiled_as(getattr(ours, name), f"void({','.join(types)})")
        for name, types in {
            "nap": [signed],
            "fma": [floats, "float32"],
            "fma_constant": [floats, "float32"],
            "fill": [floats],
        }.items()
    }
    assert all((each.stack, each.spills, each.doubles) == (0, 0, []) for each in code.values())
    assert code["nap"].count("NANOSLEEP") >= 1
    # In the loop there is next to nothing else; what begins and ends it is launched once for 512 turns.
    assert code["fma"].count("FFMA") == code["fma_constant"].count("FFMA") == 128
