"""Like with like, best with best, and a partner for who has none."""

from __future__ import annotations

from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.operators import get_operator
from sepconv_bench.model.pairing import Pair, pairs


def declared(name: str, like: str = "", algorithm: str = "direct") -> Declaration:
    """A kernel that declares nothing unusual, unless `like` says what it is compared with."""
    device, operator, variant = name.split(".")
    return Declaration(device, operator, variant, "user", get_operator(operator).passes, like or variant, algorithm)


def compared(seconds: dict[str, float], *asked: str) -> list[Pair]:
    return pairs(seconds, {name: declared(name) for name in (*seconds, *asked)})


def test_each_rung_with_its_own_and_the_fastest_with_the_fastest():
    seconds = {
        **{"cpu.standard.loops": 9.0, "cpu.separable.loops": 4.0, "cpu.standard.numpy": 1.0, "cpu.separable.numpy": 3.0},
        **{"cpu.separable.parallel": 2.0, "cpu.standard.parallel": 5.0, "cpu.depthwise.loops": 0.1},
    }
    assert set(compared(seconds)) == {
        Pair("cpu.standard.loops", "cpu.separable.loops", "loops", best=False),
        Pair("cpu.standard.numpy", "cpu.separable.numpy", "numpy", best=False),
        Pair("cpu.standard.parallel", "cpu.separable.parallel", "parallel", best=False),
        Pair("cpu.standard.numpy", "cpu.separable.parallel", "", best=True),
    }


def test_a_rung_that_is_the_fastest_twice_is_one_pair():
    assert compared({"cpu.standard.x": 2.0, "cpu.separable.x": 1.0}) == [
        Pair("cpu.standard.x", "cpu.separable.x", "x", best=True)
    ]


def test_a_kernel_goes_with_the_one_that_it_declares_to_be_like():
    seconds = {"cpu.standard.tiled": 2.0, "cpu.standard.mine": 1.0, "cpu.separable.mine": 1.0}
    kernels = {name: declared(name) for name in seconds} | {"cpu.separable.mine": declared("cpu.separable.mine", like="tiled")}
    assert Pair("cpu.standard.tiled", "cpu.separable.mine", "mine", best=False) in pairs(seconds, kernels)
    assert Pair("cpu.standard.mine", "cpu.separable.mine", "mine / fastest", best=True) in pairs(seconds, kernels)


def test_a_kernel_without_a_like_goes_with_the_fastest_of_the_other_side():
    seconds = {"cpu.standard.a": 2.0, "cpu.standard.b": 1.0, "cpu.separable.a": 0.5, "cpu.separable.mine": 0.7}
    assert Pair("cpu.standard.b", "cpu.separable.mine", "fastest / mine", best=False) in compared(seconds)
    assert Pair("cpu.standard.b", "cpu.separable.a", "b / fastest", best=True) in compared(seconds)


def test_a_kernel_whose_like_failed_is_not_compared_with_another():
    seconds = {"cpu.standard.numpy": 1.0, "cpu.separable.loops": 3.0, "cpu.separable.numpy": 2.0}
    found = compared(seconds, "cpu.standard.loops")
    assert [pair.separable for pair in found] == ["cpu.separable.numpy"]


def test_devices_are_not_mixed():
    assert compared({"cpu.standard.x": 1.0, "cuda.separable.x": 1.0}) == []


def test_a_kernel_that_beyond_peak_is_compared_beside_the_fastest():
    """The promise is about equally many multiplications, unless there is no other kernel."""
    seconds = {"cpu.standard.tiled": 2.0, "cpu.standard.quick": 1.0, "cpu.separable.tiled": 0.5}
    kernels = {name: declared(name) for name in seconds} | {
        "cpu.standard.quick": declared("cpu.standard.quick", algorithm="winograd")
    }
    assert set(pairs(seconds, kernels)) == {
        Pair("cpu.standard.tiled", "cpu.separable.tiled", "tiled", best=True),
        Pair("cpu.standard.quick", "cpu.separable.tiled", "quick / fastest", best=False),
    }
    del seconds["cpu.standard.tiled"]
    assert Pair("cpu.standard.quick", "cpu.separable.tiled", "quick / fastest", best=True) in pairs(seconds, kernels)
