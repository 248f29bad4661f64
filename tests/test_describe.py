"""What a run says of itself while it goes on: the time left, what has closed, and why something has not."""

from __future__ import annotations

import re

import made
import numpy as np

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.cell import Cell
from sepconv_bench.run.describe import Steps, describe_cell, describe_sampling

STANDARD, SEPARABLE = (made.declared(f"cpu.{operator}.tiled") for operator in ("standard", "separable"))
SHAPE = ConvShape(3, 4, 4, 5)


def cell(spread: float, blocks: int = 12) -> Cell:
    seconds = np.exp(np.random.default_rng(0).normal(0, spread, (blocks, 1)))
    measured = made.measured(SHAPE, {STANDARD: 1.0, SEPARABLE: seconds}, blocks=blocks)
    return Cell(measured, made.run([STANDARD.name, SEPARABLE.name]))


def test_the_time_left_is_told_before_the_first_step_and_after_each():
    told = []
    steps = Steps(2, 202, 1.0, 20, told.append)
    assert steps.left() == "about 7 min 20 s", "a second of sampling for each, and 0.06 s for each kernel beside"
    steps.start()
    steps.advance("first")
    steps.tell("by the way")
    assert [(step.done, step.total) for step in told] == [(3, 202), (3, 202)]
    assert re.fullmatch(r"first; about \d+ s left", told[0].line), "by what the first took"
    last = Steps(0, 1, 1.0, 20, told.append)
    last.advance("last")
    assert told[-1].line == "last"


def test_a_cell_says_what_has_closed_and_why_the_rest_has_not():
    assert describe_cell(cell(0.0)) == f"{SHAPE}: promised 2.77x, measured 1.00x, 6.0 s, 1 of 1 ratios closed"
    told = describe_cell(cell(0.2))
    assert (
        "0 of 1 ratios closed; this machine did not close cpu.separable.tiled / cpu.standard.tiled, because its blocks" in told
    )
    width, needed = re.search(r"\+-([\d.]+)% after 12 blocks, about (\d+) would make \+-3%", told).groups()
    assert abs(int(needed) / (12 * (float(width) / 3) ** 2) - 1) < 0.02
    assert "has 1 blocks" in describe_cell(cell(0.2, blocks=1))


def test_a_run_says_how_much_of_it_was_measuring():
    told = describe_sampling([cell(0.001), cell(0.2)], seconds=20.0, timed_s=12.0)
    assert told == "1 of 2 ratios of the fastest kernels have closed, 1 of 2 of all; 20 s, 60% of it inside timed samples"
