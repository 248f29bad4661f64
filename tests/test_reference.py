"""The reference against the equations written out, and its verdict against what it must and must not let pass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sepconv_bench import ConvShape
from sepconv_bench.model.operators import OPERATORS, STANDARD, get_operator
from sepconv_bench.model.reference import Reference, convolve

SHAPES = [
    ConvShape(3, 2, 3, 3),
    ConvShape(2, 3, 2, 3, stride=2, batch=2),
    ConvShape(1, 4, 1, 2, stride=3),
    ConvShape(4, 1, 2, 1),
]


def literal(operator, shape, F, weights):
    """Equations 1 to 4 as sums over indices, in Python's exact integers."""
    if operator == "separable":
        return literal("pointwise", shape, literal("depthwise", shape, F, weights[:1]), weights[1:])
    (K,) = weights
    G = np.zeros(get_operator(operator).G_shape(shape), object)
    taps = list(itertools.product(range(shape.D_K), repeat=2))
    for b, k, l, c in np.ndindex(G.shape):
        row, column = k * shape.stride, l * shape.stride
        if operator == "standard":
            G[b, k, l, c] = sum(int(K[i, j, m, c]) * int(F[b, row + i, column + j, m]) for i, j in taps for m in range(shape.M))
        elif operator == "depthwise":
            G[b, k, l, c] = sum(int(K[i, j, c]) * int(F[b, row + i, column + j, c]) for i, j in taps)
        else:
            G[b, k, l, c] = sum(int(K[m, c]) * int(F[b, k, l, m]) for m in range(shape.M))
    return G


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reference_is_the_equation(operator, shape):
    rng = np.random.default_rng(0)
    F = rng.integers(-9, 10, get_operator(operator).F_shape(shape)).astype(np.float32)
    weights = tuple(rng.integers(-9, 10, weight).astype(np.float32) for weight in get_operator(operator).weight_shapes(shape))
    stride = 1 if operator == "pointwise" else shape.stride
    np.testing.assert_array_equal(convolve(operator, F, weights, stride), literal(operator, shape, F, weights).astype(float))


@pytest.mark.parametrize("operator", OPERATORS)
def test_maps_end_with_a_bias_between_0_and_6_where_asked(operator):
    shape = ConvShape(2, 3, 4, 5)
    rng = np.random.default_rng(0)
    F = rng.integers(-2, 3, get_operator(operator).F_shape(shape)).astype(np.float32)
    weights = tuple(rng.integers(-2, 3, weight).astype(np.float32) for weight in get_operator(operator).weight_shapes(shape))
    biases = tuple(rng.integers(-3, 4, weight.shape[-1]).astype(np.float32) for weight in weights)
    G, parts = F, ("depthwise", "pointwise") if operator == "separable" else (operator,)
    for part, K, bias in zip(parts, weights, biases, strict=True):
        G = np.minimum(np.maximum(literal(part, shape, G, (K,)) + bias, 0), 6)
    reference = Reference(operator, shape, F, weights, biases)
    np.testing.assert_array_equal(reference.G, G.astype(float))
    assert 0 < (reference.G == 0).mean() < 1
    assert (reference.G == 6).any()
    assert reference.error(reference.G) == 0
    assert reference.error(reference.G + 1e-3) > 1, "a bias that is off by a thousandth"


def test_rows_are_taken_a_few_at_a_time_without_a_seam(monkeypatch):
    shape = ConvShape(3, 4, 5, 9, stride=2)
    rng = np.random.default_rng(0)
    F, K = (rng.standard_normal(size) for size in (STANDARD.F_shape(shape), *STANDARD.weight_shapes(shape)))
    whole = convolve("standard", F, (K,), 2)
    monkeypatch.setattr("sepconv_bench.model.reference._ROWS_BYTES", 1)
    np.testing.assert_allclose(convolve("standard", F, (K,), 2), whole, rtol=1e-13)


@pytest.mark.parametrize("operator", OPERATORS)
def test_rounding_passes_and_one_lost_term_does_not(operator):
    shape = ConvShape(3, 256, 16, 6)
    rng = np.random.default_rng(3)
    F = rng.standard_normal(get_operator(operator).F_shape(shape), np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in get_operator(operator).weight_shapes(shape))
    reference = Reference(operator, shape, F, weights)
    assert reference.error(reference.G.astype(np.float32)) <= 1
    lost = weights[0].copy()
    lost[(0,) * (lost.ndim - 1)] = 0
    assert reference.error(convolve(operator, F, (lost, *weights[1:])).astype(np.float32)) > 1


