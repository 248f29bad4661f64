"""Nothing wrong reaches compiled code: what does not fit is refused with what came and what would fit."""

from __future__ import annotations

import numpy as np
import pytest

from sepconv_bench import ShapeError, get_kernel
from sepconv_bench.kernels.problem import Steps, problem_from_arrays
from sepconv_bench.model.operators import get_operator

F = np.ones((6, 6, 4), np.float32)
K = np.ones((3, 3, 4, 5), np.float32)
K_hat = np.ones((3, 3, 4), np.float32)
K_tilde = np.ones((4, 5), np.float32)
GOOD = {"standard": (F, K), "depthwise": (F, K_hat), "pointwise": (F, K_tilde), "separable": (F, K_hat, K_tilde)}
HUGE = np.broadcast_to(np.ones(4, np.float32), (1 << 20, 1 << 20, 4))


def call(operator, *arrays, **more):
    return get_kernel(f"cpu.{operator}.numpy")(*arrays, **more)


@pytest.mark.parametrize("operator", GOOD)
def test_what_fits_is_computed(operator):
    G = call(operator, *GOOD[operator])
    value = {"standard": 36, "depthwise": 9, "pointwise": 4, "separable": 36}[operator]
    np.testing.assert_array_equal(G, np.full(G.shape, value, np.float32))


