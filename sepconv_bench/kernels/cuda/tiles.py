"""Which tile for which shape, and into how many shares its sums are split. Arithmetic on sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from sepconv_bench.kernels.cuda.block_tile import BlockTile
from sepconv_bench.kernels.cuda.elements import elements
from sepconv_bench.model.shapes import ConvShape

# From much reuse to many blocks.
TILES = (
    BlockTile(TP=8, TN=8, warps_p=4, warps_n=2, BK=16, blocks=2),  # 128 x 128
    BlockTile(TP=8, TN=8, warps_p=2, warps_n=2, BK=16, blocks=4),  # 64 x 128
    BlockTile(TP=8, TN=8, warps_p=4, warps_n=1, BK=16, blocks=3),  # 128 x 64
    BlockTile(TP=8, TN=4, warps_p=2, warps_n=2, BK=16, blocks=4),  # 64 x 64
    BlockTile(TP=8, TN=4, warps_p=4, warps_n=1, BK=16, blocks=4),  # 128 x 32
    BlockTile(TP=4, TN=4, warps_p=2, warps_n=2, BK=16, blocks=8),  # 32 x 64
    BlockTile(TP=4, TN=4, warps_p=2, warps_n=1, BK=16, blocks=8),  # 32 x 32
)
# Of fused, whose threads filter as well and want the registers for it.
FUSED_TILES = (
    BlockTile(TP=8, TN=8, warps_p=4, warps_n=2, BK=16, blocks=2),  # 128 x 128
    BlockTile(TP=8, TN=8, warps_p=2, warps_n=2, BK=16, blocks=3),  # 64 x 128
    BlockTile(TP=8, TN=4, warps_p=2, warps_n=2, BK=16, blocks=4),  # 64 x 64
    BlockTile(TP=4, TN=4, warps_p=2, warps_n=2, BK=16, blocks=6),  # 32 x 64
    BlockTile(TP=4, TN=4, warps_p=2, warps_n=1, BK=16, blocks=8),  # 32 x 32
)
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)
# A depthwise thread computes TH x TW pixels of 16 bytes of channels; of equals the first is taken. Of two bytes these are eight
# channels, whose sums in two columns are more than registers hold.
STRIPS = ((4, 2), (2, 2), (8, 2), (4, 1), (2, 1), (1, 1))
NARROW_STRIPS = ((4, 1), (8, 1), (2, 1), (1, 1))
STRIP_THREADS = 128  # of a block

# What follows is fitted to the times of experiments/cuda_tiles.py on an H100, in cycles of 0.8 ns. Of products: what a
# multiprocessor multiplies and adds; from asking for a slice to having it; what a round of blocks costs beside its slices, and
# a second kernel; what a read of shared memory a multiply-add costs, and a tap of a window.
_MULTIPLY_ADDS, _LATENCY, _ROUND, _LAUNCH = 128, 430, 1180, 1950
_READS, _TAPS = 0.28, 8.5
# Of strips: from one row to the next; instructions a row beside those that read, write and multiply; blocks at once, of which
# registers allow a few. Bytes a cycle: of sums that are split, and of depthwise.
_ROW_LATENCY, _ROW_INSTRUCTIONS, _STRIP_BLOCKS = 350, 50, 4
_SUMMED_BYTES, _MOVED_BYTES = 5080, 2500
_SECOND = 1.17  # of two passes, measured over reckoned


def choose_tile(
    pixels: int, N: int, terms: int, taps: int, multiprocessors: int, tiles: Sequence[BlockTile] = TILES, window: int = 0
) -> tuple[BlockTile, int]:
    """Tile and splits with the fewest cycles for `pixels` x N sums of `taps` x `terms`; `window` as below."""
    each = ((tile, splits) for tile in tiles for splits in SPLITS if splits <= taps * ceil(terms / tile.BK))
    return min(each, key=lambda one: product_cycles(one[0], one[1], pixels, N, terms, taps, multiprocessors, window))


def product_cycles(
    tile: BlockTile, splits: int, pixels: int, N: int, terms: int, taps: int, multiprocessors: int, window: int = 0
) -> float:
    """A block needs a slice's latency at least for each slice; blocks on one multiprocessor share its multiply-adds. Of fused,
    `window` taps go into each term of a pixel."""
    blocks = ceil(pixels / tile.BP) * ceil(N / tile.BN) * splits
    slices = ceil(taps * ceil(terms / tile.BK) / splits)
    # Reads of shared memory keep small tiles from their multiply-adds: a vector of four a quad of sums' side.
    work = tile.BP * tile.BN * tile.BK * (1 + _READS * (4 * (1 / tile.TP + 1 / tile.TN) - 1))
    work = (work + _TAPS * tile.BP * tile.BK * window) / _MULTIPLY_ADDS
    resident = min(tile.blocks, ceil(blocks / multiprocessors))
    rounds = ceil(blocks / (multiprocessors * resident))
    summing = (_LAUNCH + 8 * pixels * N * splits / _SUMMED_BYTES) * (splits > 1)
    return rounds * (slices * max(_LATENCY, resident * work) + _ROUND) + summing


def fuses(shape: ConvShape, multiprocessors: int) -> bool:
    """Whether separable takes fewer cycles in one pass than in two.

    One pass filters each pixel again for every tile of channels. Two need a second launch, and memory that gives F and takes
    the intermediate map; the second waits for it more than is reckoned.
    """
    sizes = (shape.batch * shape.D_G**2, shape.N, shape.M, 1, multiprocessors)
    window = shape.D_K**2
    one = product_cycles(*choose_tile(*sizes, FUSED_TILES, window), *sizes, window)
    filtering = strip_cycles(choose_strip(shape, multiprocessors), shape, multiprocessors)
    return one <= _SECOND * (product_cycles(*choose_tile(*sizes), *sizes) + _LAUNCH + filtering)


def choose_strip(shape: ConvShape, multiprocessors: int) -> tuple[int, int]:
    """TH x TW of a depthwise thread with the fewest cycles."""
    strips = STRIPS if shape.itemsize == 4 else NARROW_STRIPS
    return min(strips, key=lambda strip: strip_cycles(strip, shape, multiprocessors))


def strip_cycles(strip: tuple[int, int], shape: ConvShape, multiprocessors: int) -> float:
    """A strip goes down TH rows and those that its windows reach beyond; blocks on one multiprocessor share its instructions,
    and all of them memory."""
    (TH, TW), D_K, stride = strip, shape.D_K, shape.stride
    channels = elements(shape.dtype)
    threads = shape.batch * ceil(shape.D_G / TH) * ceil(shape.D_G / TW) * ceil(shape.M / channels)
    blocks = threads / STRIP_THREADS / multiprocessors
    resident = max(1.0, min(_STRIP_BLOCKS, blocks))
    rows = TH + ceil(D_K / stride) - 1
    instructions = channels * TW * D_K**2 + stride * ((TW - 1) * stride + D_K) + TW + _ROW_INSTRUCTIONS
    moved = shape.itemsize * shape.batch * shape.M * (shape.D_F**2 + shape.D_G**2)
    return max(max(1.0, blocks / resident) * rows * max(_ROW_LATENCY, 0.63 * resident * instructions), moved / _MOVED_BYTES)
