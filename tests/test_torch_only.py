"""torch alone, in other number types and backwards: right, beside the promise, and refused in one line where it cannot be."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from sepconv_bench.api.torch_only import torch_only
from sepconv_bench.errors import InputError
from sepconv_bench.kernels.peers.torch_training import of_problem
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.model.shapes import ConvShape

SHAPES = [ConvShape(3, 8, 16, 6), ConvShape.of_input(3, 8, 16, 11, 2, "same"), ConvShape(3, 8, 16, 5, dilation=2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operator", ["standard", "separable"])
def test_gradients_are_those_of_a_map_linear_in_each_tensor(operator, shape):
    """So the sum over G is that over a tensor times its gradient, whichever it is."""
    problem = Problem.draw(operator, shape, np.random.default_rng(0))
    G = of_problem(problem, "f32", "forward")()
    of_F, *of_weights = of_problem(problem, "f32", "backward")()
    assert tuple(G.shape) == (1, shape.N, *shape.G_map)
    whole = float(G.double().sum())
    assert float((of_F.permute(0, 2, 3, 1).numpy() * problem.interior).sum(dtype=float)) == pytest.approx(whole, rel=1e-3)
    assert len(of_weights) == len(problem.convolutions) == {"standard": 1, "separable": 2}[operator]
    for one, gradient in zip(problem.convolutions, of_weights, strict=True):
        assert float((gradient.numpy() * one.weight).sum(dtype=float)) == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize(("number", "places"), [("bf16", 8), ("fp16", 11)])
def test_other_types_are_as_near_as_their_digits(number, places):
    problem = Problem.draw("separable", SHAPES[0], np.random.default_rng(0))
    exact, near = (of_problem(problem, kind, "forward")() for kind in ("f32", number))
    assert str(near.dtype) == {"bf16": "torch.bfloat16", "fp16": "torch.float16"}[number]
    error = float((near.float() - exact).abs().max() / exact.abs().max())
    assert 2.0 ** -(places + 6) < error < 2.0 ** -(places - 3)


def test_explain_tells_them_beside_the_promise(door, committed):
    words = ["explain", "--D_K", "3", "--M", "8", "--N", "16", "--D_G", "7", "--from", committed]
    done = door(*words, "--dtype", "bf16", "--backward", "--time-limit", "0.05")
    assert done.returncode == 0, done.stderr
    usual, _, added = done.stdout.partition("torch only, no kernel of ours")
    assert usual.strip() == door(*words).stdout.strip()
    assert re.findall(r"^(\w+ \w+) .*x \(.* to .*\), promised 5\.76x$", added, re.M) == [
        *("forward f32", "forward bf16", "backward bf16"),
    ]
    assert re.search(r"^bf16 against f32, forward +[0-9.e+-]+x ", added, re.M)


def test_backward_alone_is_in_float32():
    told = torch_only(SHAPES[0], backward=True, seconds=0.05)
    assert [(one.name, one.number) for one in told.passes] == [("forward", "f32"), ("backward", "f32")]
    assert told.narrow == ()
    for one in told.passes:
        assert min(one.standard.value, one.separable.value, one.speedup.value) > 0


def test_what_cannot_be_is_one_line(door, monkeypatch):
    words = ("explain", "--D_K", "3", "--M", "8", "--N", "16", "--D_G", "7", "--backward")
    done = door(*words, "--device", "cuda")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "time torch on the CPU; --device is cuda" in done.stderr
    monkeypatch.setitem(sys.modules, "torch", None)
    done = door(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "takes torch, which is not installed; pip install 'sepconv-bench[torch]'" in done.stderr
    with pytest.raises(InputError, match="torch"):
        torch_only(SHAPES[0])
