"""What a worker keeps from one visit of a cell to the next."""

from __future__ import annotations

import pytest

from sepconv_bench.measure.records import Rules
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured, Outcome
from sepconv_bench.run import protocol, worker

SHAPE = ConvShape(3, 8, 8, 6)
LOOPS, NUMPY = "cpu.pointwise.loops", "cpu.pointwise.numpy"
SHORT = Rules(seconds=0.02)


@pytest.fixture
def process():
    started = worker._Worker(lambda name: None)
    started.answer(protocol.Start((), f"{LOOPS},{NUMPY}", "cpu", cold=False))
    return started


def visit(process: worker._Worker, names: tuple[str, ...], seed: int) -> dict[str, Outcome]:
    return by_name(process.answer(protocol.MeasureCell(SHAPE, names, SHORT, seed, visits=3)).cell)


def by_name(cell: CellMeasured) -> dict[str, Outcome]:
    assert {one.status for one in cell.outcomes} == {"ok"}
    return {one.kernel.name: one for one in cell.outcomes}


def test_a_kernel_that_was_right_is_not_checked_again_though_another_has_left(process):
    first, second = visit(process, (LOOPS, NUMPY), 0), visit(process, (NUMPY,), 1)
    assert list(second) == [NUMPY]
    assert second[NUMPY].compile_s == first[NUMPY].compile_s, "as the only check has timed it"


@pytest.mark.parametrize("kept", [True, False])
def test_data_and_reference_are_kept_where_there_is_room(kept, process, monkeypatch):
    if not kept:
        monkeypatch.setattr(worker, "_KEPT_BYTES", 0)
    errors = [visit(process, (LOOPS, NUMPY), seed)[LOOPS].error for seed in range(3)]
    assert len(set(errors)) == (1 if kept else 3), "other data, other rounding"
