"""Shared memory's banks: the layout of slices for tensor cores never makes a warp take turns, and a plain one does."""

from __future__ import annotations

import pytest

from sepconv_bench.kernels.cuda.bank_conflicts import passes
from sepconv_bench.kernels.cuda.tensor_core import A_row, B_row
from sepconv_bench.kernels.cuda.tensor_tile import ROW_CHUNKS, swizzled

ROW_BYTES = 16 * ROW_CHUNKS


def plain(row: int, chunk: int) -> int:
    return chunk


def brought(of_lane, step: int, place) -> list[int]:
    """Addresses of ldmatrix: of each lane a row of 16 bytes."""
    return [ROW_BYTES * row + 16 * (place(row, half) ^ step) for row, half in map(of_lane, range(32))]


def test_banks_serve_what_they_can_in_one_pass():
    assert passes([4 * lane for lane in range(32)], 4) == 1
    assert passes([0] * 32, 4) == 1, "one word goes to all who ask"
    assert passes([128 * lane for lane in range(32)], 4) == 32
    assert passes([8 * lane for lane in range(32)], 4) == 2
    assert passes([8 * lane for lane in range(32)], 8) == 2, "half a warp at a time"
    assert passes([16 * lane for lane in range(32)], 16) == 4, "a quarter"
    assert passes([128 * lane for lane in range(32)], 16) == 32


@pytest.mark.parametrize("of_lane", [A_row, B_row])
@pytest.mark.parametrize("step", [0, 2])
def test_ldmatrix_needs_one_pass_a_matrix(of_lane, step):
    assert passes(brought(of_lane, step, swizzled), 16) == 4
    assert passes(brought(of_lane, step, plain), 16) == 16


def test_a_warp_stores_its_chunks_in_one_pass_a_quarter():
    stores = [ROW_BYTES * row + 16 * swizzled(row, chunk) for row in range(8) for chunk in range(ROW_CHUNKS)]
    assert passes(stores, 16) == 4


def test_chunks_of_a_row_keep_apart_and_a_step_is_an_exclusive_or():
    for row in range(16):
        assert sorted(swizzled(row, chunk) for chunk in range(ROW_CHUNKS)) == list(range(ROW_CHUNKS))
        assert all(swizzled(row, half ^ 2) == swizzled(row, half) ^ 2 for half in (0, 1))
