"""TF32: what is declared of kernels on tensor cores, how far off they may be, and what they are compared with."""

from __future__ import annotations

import made
import numpy as np
import pytest
from msgspec.structs import replace

from sepconv_bench import ConvShape, get_kernel, kernel_names
from sepconv_bench.model.pairing import pairs
from sepconv_bench.model.reference import Reference
from sepconv_bench.results.cell import Cell

PEERS = ("cuda.standard.torch-tf32", "cuda.pointwise.torch-tf32")


def test_the_peers_declare_tf32_and_no_other_does():
    declared = {name: get_kernel(name).declaration.precision for name in kernel_names(missing=True)}
    found = {name for name, precision in declared.items() if precision == "tf32"}
    assert found == {name for name in declared if "tf32" in name}
    assert found >= {*PEERS}


@pytest.mark.parametrize("M", [1, 16, 512])
@pytest.mark.parametrize("name", PEERS)
def test_factors_rounded_to_11_bits_are_right_and_to_9_are_not(name, M):
    """The worst that rounding to the nearest can do to every product at once; four times that is no TF32."""
    kernel = get_kernel(name)
    shape = ConvShape(3, M, 2, 2)
    F = np.ones(kernel.operator.F_shape(shape), np.float32)
    K = np.ones(kernel.operator.weight_shapes(shape)[0], np.float32)
    exact = Reference(kernel.operator, shape, F, [K])
    assert exact.error(exact.G * (1 + 2.0**-11) ** 2) <= kernel.rounding(shape)
    assert exact.error(exact.G * (1 + 2.0**-9) ** 2) > kernel.rounding(shape)


def test_a_launch_allows_tf32_and_the_next_does_not():
    torch = pytest.importorskip("torch")
    from sepconv_bench.kernels.peers.cudnn import allowing_tf32

    def fails():
        raise RuntimeError("no algorithm")

    for before in (False, True):
        torch.backends.cudnn.allow_tf32 = before
        assert allowing_tf32(lambda: torch.backends.cudnn.allow_tf32)() is True
        assert torch.backends.cudnn.allow_tf32 is before
        with pytest.raises(RuntimeError, match="no algorithm"):
            allowing_tf32(fails)()
        assert torch.backends.cudnn.allow_tf32 is before


def test_the_peak_is_no_roof_for_tensor_cores_and_they_are_not_the_headline():
    shape = ConvShape(3, 64, 64, 28)
    least = 2 * 9 * 64 * 64 * 28 * 28 / made.PEAK_FLOPS  # seconds, of a kernel at the peak
    tiled, separable = made.declared("cuda.standard.tiled"), made.declared("cuda.separable.tiled")
    tensor = replace(made.declared("cuda.standard.torch-tf32"), precision="tf32")
    seconds = {tiled: 1.25 * least, tensor: 0.2 * least, separable: 0.5 * least}
    cell = Cell(made.measured(shape, seconds), made.run())
    assert cell.eta(tiled.name) == pytest.approx(0.8)
    assert np.isnan([cell.eta(tensor.name), cell.roofline_s(tensor.name)]).all()
    assert cell.held_by_memory(tensor.name) == ()
    found = pairs({one.name: time for one, time in seconds.items()}, {one.name: one for one in seconds})
    assert {(one.standard, one.best) for one in found} == {(tiled.name, True), (tensor.name, False)}
