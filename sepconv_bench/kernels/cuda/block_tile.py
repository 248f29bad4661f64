"""The sizes of a tiled product on the GPU: the tile of a block, and what one compiled kernel computes with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.vectors import FLOATS
from sepconv_bench.model.shapes import ConvShape


@dataclass(frozen=True)
class BlockTile:
    """TP x TN sums a thread, threads_p x threads_n of which are a warp's 4 x 8; warps_p x warps_n warps; slices of BK."""

    TP: int
    TN: int
    warps_p: int
    warps_n: int
    BK: int
    blocks: int  # that should fit on a multiprocessor: caps the registers of a thread

    @property
    def BP(self) -> int:
        return 4 * self.TP * self.warps_p

    @property
    def BN(self) -> int:
        return 8 * self.TN * self.warps_n

    @property
    def threads(self) -> int:
        return 32 * self.warps_p * self.warps_n

    @property
    def pixel_quads(self) -> int:
        """Quads of a slice's pixels that each thread brings in: four channels of a pixel each."""
        return self.BP * self.BK // FLOATS // self.threads

    @property
    def weight_quads(self) -> int:
        """Quads of a slice's weights that each thread brings in."""
        return self.BK * self.BN // FLOATS // self.threads

    @property
    def pitch(self) -> int:
        """Floats from one row of pixels in shared memory to the next: four more, or storing quads of channels would collide."""
        return self.BP + FLOATS

    @property
    def weight_pitch(self) -> int:
        """Floats from one row of weights in shared memory to the next."""
        return self.BN

    @property
    def shared_bytes(self) -> int:
        return 4 * 2 * self.BK * (self.pitch + self.weight_pitch)


@dataclass(frozen=True)
class Product:
    """What one compiled kernel computes. `filtered`: the pixels' side is the depthwise convolution of F."""

    shape: ConvShape
    F: Layout
    G: Layout
    filtered: bool
    tile: BlockTile
    splits: int  # shares of the slices, each summed by blocks of its own
    epilogue: bool = False  # each map, of depthwise too, is min(max(sum + bias, 0), 6)

    @property
    def pixels(self) -> int:
        return self.shape.batch * self.shape.D_G**2

    @property
    def padded_M(self) -> int:
        return self.tile.BK * ceil(self.shape.M / self.tile.BK)

    @property
    def padded_N(self) -> int:
        return self.tile.BN * ceil(self.shape.N / self.tile.BN)

    @property
    def slices(self) -> int:
        return (1 if self.filtered else self.shape.D_K**2) * self.padded_M // self.tile.BK

    @property
    def F_vectors(self) -> bool:
        """Whether every quad of channels of F is one vector."""
        return self.F.aligned and self.shape.M % FLOATS == 0

    @property
    def G_vectors(self) -> bool:
        """Whether every quad of channels of G is one vector."""
        return self.G.aligned and self.shape.N % FLOATS == 0

    @property
    def paired(self) -> bool:
        """Whether a thread filters two neighbours in a row at a time: they share all but the first and the last column of their
        windows."""
        even = self.shape.D_G % 2 == 0 and self.tile.pixel_quads % 2 == 0
        return self.filtered and self.F_vectors and self.shape.stride == 1 and even

    @property
    def pixel_run(self) -> int:
        """Neighbours in a row that a thread loads together."""
        return 2 if self.paired else 1

    @property
    def grid(self) -> tuple[int, int, int]:
        return ceil(self.pixels / self.tile.BP), self.padded_N // self.tile.BN, self.splits

    def packed(self, weights: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Weights (taps, M, N) as the kernel reads them: padded with zeros to whole slices and tiles, and a bias after them."""
        taps, M, N = weights.shape
        packed = np.zeros((taps, self.padded_M, self.padded_N), np.float32)
        packed[:, :M, :N] = weights
        return np.concatenate([packed.reshape(-1), padded(bias, self.padded_N)])

    def packed_filter(self, K_hat: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Depthwise weights (D_K, D_K, M), padded with zeros to whole slices, and a bias after them."""
        packed = np.zeros((self.shape.D_K**2, self.padded_M), np.float32)
        packed[:, : self.shape.M] = K_hat.reshape(-1, self.shape.M)
        return np.concatenate([packed.reshape(-1), padded(bias, self.padded_M)])


def padded(bias: np.ndarray | None, size: int) -> np.ndarray:
    """A bias with zeros up to `size`; nothing where there is none."""
    filled = np.zeros(0 if bias is None else size, np.float32)
    if bias is not None:
        filled[: len(bias)] = bias
    return filled
