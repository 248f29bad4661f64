"""explain says what is left of the promise beside a standard convolution by Winograd's algorithm."""

import made
import pytest
from msgspec.structs import replace

import sepconv_bench as sb
from sepconv_bench.api import explain as explaining
from sepconv_bench.results.cell import Cell

SHAPE = sb.ConvShape(3, 64, 64, 28)


def test_the_speedup_over_winograd_is_of_the_fastest_of_either():
    slow, fast = (replace(made.declared(f"cpu.standard.winograd-{m}"), algorithm="winograd") for m in ("2x2", "4x4"))
    tiled, two, fused = (made.declared(name) for name in ("cpu.standard.tiled", "cpu.separable.tiled", "cpu.separable.fused"))
    cell = Cell(made.measured(SHAPE, {slow: 5e-3, fast: 3e-3, tiled: 1e-3, two: 2e-3, fused: 1.5e-3}), made.run())
    assert explaining._over_winograd([cell], SHAPE, "cpu").value == pytest.approx(2)
    assert explaining._over_winograd([cell], sb.ConvShape(3, 64, 64, 14), "cpu") is None
