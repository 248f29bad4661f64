"""How a map is cut into tiles, weights into panels, and both into shares for the threads. Arithmetic on sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from sepconv_bench.kernels.cpu.registers import Vectors

# Of what should stay in a level of cache, in floats: a half of the smallest L1d in use, and of a common L2.
_L1_FLOATS = 1 << 12
_L2_FLOATS = 1 << 17
_MOST_VECTORS = 4  # in a panel
_LATENCY_CYCLES = 4  # of a multiply-add
_SERIAL_CYCLES = 20_000  # of one thread, below which waking the others costs more than they bring


@dataclass(frozen=True)
class Cut:
    """`size` things in runs of `most` and, the last ones, one less: no short run is left over."""

    size: int
    most: int

    @classmethod
    def balanced(cls, size: int, most: int) -> Cut:
        """As few runs as `most` allows, all of nearly the same length."""
        return cls(size, ceil(size / ceil(size / most)))

    @property
    def parts(self) -> int:
        return ceil(self.size / self.most)

    @property
    def lengths(self) -> tuple[int, int]:
        """Of the longest and of the shortest runs; the same where `most` divides the size."""
        return self.most, self.most - (self.longer < self.parts)

    @property
    def longer(self) -> int:
        """How many of the runs are `most` long."""
        return self.size - self.parts * (self.most - 1)


@dataclass(frozen=True)
class Blocks:
    """The work of one kernel: `pixels` cuts a row of the map into tiles, `vectors` its channels into panels.

    Threads are a grid: `tile_threads` shares of all the tiles by `panel_threads` shares of the panels.
    """

    pixels: Cut
    vectors: Cut
    tile_threads: int
    panel_threads: int

    @property
    def threads(self) -> int:
        return self.tile_threads * self.panel_threads


def tile_cycles(MR: int, NV: int) -> float:
    """Cycles of one rank-1 update: of its multiply-adds and of its loads, two a cycle; of the latency of a sum; and of
    its weights, which come out of L2 at half a vector a cycle. The longest counts."""
    return max(MR * NV / 2, (MR + NV) / 2, _LATENCY_CYCLES, 2 * NV)


def product_blocks(
    rows: int, width: int, M: int, N: int, taps: int, vectors: Vectors, threads: int, filter_taps: int = 0
) -> Blocks:
    """Blocks of `rows` x `width` pixels times weights of `taps` x M x N: those with the least work for the busiest thread.

    `filter_taps`: of a depthwise convolution which each thread does on its tiles first, whatever its share of the panels.
    """
    count = ceil(N / vectors.lanes)
    found = []
    for NV in range(1, min(count, _MOST_VECTORS) + 1):
        pixels, panels = Cut.balanced(width, vectors.max_pixels(NV)), Cut.balanced(count, NV)
        tiles, cycles = rows * pixels.parts, taps * M * tile_cycles(pixels.most, panels.most)
        filtering = ceil(M / vectors.lanes) * filter_taps * pixels.most
        used = threads if tiles * (filtering + panels.parts * cycles) > _SERIAL_CYCLES else 1
        for tile_threads, panel_threads in _grids(used):
            busy = ceil(tiles / tile_threads) * (filtering + ceil(panels.parts / panel_threads) * cycles)
            # What does not stay in L2 comes at about a float a cycle.
            read = rows * width * M / tile_threads + taps * M * N / panel_threads
            blocks = Blocks(pixels, panels, tile_threads, panel_threads)
            found.append((busy + max(0, read - _L2_FLOATS), blocks))
    return min(found, key=lambda one: one[0])[1]


def channel_blocks(rows: int, width: int, M: int, D_K: int, vectors: Vectors, threads: int, least: int = 1) -> Blocks:
    """Blocks of a depthwise convolution: panels of one vector. On `least` threads at least, however little there is to do."""
    pixels, panels = Cut.balanced(width, vectors.max_filtered_pixels(D_K)), Cut(ceil(M / vectors.lanes), 1)
    tiles = rows * pixels.parts
    used = threads if tiles * panels.parts * D_K**2 * pixels.most > _SERIAL_CYCLES else least
    grid = min(_grids(used), key=lambda grid: ceil(tiles / grid[0]) * ceil(panels.parts / grid[1]))
    return Blocks(pixels, panels, *grid)


def depth_block(M: int, taps: int, NR: int) -> int:
    """Input channels of one panel of weights that stay in L2 together."""
    return min(M, max(1, _L2_FLOATS // (taps * NR)))


def tiles_block(tile_floats: int, weights_floats: int) -> int:
    """Tiles that go through the weights together: as many as L1 holds or, if L2 does not hold the weights, as L2 does."""
    return max(1, (_L2_FLOATS if streams(weights_floats) else _L1_FLOATS) // tile_floats)


def streams(weights_floats: int) -> bool:
    """Whether the weights are too many for L2, and come from further away each time."""
    return weights_floats > 2 * _L2_FLOATS


def prefetches(map_floats: int, weights_floats: int) -> bool:
    """Whether to fetch memory ahead of its use: what is in L2 anyway comes soon enough, and a prefetch takes a load."""
    return streams(weights_floats) or map_floats > 2 * _L2_FLOATS


def stores_nontemporal(map_floats: int) -> bool:
    """Whether a map is so large that its writer should leave the caches to what is read: what is written is out of them
    again before it is read."""
    return map_floats > 16 * _L2_FLOATS


def _grids(threads: int) -> list[tuple[int, int]]:
    return [(tiles, threads // tiles) for tiles in range(threads, 0, -1) if threads % tiles == 0]
