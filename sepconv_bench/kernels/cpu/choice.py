"""What our tiled and fused kernels chose for a shape, and why: the reckoning of blocking.py, in plain lines."""

from __future__ import annotations

from dataclasses import dataclass

from sepconv_bench.kernels.cpu import blocking
from sepconv_bench.kernels.cpu.blocking import Candidate
from sepconv_bench.kernels.cpu.layout import FLOAT
from sepconv_bench.kernels.cpu.registers import Vectors
from sepconv_bench.model.shapes import ConvShape


@dataclass(frozen=True)
class Product:
    """How a kernel cuts its product of `updates` rank-1 updates a tile: the `best` of the candidates, and the best of those
    with another tile, if there are any."""

    kernel: str
    updates: int
    lanes: int
    best: Candidate
    runner_up: Candidate | None

    @property
    def lines(self) -> tuple[str, str]:
        """Which tile with its cycles and the runner-up's, and what an update of that tile is bound by."""
        cycles = self.best.cycles
        which = f"{self.kernel}: {_tile(*_sizes(self.best))}, predicted {_count(cycles)} cycles"
        if self.runner_up is None:
            which += "; no other tile fits"
        else:
            MR, NV = _sizes(self.runner_up)
            which += f"; next {MR} x {NV} with {_count(self.runner_up.cycles)} ({self.runner_up.cycles / cycles - 1:+.1%})"
        MR, NV = _sizes(self.best)
        bounds = blocking.update_bounds(MR, NV, NV * blocking.lanes_from_L2(self.updates, NV, self.lanes))
        limit = max(bounds, key=lambda part: bounds[part])
        loads = (MR + NV) / (MR * NV)
        return which, f"  one update takes {bounds[limit]:.1f} cycles, bound by {limit}; {loads:.2f} loads a multiply-add"


@dataclass(frozen=True)
class Choice:
    """What is chosen for a shape on a CPU of such `vectors` with so many `threads`.

    `filtered`: pixels and vectors of the depthwise tile. `fused`: whether a network's block goes in one pass, for pointwise
    weights of `weights_bytes`.
    """

    vectors: Vectors
    threads: int
    products: tuple[Product, ...]
    filtered: tuple[int, int]
    fused: bool
    weights_bytes: int

    @property
    def lines(self) -> tuple[str, ...]:
        """The choice in plain words."""
        cpu = f"{self.vectors.registers} registers of {self.vectors.lanes} floats, {_plural(self.threads, 'thread')}"
        weights = f"{self.weights_bytes / 1024:.4g} KB of pointwise weights"
        if self.fused:
            passes = f"fused, in one pass: L2 holds the {weights}, which each strip reads"
        else:
            passes = f"in two passes: L2 has no room for the {weights}, which each strip would read"
        return (
            f"tiles on this CPU ({cpu}), and the cycles of the busiest thread",
            *(line for product in self.products for line in product.lines),
            f"cpu.depthwise.tiled, and the filter of both separable kernels: {_tile(*self.filtered)}",
            "  as many sums as registers and addresses allow beside a row of taps and one pixel; rows are cut evenly",
            f"separable in a network: {passes}",
        )


def choose(shape: ConvShape, vectors: Vectors, threads: int) -> Choice:
    """What the kernels choose for a shape whose window is square and whose groups are one; `bind` of each does the same."""
    (rows, width), taps = shape.G_map, shape.D_K**2
    of_image = shape.batch, rows * width  # pointwise joins the rows of an image
    products = (
        _product("cpu.standard.tiled", shape, shape.batch * rows, width, taps, vectors, threads),
        _product("cpu.pointwise.tiled", shape, *of_image, 1, vectors, threads),
        _product("cpu.separable.fused", shape, shape.batch * rows, width, 1, vectors, threads, taps),
    )
    filtered = blocking.channel_blocks(shape.batch * rows, width, shape.M, shape.D_K, vectors, threads).pixels.most
    weights = shape.M * shape.N
    NV = vectors.filtered_tile(shape.D_K)[1]
    return Choice(vectors, threads, products, (filtered, NV), blocking.fuses(weights), weights * FLOAT)


def _product(
    kernel: str, shape: ConvShape, rows: int, width: int, taps: int, vectors: Vectors, threads: int, filter_taps: int = 0
) -> Product:
    best, *others = blocking.ranked_products(rows, width, shape.M, shape.N, taps, vectors, threads, filter_taps)
    runner_up = next((one for one in others if _sizes(one) != _sizes(best)), None)
    return Product(kernel, taps * shape.M, vectors.lanes, best, runner_up)


def _sizes(one: Candidate) -> tuple[int, int]:
    return one.blocks.pixels.most, one.blocks.vectors.most


def _tile(MR: int, NV: int) -> str:
    return f"{_plural(MR, 'pixel')} x {_plural(NV, 'vector')}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _count(cycles: float) -> str:
    return f"{cycles / 1e6:.3g} M" if cycles >= 1e6 else f"{cycles / 1e3:.3g} k"
