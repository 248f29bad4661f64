"""Weights as a network computes with them."""

from __future__ import annotations

import numpy as np
import pytest

from sepconv_bench.model.networks import Layer
from sepconv_bench.model.operators import POINTWISE
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.weights import EPSILON, folded


@pytest.mark.parametrize("biased", [True, False])
def test_a_batch_norm_after_a_bias_is_folded_into_both(biased):
    layer = Layer(1, POINTWISE, ConvShape(3, 4, 5, 6))
    rng = np.random.default_rng(0)
    K, x = rng.standard_normal((5, 4, 1, 1), np.float32), rng.standard_normal(4)
    bias, scale, shift, mean, variance = rng.uniform(0.5, 2, (5, 5)).astype(np.float32)
    norm = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
    weights = {"block1.pointwise.weight": K, **{f"block1.pointwise.bn.{part}": value for part, value in norm.items()}}
    if biased:
        weights["block1.pointwise.bias"] = bias
    kernel, offset = folded(weights, "block1.pointwise", layer)
    before = K[:, :, 0, 0].astype(float) @ x + (bias if biased else 0)
    expected = (before - mean) / np.sqrt(variance + EPSILON) * scale + shift
    np.testing.assert_allclose(x @ kernel[0, 0] + offset, expected, rtol=1e-5)
