"""Who may be timed: what is right to the last unit of rounding, and leaves its input alone."""

from __future__ import annotations

import math

import made
import numpy as np
import pytest
from msgspec.structs import replace as changed

from sepconv_bench import ConvShape, Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.sampler import MIN_BLOCKS
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.reference import Reference
from sepconv_bench.run.contest import Contender, Contest, KernelContender

MINE = made.declared("cpu.pointwise.mine")


class AsFarOff(Contender):
    """Its result is so many times as far off as rounding explains."""

    def __init__(self, error: float) -> None:
        super().__init__(MINE)
        self._error = error

    def bind(self, rng: np.random.Generator) -> Launch:
        return lambda: None

    def unpack(self, given: object) -> None:
        """Nothing to put anywhere."""

    def judge(self) -> tuple[float, str]:
        return self._error, ""


def checked(contender: Contender) -> tuple[str, str]:
    outcome = Contest({MINE.name: contender}, np.random.default_rng(0), lambda name: None).checked(MINE.name)
    return outcome.status, outcome.reason


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (0.0, "ok", ""),
        (1.0, "ok", ""),
        (1.01, "wrong", "its result differs from the reference's by 1.01 times what rounding explains"),
        (math.inf, "wrong", "part of G is NaN or infinite, or was never written"),
        (math.nan, "wrong", "part of G is NaN or infinite, or was never written"),
    ],
)
def test_what_is_further_off_than_rounding_is_wrong(error, status, reason):
    assert checked(AsFarOff(error)) == (status, reason)


@pytest.mark.parametrize(("which", "status"), [("F", "wrong"), ("K_tilde", "wrong"), ("nothing", "ok")])
def test_a_kernel_that_changes_its_input_is_wrong_though_its_result_is_right(which, status):
    problem = Problem.draw("pointwise", ConvShape(1, 3, 4, 2), np.random.default_rng(0))
    reference = Reference("pointwise", problem.shape, problem.F, problem.weights)

    def bind(bound: Problem) -> Launch:
        def launch() -> None:
            np.matmul(bound.F, bound.K_tilde, out=bound.G)
            if which != "nothing":
                getattr(bound, which)[..., 0] += 1

        return launch

    contender = KernelContender(MINE, lambda: (problem, reference), bind)
    assert checked(contender) == (status, "it changed its own input" if status == "wrong" else "")


@pytest.mark.parametrize(("rounding", "status"), [(None, "wrong"), (lambda shape: 2.0, "wrong"), (lambda shape: 4.0, "ok")])
def test_an_algorithm_may_round_as_much_more_as_it_declares(rounding, status):
    problem = Problem.draw("pointwise", ConvShape(1, 3, 4, 2), np.random.default_rng(0))
    reference = Reference("pointwise", problem.shape, problem.F, problem.weights)

    def bind(bound: Problem) -> Launch:
        return lambda: np.copyto(bound.G, reference.G + 3 * reference.tolerance)

    contender = KernelContender(MINE, lambda: (problem, reference), bind, rounding=rounding)
    assert checked(contender)[0] == status


class Working(Contender):
    """Right, and takes as long as adding up so many numbers."""

    def __init__(self, declaration: Declaration, amount: int) -> None:
        super().__init__(declaration)
        self._numbers = range(amount)

    def bind(self, rng: np.random.Generator) -> Launch:
        return lambda: sum(self._numbers)

    def unpack(self, given: object) -> None:
        """Nothing to put anywhere."""

    def judge(self) -> tuple[float, str]:
        return 0.0, ""


def test_winograd_is_not_in_the_pair_that_comes_first():
    """The report compares the fastest that multiply as often as theory counts: that pair closes before all others."""
    winograd = changed(made.declared("cpu.standard.winograd"), algorithm="winograd")
    mine = {winograd: 1500, made.declared("cpu.standard.tiled"): 6000, made.declared("cpu.separable.tiled"): 1000}
    contenders = {one.name: Working(one, amount) for one, amount in mine.items()}
    contest = Contest(contenders, np.random.default_rng(0), lambda name: None)
    _, samples = contest.timed(lambda: None, Rules(target=0.5, seconds=1.5))
    there = {name: [bool(np.isfinite(block).any()) for block in blocks] for name, blocks in samples.blocks.items()}
    assert all(there["cpu.standard.tiled"][:MIN_BLOCKS])
    assert not any(there["cpu.standard.winograd"][4:MIN_BLOCKS])
