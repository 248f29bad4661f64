"""How a map is cut into tiles, weights into panels, and both into shares for the threads. Arithmetic on sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import NamedTuple

from sepconv_bench.kernels.cpu.registers import Vectors

# Of what should stay in a level of cache, in floats: a half of the smallest L1d in use, and of a common L2; and the half of
# that which is left to tiles where weights share it.
_L1_FLOATS = 1 << 12
_L2_FLOATS = 1 << 17
_L2_TILES_FLOATS = 1 << 16
_STRIP_FLOATS = 1 << 14
_STREAMED_TILES = 64
BAND_ROWS = 7  # that a tile goes down before the next beside it: their rows of F, two more, are in L1 still
_MOST_VECTORS = 4  # in a panel
_SERIAL_CYCLES = 20_000  # of one thread, below which waking the others costs more than they bring

# What one core does in a cycle, whichever x86 of the last ten years it is.
_MULTIPLY_ADDS = 2
_LOADS = 2
_ISSUED = 3.25  # instructions: half of what the widest issue, as a core does that shares its front end with a neighbour
_LOOP_INSTRUCTIONS = 3  # that count a loop and move its pointers
_LATENCY_CYCLES = 4  # of a multiply-add
_L2_LOADED = 5  # floats that come out of L2
_ALIKE = 1.003  # times the fewest cycles: what this reckoning cannot tell apart
_SHARED_LINE = 0.5  # for a float of G whose pixel another thread writes, too: neighbouring lines go to and fro between caches


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

    def counted(self, first: int = 0, last: int | None = None) -> list[tuple[int, int]]:
        """How long the runs from the `first` to before the `last` are, and how many are so: pairs of length and number."""
        last = self.parts if last is None else last
        longer = max(0, min(last, self.longer) - first)
        return [(length, count) for length, count in ((self.most, longer), (self.most - 1, last - first - longer)) if count]


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


class Candidate(NamedTuple):
    """Blocks that a product could be cut into, and the cycles that they should take the busiest thread."""

    cycles: float
    blocks: Blocks


def update_cycles(MR: int, NV: int, from_L2: int = 0) -> float:
    """Cycles of one rank-1 update: the most of what bounds it. A tile of one vector is bound by its loads and instructions: for
    a multiply-add 14 x 1 takes 1.2 times as long as 4 x 3, of what 16 registers hold."""
    return max(update_bounds(MR, NV, from_L2).values())


def update_bounds(MR: int, NV: int, from_L2: int = 0) -> dict[str, float]:
    """Cycles that each part of one rank-1 update takes at least: its multiply-adds, its loads, all its instructions, the floats
    of weights that come out of L2, and the latency of a sum."""
    multiply_adds, loads = MR * NV, MR + NV
    return {
        "multiply-adds": multiply_adds / _MULTIPLY_ADDS,
        "loads": loads / _LOADS,
        "instructions": (multiply_adds + loads + _LOOP_INSTRUCTIONS) / _ISSUED,
        "weights from L2": from_L2 / _L2_LOADED,
        "the latency of a sum": _LATENCY_CYCLES,
    }


def lanes_from_L2(updates: int, NV: int, lanes: int) -> int:
    """Of a vector of weights, those that come out of L2: all, or none where L1 holds a panel of `updates` x NV vectors."""
    return lanes if updates * NV * lanes > _L1_FLOATS else 0


@cache
def product_blocks(
    rows: int, width: int, M: int, N: int, taps: int, vectors: Vectors, threads: int, filter_taps: int = 0
) -> Blocks:
    """Blocks of `rows` x `width` pixels times weights of `taps` x M x N: those with the least work for the busiest thread.

    `filter_taps`: of a depthwise convolution which each thread does on its rows first, whatever its share of the panels.
    """
    return ranked_products(rows, width, M, N, taps, vectors, threads, filter_taps)[0].blocks


def ranked_products(
    rows: int, width: int, M: int, N: int, taps: int, vectors: Vectors, threads: int, filter_taps: int = 0
) -> list[Candidate]:
    """All candidates for `product_blocks`, the one with the least work for the busiest thread first; of those alike, the one
    with the fewest loads."""
    candidates, updates = _cuts(width, ceil(N / vectors.lanes), vectors), taps * M
    filtering = filter_taps * ceil(M / vectors.lanes) * width  # of a row

    def row_cycles(pixels: Cut, panels: Cut, first: int, last: int) -> float:
        lanes = lanes_from_L2(updates, panels.most, vectors.lanes)
        return updates * _row_cycles(pixels, panels.counted(first, last), lanes)

    serial = rows * (filtering + min(row_cycles(*cuts, 0, cuts[1].parts) for cuts in candidates))
    found = []
    for tile_threads, panel_threads in _grids(threads if serial > _SERIAL_CYCLES else 1):
        # What does not stay in L2 comes at about a float a cycle.
        read = rows * width * M / tile_threads + updates * N / panel_threads
        shared_lines = _SHARED_LINE * rows * width * N / panel_threads if panel_threads > 1 else 0
        for pixels, panels in candidates:
            busiest = max(row_cycles(pixels, panels, *share) for share in _shares(panels.parts, panel_threads))
            shared = 1 if filter_taps else pixels.parts  # whole rows, or each tile by itself
            rows_each = ceil(rows * shared / tile_threads) / shared
            blocks = Blocks(pixels, panels, tile_threads, panel_threads)
            found.append(Candidate(rows_each * (filtering + busiest) + max(0, read - _L2_FLOATS) + shared_lines, blocks))
    # Fewest loads among those alike: 6 x 4 is faster than 5 x 4 where the cycles differ by less than this reckoning can tell.
    alike = _ALIKE * min(one.cycles for one in found)
    return sorted(found, key=lambda one: (max(one.cycles, alike), _loads(one.blocks), one.cycles))


def _loads(blocks: Blocks) -> float:
    """Loads of the larger tile for each of its multiply-adds."""
    MR, NV = blocks.pixels.most, blocks.vectors.most
    return (MR + NV) / (MR * NV)


def _cuts(width: int, count: int, vectors: Vectors) -> list[tuple[Cut, Cut]]:
    """All ways to cut a row of pixels into tiles and `count` vectors into panels, the largest tiles first."""
    sizes = [(MR, NV) for NV in range(min(count, _MOST_VECTORS), 0, -1) for MR in range(vectors.max_pixels(NV), 0, -1)]
    return list(dict.fromkeys((Cut.balanced(width, MR), Cut.balanced(count, NV)) for MR, NV in sizes))


def _row_cycles(pixels: Cut, panels: list[tuple[int, int]], lanes: int) -> float:
    """Cycles of a rank-1 update of each tile of a row, with each of some panels: pairs of vectors and number. Of a vector of
    weights `lanes` come out of L2."""
    return sum(tiles * count * update_cycles(MR, NV, NV * lanes) for MR, tiles in pixels.counted() for NV, count in panels)


def _shares(parts: int, threads: int) -> list[tuple[int, int]]:
    """The first part and the one after the last, of each thread; as shares.py has them."""
    return [(parts * thread // threads, parts * (thread + 1) // threads) for thread in range(threads)]


def channel_blocks(rows: int, width: int, M: int, D_K: int, vectors: Vectors, threads: int, least: int = 1) -> Blocks:
    """Blocks of a depthwise convolution: panels of a tile's vectors; on `least` threads at least."""
    MR, NV = vectors.filtered_tile(D_K)
    pixels, panels = Cut.balanced(width, MR), Cut(ceil(M / (NV * vectors.lanes)), 1)
    tiles = rows * pixels.parts
    used = threads if tiles * panels.parts * NV * D_K**2 * pixels.most > _SERIAL_CYCLES else least
    grid = min(_grids(used), key=lambda grid: ceil(tiles / grid[0]) * ceil(panels.parts / grid[1]))
    return Blocks(pixels, panels, *grid)


