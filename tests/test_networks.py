"""MobileNet-V1 from its table: the counts of the paper and of its reference code, exactly."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from sepconv_bench import ShapeError
from sepconv_bench.model.networks import mobilenet_v1, multiply_adds, parameters
from sepconv_bench.model.operators import DEPTHWISE


@pytest.mark.parametrize(
    ("alpha", "resolution", "separable", "expected"),
    [
        (1.0, 224, True, (568_740_352, 4_209_088)),
        (1.0, 224, False, (4_867_293_184, 29_281_120)),
        (0.75, 224, True, (325_400_448, 2_568_144)),
        (0.5, 224, True, (149_497_088, 1_319_648)),
        (0.25, 224, True, (41_030_272, 463_600)),
        (1.0, 192, True, (418_121_728, 4_209_088)),
        (1.0, 160, True, (290_675_200, 4_209_088)),
        (1.0, 128, True, (186_400_768, 4_209_088)),
    ],
)
def test_multiply_adds_and_parameters(alpha, resolution, separable, expected):
    layers = mobilenet_v1(alpha, resolution, separable=separable)
    assert (multiply_adds(layers), parameters(layers)) == expected


def test_shares_of_the_kinds_of_layers():
    shares: Counter[str] = Counter()
    layers = mobilenet_v1()
    for layer in layers:
        kind = "fully connected" if layer.shape.D_G == 1 else layer.operator.name
        shares[kind] += layer.multiply_adds
    told = {kind: round(100 * count / multiply_adds(layers), 2) for kind, count in shares.items()}
    assert told == {"pointwise": 94.86, "depthwise": 3.06, "standard": 1.91, "fully connected": 0.18}


def test_each_layer_takes_what_the_one_before_gives():
    for separable in (True, False):
        layers = mobilenet_v1(0.5, 192, batch=3, separable=separable)
        assert len(layers) == (28 if separable else 15)
        for before, after in pairwise(layers):
            given = before.shape.M if before.operator is DEPTHWISE else before.shape.N
            assert given == after.shape.M
            assert after.shape.batch == 3


def test_a_stride_of_one_costs_exactly_what_the_formula_says():
    both = zip(mobilenet_v1()[1:-1:2], mobilenet_v1()[2:-1:2], mobilenet_v1(separable=False)[1:-1], strict=True)
    for depthwise, pointwise, standard in both:
        ratio = Fraction(depthwise.multiply_adds + pointwise.multiply_adds, standard.multiply_adds)
        assert ratio == Fraction(1, standard.shape.N) + Fraction(1, 9)


@pytest.mark.parametrize(("alpha", "resolution", "told"), [(0.3, 224, "alpha is 0.3"), (1.0, 225, "the resolution is 225")])
def test_what_is_not_in_the_paper_is_refused(alpha, resolution, told):
    with pytest.raises(ShapeError, match=told):
        mobilenet_v1(alpha, resolution)
