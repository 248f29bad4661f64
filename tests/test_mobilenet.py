"""The network on our kernels beside the same network in torch, layer by layer; its weights; and that it allocates nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sepconv_bench import ShapeError
from sepconv_bench.model.networks import ALPHAS, RESOLUTIONS, mobilenet_v1
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE
from sepconv_bench.network import host
from sepconv_bench.network.plan import Plan
from sepconv_bench.network.weights import EPSILON, names, random_weights, weight_shape

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")


def image(layers, seed=1):
    shape = layers[0].shape
    return np.random.default_rng(seed).uniform(-1, 1, (shape.batch, 2 * shape.D_G, 2 * shape.D_G, 3)).astype(np.float32)


def in_torch(layers, weights, x):
    """Every map that a plan keeps, and the probabilities, by torch in float64."""
    x, maps = torch.from_numpy(x).double().permute(0, 3, 1, 2), []
    *body, dense = zip(names(layers), layers, strict=True)
    for name, layer in body:
        K, bias = (torch.from_numpy(weights[f"{name}.{part}"]).double() for part in ("weight", "bias"))
        mixes = layer.operator is POINTWISE
        stride, padding = (1, 0) if mixes else (layer.shape.stride, 1)
        groups = layer.shape.M if layer.operator is DEPTHWISE else 1
        x = torch.nn.functional.conv2d(x, K, None, stride, padding, groups=groups)
        if f"{name}.bn.weight" in weights:
            norm = (
                torch.from_numpy(weights[f"{name}.bn.{part}"]).double() for part in ("running_mean", "running_var", "weight")
            )
            x = x + bias[:, None, None]
            x = torch.nn.functional.batch_norm(x, *norm, torch.from_numpy(weights[f"{name}.bn.bias"]).double(), eps=EPSILON)
        else:
            x = x + bias[:, None, None]
        x = torch.nn.functional.relu6(x)
        if layer.operator is not DEPTHWISE:
            maps.append(x.permute(0, 2, 3, 1).numpy())
    name, layer = dense
    K = torch.from_numpy(weights[f"{name}.weight"]).double().reshape(layer.shape.N, layer.shape.M)
    logits = torch.nn.functional.linear(x.mean((2, 3)), K, torch.from_numpy(weights[f"{name}.bias"]).double())
    return maps, torch.softmax(logits, 1).numpy()


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("alpha", "resolution", "batch", "separable"),
    [
        *((alpha, resolution, 1, True) for alpha in ALPHAS for resolution in RESOLUTIONS),
        (0.5, 160, 2, True),
        (0.25, 128, 1, False),
        (0.75, 128, 1, False),
    ],
)
def test_every_map_is_torchs(alpha, resolution, batch, separable):
    layers = mobilenet_v1(alpha, resolution, batch, separable)
    weights, x = random_weights(layers), image(layers)
    plan = Plan(layers, weights, apart=True)
    probabilities = plan(x)
    maps, expected = in_torch(layers, weights, x)
    assert len(plan.maps) == len(maps) == 14
    for number, (ours, theirs) in enumerate(zip(plan.maps, maps, strict=True)):
        assert 0.02 < theirs.mean() < 3, "the maps are alive: a dead one would agree with anything"
        assert np.abs(ours - theirs).max() < 2e-5, number
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_maps_that_lie_where_others_lay_find_their_halo_again(batch, monkeypatch):
    """Twice, for only then is every place full of another map."""
    monkeypatch.setattr(host, "_SHARED_BYTES", 0)
    layers = mobilenet_v1(0.25, 128, batch)
    weights, x = random_weights(layers), image(layers)
    plan = Plan(layers, weights)
    assert np.shares_memory(plan.maps[3], plan.maps[5])
    assert not np.shares_memory(plan.maps[3], plan.maps[4])
    expected = Plan(layers, weights, apart=True)(x)
    for _ in range(2):
        np.testing.assert_array_equal(plan(x), expected)


@pytest.fixture(scope="module")
def small():
    layers = mobilenet_v1(0.25, 128)
    return layers, random_weights(layers)


def test_the_halo_stays_zero_and_the_next_image_finds_nothing_of_the_last(small):
    layers, weights = small
    plan = Plan(layers, weights)
    first = plan(image(layers)).copy()
    other = plan(image(layers, seed=2)).copy()
    assert np.abs(first - other).max() > 1e-6
    np.testing.assert_array_equal(plan(image(layers)), first)


def test_a_call_allocates_nothing(small):
    layers, weights = small
    plan, x = Plan(layers, weights), image(small[0])
    plan(x)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    plan(x)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 100_000, "the smallest map has 200,000 bytes; numpy's reductions take a few hundred"


def test_a_batch_norm_is_folded_in(small):
    layers, weights = small
    rng = np.random.default_rng(3)
    normed = dict(weights)
    for name, layer in zip(names(layers)[:-1], layers[:-1], strict=True):
        size = weight_shape(layer)[0]
        normed[f"{name}.bn.weight"], normed[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, (2, size)).astype(np.float32)
        normed[f"{name}.bn.bias"], normed[f"{name}.bn.running_mean"] = rng.normal(0, 0.1, (2, size)).astype(np.float32)
    x = image(layers)
    _, expected = in_torch(layers, normed, x)
    np.testing.assert_allclose(Plan(layers, normed)(x), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda weights: weights.pop("block7.pointwise.weight"),
            r"there is no block7.pointwise.weight, which takes \(128, 128, 1, 1\)",
        ),
        (lambda weights: weights.update({"conv.weight": np.ones((8, 3, 3, 4))}), r"conv.weight is \(8, 3, 3, 4\); it must be"),
        (lambda weights: weights.update({"conv.bias": np.ones(9)}), r"conv.bias is \(9,\); it must be \(8,\)"),
        (lambda weights: weights.update({"conv.bn.weight": np.ones(8)}), r"there is no conv.bn.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, told, small):
    layers, weights = small
    given = dict(weights)
    change(given)
    with pytest.raises(ShapeError, match=told):
        Plan(layers, given)


def test_an_image_of_another_size_is_refused(small):
    with pytest.raises(ShapeError, match=r"the image is \(1, 64, 64, 3\); it must be \(1, 128, 128, 3\)"):
        Plan(*small)(np.zeros((1, 64, 64, 3), np.float32))


def test_the_same_seed_gives_the_same_weights(small):
    layers, weights = small
    again = random_weights(layers)
    assert all(np.array_equal(again[name], weights[name]) for name in weights)
    assert not np.array_equal(random_weights(layers, 1)["conv.weight"], weights["conv.weight"])