def filtered_band(D_K: int, vectors: Vectors) -> int:
    """Rows that a depthwise tile goes down before the next beside it. Tiles of whole cache lines follow each other along a row,
    as memory does."""
    _, NV = vectors.filtered_tile(D_K)
    return BAND_ROWS if NV == 1 else 1


def depth_block(M: int, taps: int, NR: int) -> int:
    """Input channels of one panel of weights that stay in L2 together."""
    return min(M, max(1, _L2_FLOATS // (taps * NR)))


def tiles_block(tile_floats: int, weights_floats: int) -> int:
    """Tiles that go through the weights together, panel by panel: as many as stay in L2 beside a panel or, if L2 does not hold
    the weights, instead of it. The fewer, the more often all the weights are read."""
    return max(1, (_L2_FLOATS if streams(weights_floats) else _L2_TILES_FLOATS) // tile_floats)


def winograd_block(places: int, M: int, N: int) -> int:
    """Tiles of so many `places` that are transformed, multiplied and transformed back together: as many as stay in L2 or, if it
    does not hold the weights, enough to use each weight often that is read for a block."""
    return max(_L2_FLOATS // (places * (M + N)), _STREAMED_TILES if streams(places * M * N) else 1)


def strip_rows(row_floats: int, weights_floats: int) -> int:
    """Rows that a fused kernel filters before it multiplies them: few, so that they are warm still, unless L2 does not hold the
    weights, which are read for each strip."""
    return max(1, (_L2_FLOATS if streams(weights_floats) else _STRIP_FLOATS) // row_floats)


def fuses(weights_floats: int) -> bool:
    """Whether one pass is faster than two: as long as L2 holds the weights of the product, which each strip reads. Two passes
    read them for blocks of tiles that are four times as large, and no thread filters what another has filtered."""
    return weights_floats < _L2_FLOATS


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
