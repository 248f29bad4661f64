"""Like with like, best with best, and a partner for who has none."""

import pytest

from sepconv_bench.model.pairing import Pair, pairs, peer


def test_each_rung_with_its_own_and_the_fastest_with_the_fastest():
    seconds = {
        **{"cpu.standard.loops": 9.0, "cpu.separable.loops": 4.0, "cpu.standard.numpy": 1.0, "cpu.separable.numpy": 3.0},
        **{"cpu.separable.parallel": 2.0, "cpu.standard.parallel": 5.0, "cpu.depthwise.loops": 0.1},
    }
    assert set(pairs(seconds)) == {
        Pair("cpu.standard.loops", "cpu.separable.loops", "loops", best=False),
        Pair("cpu.standard.numpy", "cpu.separable.numpy", "numpy", best=False),
        Pair("cpu.standard.parallel", "cpu.separable.parallel", "parallel", best=False),
        Pair("cpu.standard.numpy", "cpu.separable.parallel", "", best=True),
    }


def test_a_rung_that_is_the_fastest_twice_is_one_pair():
    assert pairs({"cpu.standard.x": 2.0, "cpu.separable.x": 1.0}) == [Pair("cpu.standard.x", "cpu.separable.x", "x", best=True)]


def test_fused_goes_with_tiled():
    (pair,) = pairs({"cpu.standard.tiled": 2.0, "cpu.separable.fused": 1.0})
    assert pair == Pair("cpu.standard.tiled", "cpu.separable.fused", "fused", best=True)


def test_a_kernel_without_a_like_goes_with_the_fastest_of_the_other_side():
    seconds = {"cpu.standard.a": 2.0, "cpu.standard.b": 1.0, "cpu.separable.a": 0.5, "cpu.separable.mine": 0.7}
    assert Pair("cpu.standard.b", "cpu.separable.mine", "fastest / mine", best=False) in pairs(seconds)
    assert Pair("cpu.standard.b", "cpu.separable.a", "b / fastest", best=True) in pairs(seconds)


def test_a_kernel_whose_like_failed_is_not_compared_with_another():
    found = pairs(
        {"cpu.standard.numpy": 1.0, "cpu.separable.loops": 3.0, "cpu.separable.numpy": 2.0}, asked=["cpu.standard.loops"]
    )
    assert [pair.separable for pair in found] == ["cpu.separable.numpy"]


def test_devices_are_not_mixed():
    assert pairs({"cpu.standard.x": 1.0, "cuda.separable.x": 1.0}) == []


@pytest.mark.parametrize(
    ("variant", "library"),
    [
        *(("torch", "torch"), ("torch-prepacked", "torch"), ("onnxruntime-nchwc", "onnxruntime"), ("numpy", "numpy")),
        *(("tiled", None), ("torchlike", None), ("my-torch", None)),
    ],
)
def test_a_peer_is_told_by_the_first_word_of_its_variant(variant, library):
    assert peer(f"cpu.standard.{variant}") == library
