"""What the host computes with, and the part of a map that stays in its registers."""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.binding as llvm
import numba

_ADDRESSED_PIXELS = 14  # as many as one pointer, odd multiples of a step and x86's scaled indices reach
_FEW_PIXELS = 4  # of a depthwise tile
LINE_FLOATS = 16  # in a cache line of 64 bytes


@dataclass(frozen=True)
class Vectors:
    """What the host computes with: floats in a vector, and vector registers."""

    lanes: int
    registers: int

    def max_pixels(self, NV: int) -> int:
        """Most pixels of a tile of NV vectors: its sums, NV vectors of weights and one pixel fit into registers."""
        return min(_ADDRESSED_PIXELS, (self.registers - 1 - NV) // NV)

    def filtered_tile(self, D_K: int) -> tuple[int, int]:
        """Most pixels, and vectors, of a depthwise tile: its sums, a row of D_K taps and one pixel fit into registers, if any
        do. It has whole cache lines of channels, or half of one, where four pixels are left: memory gives nothing less."""
        NV = max(1, LINE_FLOATS // self.lanes)
        while NV > 1 and self._filtered_pixels(D_K, NV) < _FEW_PIXELS:
            NV //= 2
        return min(_ADDRESSED_PIXELS, max(_FEW_PIXELS, self._filtered_pixels(D_K, NV))), NV

    def _filtered_pixels(self, D_K: int, NV: int) -> int:
        return (self.registers - 1 - D_K * NV) // NV

    def max_rolled_pixels(self, D_K: int) -> int:
        """Most pixels of a depthwise tile that rolls down its column: D_K rows of sums, all taps and one pixel fit."""
        return min(_ADDRESSED_PIXELS, (self.registers - 1 - D_K * D_K) // D_K)


def host_vectors() -> Vectors:
    """The widest vectors of the CPU that Numba compiles for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may force."""
    forced = numba.config.CPU_FEATURES  # type: ignore[attr-defined]
    if forced is None:
        features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    else:
        features = {feature.strip()[1:] for feature in forced.split(",") if feature.strip().startswith("+")}
    if "avx512f" in features:
        return Vectors(16, 32)
    if "avx" in features:
        return Vectors(8, 16)
    return Vectors(4, 32 if "neon" in features else 16)


@dataclass(frozen=True)
class Tile:
    """MR pixels x NV vectors of `lanes` channels. A jitted function sees it as a compile-time constant of its closure."""

    MR: int
    NV: int
    lanes: int

    @property
    def NR(self) -> int:
        """Channels of the tile."""
        return self.NV * self.lanes
