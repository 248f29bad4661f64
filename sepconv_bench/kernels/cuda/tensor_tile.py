"""The sizes of a product on tensor cores, where its slices lie in shared memory, and what one compiled kernel computes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.elements import WORDS, elements
from sepconv_bench.kernels.cuda.tensor_core import COLUMNS, ROWS
from sepconv_bench.model.dtypes import Dtype
from sepconv_bench.model.shapes import ConvShape

ROW_CHUNKS = 4  # of 16 bytes, in a row of a slice
ROW_WORDS = ROW_CHUNKS * WORDS


def swizzled(row, chunk):
    """Where in its row the chunk lies that is number `chunk` of what is summed. Two rows fill the banks once, so it changes
    every two: eight rows' chunks of one number, which ldmatrix reads together, lie in 32 banks."""
    return chunk ^ (row >> 1 & 3)


@dataclass(frozen=True)
class TensorTile:
    """tiles_p x tiles_n tiles of 16 x 8 sums a warp, warps_p x warps_n warps a block. A slice is 64 bytes of each of BP pixels
    and BN channels of G: 16 TF32, or 32 numbers of two bytes. tiles_n is even: ldmatrix brings two."""

    tiles_p: int
    tiles_n: int
    warps_p: int
    warps_n: int
    blocks: int  # that should fit on a multiprocessor: caps the registers of a thread

    @property
    def BP(self) -> int:
        return ROWS * self.tiles_p * self.warps_p

    @property
    def BN(self) -> int:
        return COLUMNS * self.tiles_n * self.warps_n

    @property
    def threads(self) -> int:
        return 32 * self.warps_p * self.warps_n

    @property
    def slice_words(self) -> int:
        """Of shared memory: pixels, and behind them the weights."""
        return (self.BP + self.BN) * ROW_WORDS

    @property
    def shared_bytes(self) -> int:
        return 2 * 4 * self.slice_words


# From much reuse to many blocks.
TENSOR_TILES = (
    TensorTile(tiles_p=4, tiles_n=4, warps_p=2, warps_n=4, blocks=2),  # 128 x 128
    TensorTile(tiles_p=2, tiles_n=4, warps_p=2, warps_n=2, blocks=4),  # 64 x 64
)


def choose_tensor_tile(pixels: int, N: int, multiprocessors: int) -> TensorTile:
    """The first with a block for every multiprocessor and no more columns than there are, or the last. Not fitted yet."""
    full = (tile for tile in TENSOR_TILES if tile.BN <= N and ceil(pixels / tile.BP) * ceil(N / tile.BN) >= multiprocessors)
    return next(full, TENSOR_TILES[-1])


@dataclass(frozen=True)
class TensorProduct:
    """What one compiled kernel computes. `filtered`: the pixels' side is the depthwise convolution of F."""

    shape: ConvShape
    F: Layout
    G: Layout
    filtered: bool
    tile: TensorTile

    @property
    def dtype(self) -> Dtype:
        return self.shape.dtype

    @property
    def pixels(self) -> int:
        return self.shape.batch * self.shape.D_G**2

    @property
    def BK(self) -> int:
        """Terms of a slice."""
        return ROW_CHUNKS * elements(self.dtype)

    @property
    def padded_M(self) -> int:
        return self.BK * ceil(self.shape.M / self.BK)

    @property
    def padded_N(self) -> int:
        return self.tile.BN * ceil(self.shape.N / self.tile.BN)

    @property
    def slices(self) -> int:
        return (1 if self.filtered else self.shape.D_K**2) * self.padded_M // self.BK

    @property
    def F_chunks(self) -> bool:
        """Whether every 16 bytes of channels of F are one load."""
        return self.F.aligned and self.shape.M % elements(self.dtype) == 0

    @property
    def G_pairs(self) -> bool:
        """Whether every two channels of G are one store."""
        return self.G.aligned and self.shape.N % 2 == 0

    @property
    def asynchronous(self) -> bool:
        """Whether pixels go into shared memory by copies that nobody waits for. Weights always do."""
        return self.F_chunks and not self.filtered

    @property
    def grid(self) -> tuple[int, int, int]:
        return ceil(self.pixels / self.tile.BP), self.padded_N // self.tile.BN, 1

    def packed(self, weights: np.ndarray) -> np.ndarray:
        """Weights (taps, M, N) as the kernel reads them: (padded_N, taps, padded_M), what is summed lies side by side."""
        taps, M, N = weights.shape
        packed = np.zeros((self.padded_N, taps, self.padded_M), np.float32)
        packed[:N, :, :M] = weights.transpose(2, 0, 1)
        return packed

    def packed_filter(self, K_hat: np.ndarray) -> np.ndarray:
        """Depthwise weights (D_K, D_K, M) with zeros up to whole slices: (D_K^2, padded_M)."""
        packed = np.zeros((self.shape.D_K**2, self.padded_M), np.float32)
        packed[:, : self.shape.M] = K_hat.reshape(-1, self.shape.M)
        return packed