@pytest.mark.parametrize(
    ("operator", "arrays", "came", "would_fit"),
    [
        ("standard", (F,), "1 came", "takes the 2 arrays F, K"),
        ("separable", (F, K_hat), "2 came", "F, K_hat, K_tilde"),
        ("standard", (F.tolist(), K), "F is a list", "numpy array of float32"),
        ("standard", (F, None), "K is a NoneType", "(D_K, D_K, M, N)"),
        ("standard", (np.ma.masked_array(F), K), "F is a MaskedArray", "numpy array"),
        ("standard", (F[0], K), "rank 2", "(D_F, D_F, M)"),
        ("standard", (F[None, None], K), "rank 5", "(batch, D_F, D_F, M)"),
        ("standard", (F, K_hat), "K has shape (3, 3, 4), rank 3", "(D_K, D_K, M, N)"),
        ("depthwise", (F, K), "rank 4", "(D_K, D_K, M)"),
        ("pointwise", (F, K_hat), "rank 3", "(M, N)"),
        ("standard", (F.astype(np.float64), K), "dtype <f8", "float32"),
        ("standard", (F, K.astype(np.float16)), "dtype <f2", "float32"),
        ("standard", (F.astype(">f4"), K), "dtype >f4", "native byte order"),
        ("standard", (F.astype(complex), K), "dtype <c16", "float32"),
        ("standard", (np.empty((0, 0, 4), np.float32), K), "(0, 0, 4)", "at least 1"),
        ("standard", (F, np.empty((3, 3, 4, 0), np.float32)), "(3, 3, 4, 0)", "at least 1"),
        ("standard", (np.ones((6, 6, 8), np.float32)[..., ::2], K), "8 bytes apart", "contiguous"),
        ("standard", (np.ones((4, 6, 6), np.float32).T, K), "bytes apart", "contiguous"),
        ("standard", (F[..., ::-1], K), "-4 bytes apart", "contiguous"),
        ("standard", (F, np.ones((3, 3, 4, 10), np.float32)[..., ::2]), "the channels of K", "contiguous"),
        ("standard", (F, K[:, :, :3]), "F has M=4 channels", "(D_K, D_K, M, N)"),
        ("depthwise", (F, K_hat[..., :3]), "F has M=4 channels", "(D_K, D_K, M)"),
        ("pointwise", (F, K_tilde[:3]), "K_tilde has shape (3, 5)", "(M, N)"),
        ("separable", (F, K_hat, K_tilde[:3]), "K_tilde has shape (3, 5)", "(M, N)"),
        ("standard", (F[:2, :2], K), "F is 2 wide and the kernel D_K=3", "D_F >= D_K"),
        ("standard", (HUGE, K), "need 20,479.92 GiB", "of memory are free"),
        ("separable", (HUGE, K_hat, K_tilde[:, :1]), "need 20,479.92 GiB", "of memory are free"),
        ("depthwise", (HUGE, K_hat), "need 16,383.94 GiB", "of memory are free"),
        ("pointwise", (HUGE, K_tilde), "need 20,480.00 GiB", "of memory are free"),
        ("standard", (np.broadcast_to(F, (1 << 33, 6, 6, 4)), K), "batch is 8589934592", "from 1 to 2147483647"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(operator, arrays, came, would_fit):
    with pytest.raises(ShapeError) as refused:
        call(operator, *arrays)
    assert isinstance(refused.value, ValueError)
    assert came in str(refused.value)
    assert would_fit in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("operator", "weight"), [("standard", (1 << 20, 1 << 20, 1, 4)), ("depthwise", (1 << 20, 1 << 20, 1))])
def test_weights_that_would_not_fit_in_memory_are_refused(operator, weight):
    """Giant weights at one address, and a giant map on which they fit once: kernels take them only as a dense copy."""
    maps = np.broadcast_to(np.ones(1, np.float32), (1 << 20, 1 << 20, 1))
    with pytest.raises(ShapeError, match="of memory are free"):
        problem_from_arrays(operator, (maps, np.broadcast_to(np.ones(weight[-1], np.float32), weight)))


def _misaligned(shape):
    raw = np.zeros(4 * int(np.prod(shape)) + 4, np.uint8)
    return raw[1:-3].view(np.float32).reshape(shape)


def test_misaligned_arrays_are_refused():
    with pytest.raises(ShapeError, match="not aligned to float32"):
        call("standard", _misaligned(F.shape), K)
    odd = np.lib.stride_tricks.as_strided(np.ones(400, np.float32), F.shape, (99, 16, 4))
    with pytest.raises(ShapeError, match="multiples of 4 bytes"):
        call("standard", odd, K)


@pytest.mark.parametrize("stride", [0, -1, 1.5, True, "2", None, 1 << 40])
def test_a_stride_that_is_none_is_refused(stride):
    with pytest.raises(ShapeError, match="stride is"):
        call("standard", F, K, stride=stride)


def _read_only():
    out = np.empty((4, 4, 5), np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ([], "out is a list"),
        (np.empty((4, 4, 4), np.float32), r"out has shape \(4, 4, 4\); G of these arrays is \(4, 4, 5\)"),
        (np.empty((1, 4, 4, 5), np.float32), "out has shape"),
        (np.empty((4, 4, 5)), "out has dtype <f8"),
        (np.empty((4, 4, 5), ">f4"), "out has dtype >f4"),
        (np.ma.masked_array(np.empty((4, 4, 5), np.float32)), "out is a MaskedArray"),
        (_misaligned((4, 4, 5)), "out is not aligned"),
        (np.empty((4, 4, 10), np.float32)[..., ::2], "the channels of out"),
        (_read_only(), "read-only"),
        (np.lib.stride_tricks.as_strided(np.empty(400, np.float32), (4, 4, 5), (64, 16, 4)), "share memory"),
        (np.lib.stride_tricks.as_strided(np.empty(400, np.float32), (4, 4, 5), (0, 20, 4)), "share memory"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(out, told):
    with pytest.raises(ShapeError, match=told):
        call("standard", F, K, out=out)


def test_an_out_that_shares_memory_with_an_input_is_refused():
    buffer = np.ones(1000, np.float32)
    maps = buffer[:144].reshape(6, 6, 4)
    with pytest.raises(ShapeError, match="out shares memory with F"):
        call("standard", maps, K, out=buffer[100:180].reshape(4, 4, 5))
    weights = buffer[200:380].reshape(3, 3, 4, 5)
    with pytest.raises(ShapeError, match="out shares memory with K"):
        call("standard", F, weights, out=buffer[379:459].reshape(4, 4, 5))
    small = buffer[200:236].reshape(3, 3, 4), buffer[300:320].reshape(4, 5)
    for name, first in (("K_hat", 235), ("K_tilde", 319)):
        with pytest.raises(ShapeError, match=f"out shares memory with {name}"):
            call("separable", F, *small, out=buffer[first : first + 80].reshape(4, 4, 5))
    G = call("standard", maps, weights, out=buffer[380:460].reshape(4, 4, 5))
    assert (G == 36).all(), "side by side in one buffer is fine"


def test_out_between_the_pixels_of_another_map_is_fine():
    """Two maps woven into one buffer: their bounds overlap, their floats do not."""
    both = np.ones((6, 6, 9), np.float32)
    maps, out = both[..., :4], both[1:5, 1:5, 4:]
    assert (call("standard", maps, K, out=out) == 36).all()
    assert (maps == 1).all()


@pytest.mark.parametrize("operator", GOOD)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_kernel_is_given_what_a_problem_promises(operator, batch):
    """Rows beyond the last window are cut off, weights are dense, a batch axis is there, whatever the user brought."""
    maps = np.ones((*batch, 8, 8, 4), np.float32)
    larger = [np.ones([size + 1 for size in weight.shape], np.float32) for weight in GOOD[operator][1:]]
    weights = [weight[tuple(slice(1, None) for _ in weight.shape)] for weight in larger]
    problem, G = problem_from_arrays(operator, (maps, *weights), Steps(2))
    D_G = 4 if operator == "pointwise" else 3
    assert problem.shape.D_G == D_G
    assert problem.F.shape == get_operator(operator).F_shape(problem.shape)
    assert problem.G.shape == get_operator(operator).G_shape(problem.shape)
    assert tuple(weight.shape for weight in problem.weights) == get_operator(operator).weight_shapes(problem.shape)
    assert all(weight.flags.c_contiguous for weight in problem.weights)
    assert G.shape == (*batch, *problem.G.shape[1:])
    assert np.shares_memory(G, problem.G)
    assert np.isnan(G).all()


@pytest.mark.parametrize("name", ["cpu.standard.loops", "cpu.standard.parallel"])
def test_compiled_kernels_are_behind_the_same_checks(name):
    with pytest.raises(ShapeError, match="F is 2 wide"):
        get_kernel(name)(F[:2, :2], K)
