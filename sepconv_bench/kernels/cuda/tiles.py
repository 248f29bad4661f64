"""Which tile for which shape, and into how many shares its sums are split. Arithmetic on sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from sepconv_bench.kernels.cuda.product import Tile
from sepconv_bench.shapes import ConvShape

# From much reuse to many blocks.
TILES = (
    Tile(TP=8, TN=8, warps_p=4, warps_n=2, BK=16, blocks=2),  # 128 x 128
    Tile(TP=8, TN=8, warps_p=2, warps_n=2, BK=16, blocks=4),  # 64 x 128
    Tile(TP=8, TN=8, warps_p=4, warps_n=1, BK=16, blocks=3),  # 128 x 64
    Tile(TP=8, TN=4, warps_p=2, warps_n=2, BK=16, blocks=4),  # 64 x 64
    Tile(TP=8, TN=4, warps_p=4, warps_n=1, BK=16, blocks=4),  # 128 x 32
    Tile(TP=4, TN=4, warps_p=2, warps_n=2, BK=16, blocks=8),  # 32 x 64
    Tile(TP=4, TN=4, warps_p=2, warps_n=1, BK=16, blocks=8),  # 32 x 32
)
# Of fused, whose threads filter as well.
FUSED_TILES = (
    *(tile for tile in TILES if (tile.BP, tile.BN) != (64, 128)),
    Tile(TP=8, TN=8, warps_p=4, warps_n=2, BK=8, blocks=2),  # 128 x 128
    Tile(TP=8, TN=8, warps_p=2, warps_n=2, BK=16, blocks=3),  # 64 x 128
    Tile(TP=8, TN=8, warps_p=2, warps_n=2, BK=8, blocks=4),  # 64 x 128
    Tile(TP=4, TN=8, warps_p=4, warps_n=2, BK=16, blocks=2),  # 64 x 128 of 256 threads
    Tile(TP=8, TN=4, warps_p=2, warps_n=2, BK=8, blocks=4),  # 64 x 64
)
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)
# A depthwise thread computes TH x TW pixels of four channels.
STRIPS = ((16, 2), (8, 2), (8, 1), (4, 4), (4, 2), (4, 1), (2, 2), (2, 1), (1, 1))

# Of a multiprocessor: multiply-adds a cycle; cycles from asking for a slice to having it; what a second kernel costs.
_MULTIPLY_ADDS, _LATENCY, _LAUNCH = 128, 490, 500
_BYTES = 7000  # that the whole memory gives in a cycle
_READS = 0.3  # what a read of shared memory a multiply-add costs
_STRIP_THREADS = 1024  # of a multiprocessor, below which reads are not hidden


def choose_tile(
    pixels: int, N: int, terms: int, taps: int, multiprocessors: int, tiles: Sequence[Tile] = TILES
) -> tuple[Tile, int]:
    """Tile and splits with the fewest cycles for `pixels` x N sums of `taps` x `terms`."""
    each = ((tile, splits) for tile in tiles for splits in SPLITS if splits <= taps * ceil(terms / tile.BK))
    return min(each, key=lambda one: _cycles(one[0], one[1], pixels, N, terms, taps, multiprocessors))


def _cycles(
    tile: Tile, splits: int, pixels: int, N: int, terms: int, taps: int, multiprocessors: int, window: int = 0
) -> float:
    """A block needs a slice's latency at least for each slice; blocks on one multiprocessor share its multiply-adds. Of fused,
    `window` taps go into each term of a pixel."""
    blocks = ceil(pixels / tile.BP) * ceil(N / tile.BN) * splits
    slices = ceil(taps * ceil(terms / tile.BK) / splits)
    # Reads of shared memory keep small tiles from their multiply-adds: a vector of four a quad of sums' side.
    work = tile.BP * tile.BN * tile.BK / _MULTIPLY_ADDS * (1 + _READS * (4 * (1 / tile.TP + 1 / tile.TN) - 1))
    work += tile.BP * tile.BK * window / _MULTIPLY_ADDS
    resident = min(tile.blocks, ceil(blocks / multiprocessors))
    waves = ceil(blocks / (multiprocessors * resident))
    summing = splits > 1 and _LAUNCH + 8 * pixels * N * splits / _BYTES
    return waves * slices * max(_LATENCY, resident * work) + summing


def fuses(shape: ConvShape, multiprocessors: int) -> bool:
    """Whether separable takes fewer cycles in one pass than in two.

    One pass filters each pixel again for every tile of channels. Two need a second launch, and memory that gives F and takes
    the intermediate map; the product that follows finds that map in L2. Reckoned, as all of this file, and not yet timed.
    """
    pixels = shape.batch * shape.D_G**2
    sizes = (pixels, shape.N, shape.M, 1, multiprocessors)
    one = _cycles(*choose_tile(*sizes, FUSED_TILES), *sizes, window=shape.D_K**2)
    moved = 4 * shape.batch * shape.M * (shape.D_F**2 + shape.D_G**2)
    return one <= _cycles(*choose_tile(*sizes), *sizes) + _LAUNCH + moved / _BYTES


def choose_strip(D_K: int, D_G: int, threads: int, multiprocessors: int) -> tuple[int, int]:
    """TH x TW of a depthwise thread; `threads` is how many there were with one pixel each."""
    for TH, TW in STRIPS:
        wasted = ceil(D_G / TH) * TH * ceil(D_G / TW) * TW / D_G**2
        if threads * wasted / (TH * TW) >= _STRIP_THREADS * multiprocessors:
            return TH, TW
    return STRIPS[-1]