def test_float32_sums_in_the_worst_order_pass():
    """One long running sum, the order with most rounding, at the longest sum of the grids."""
    shape = ConvShape(3, 512, 4, 3)
    rng = np.random.default_rng(4)
    F = rng.standard_normal(STANDARD.F_shape(shape), np.float32)
    K = rng.standard_normal((3, 3, 512, 4), np.float32)
    G = np.zeros(STANDARD.G_shape(shape), np.float32)
    for i, j, m in np.ndindex(3, 3, 512):
        G += F[:, i : i + 3, j : j + 3, m, np.newaxis] * K[i, j, m]
    assert Reference("standard", shape, F, (K,)).error(G) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_one_product_lost_in_a_big_sum_is_seen(seed):
    """Of 4608 products in one of 36 outputs, one of ordinary size is left out."""
    shape = ConvShape(3, 512, 4, 3)
    rng = np.random.default_rng(seed)
    F, K = (rng.standard_normal(size, np.float32) for size in (STANDARD.F_shape(shape), *STANDARD.weight_shapes(shape)))
    reference = Reference("standard", shape, F, (K,))
    products = np.abs(F[0, 1:4, 1:4, :] * K[..., 2]).reshape(-1)
    G = reference.G.astype(np.float32)
    G[0, 1, 1, 2] -= np.sort(products)[len(products) // 2]
    assert reference.error(G) > 1


FLOAT32_ORDERS = {
    "by BLAS": lambda products: products[0] @ products[1],
    "pairwise": lambda products: (products[0][..., np.newaxis] * products[1]).sum(axis=-2, dtype=np.float32),
    "last to first": lambda products: products[0][:, ::-1] @ products[1][::-1],
    "one by one": lambda products: np.add.accumulate(products[0][..., np.newaxis] * products[1], axis=-2)[:, -1],
    "small to large": lambda products: np.add.accumulate(
        np.take_along_axis(terms := products[0][..., np.newaxis] * products[1], np.abs(terms).argsort(axis=-2), axis=-2),
        axis=-2,
    )[:, -1],
}


@pytest.mark.parametrize("order", FLOAT32_ORDERS)
@pytest.mark.parametrize("operator", ["standard", "pointwise", "separable"])
def test_float32_passes_in_whatever_order_it_adds(operator, order):
    shape = ConvShape(3, 128, 16, 5)
    rng = np.random.default_rng(6)
    F = rng.standard_normal(get_operator(operator).F_shape(shape), np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in get_operator(operator).weight_shapes(shape))
    maps = F[0]
    if operator == "separable":
        maps = sum(weights[0][i, j] * maps[i : i + 5, j : j + 5] for i in range(3) for j in range(3))
    rows = maps.reshape(-1, 128)
    if operator == "standard":
        windows = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
        rows = windows.reshape(25, -1)
    G = FLOAT32_ORDERS[order]((rows, weights[-1].reshape(-1, 16)))
    assert G.dtype == np.float32
    error = Reference(operator, shape, F, weights).error(G.reshape(get_operator(operator).G_shape(shape)))
    assert 0 < error <= 1


def test_half_precision_does_not_pass():
    shape = ConvShape(3, 16, 4, 5)
    rng = np.random.default_rng(5)
    F = rng.standard_normal(STANDARD.F_shape(shape), np.float32)
    K = rng.standard_normal((3, 3, 16, 4), np.float32)
    low = convolve("standard", F.astype(np.float16), (K.astype(np.float16),))
    assert Reference("standard", shape, F, (K,)).error(low.astype(np.float32)) > 1


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_hole_in_the_result_is_infinitely_wrong(poison):
    shape = ConvShape(1, 2, 2, 2)
    reference = Reference("pointwise", shape, np.ones((1, 2, 2, 2), np.float32), (np.ones((2, 2), np.float32),))
    G = reference.G.astype(np.float32)
    G[0, 1, 1, 1] = poison
    assert reference.error(G) == np.inf
