"""Winograd's transforms: the matrices of F(m x m, 3 x 3), and L d L^T on vectors of channels.

Of an input tile d of t x t pixels, t = m + 2, and a window g, the m x m outputs are A^T ((G g G^T) * (B^T d B)) A, where *
multiplies element by element (Lavin and Gray, arXiv 1509.09308, section 4): t^2 multiplications, where the sum takes 9 m^2.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sepconv_bench.kernels.cpu.instructions import (
    emit_load,
    emit_masks,
    emit_multiply_add,
    emit_store,
    pointer_to,
    vector_of,
)
from sepconv_bench.kernels.cpu.registers import Tile

_TAPS = 3
# Where Toom and Cook's polynomials are evaluated, beside infinity. For m = 4 the paper has 0, +-1 and +-2: with these the error
# is half as large (experiments/README.md).
_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}


class Matrices(NamedTuple):
    """Of F(m x m, 3 x 3): A^T (m, t), G (t, 3) and B^T (t, t), float64."""

    A_T: np.ndarray
    G: np.ndarray
    B_T: np.ndarray


class Bounds(NamedTuple):
    """How much of a tile is there: rows, pixels of a row, and channels of a vector."""

    rows: int
    columns: int
    channels: int


@cache
def matrices(m: int) -> Matrices:
    """Toom and Cook's algorithm, transposed: polynomials of degrees m - 1 and 2 multiplied by their values at t points. The
    last is infinity, where the value is the leading coefficient."""
    points = np.array(_POINTS[m])
    infinity = np.eye(1, len(points) + 1, len(points))[0]
    outputs, taps = (np.vander(points, count, increasing=True) for count in (m, _TAPS))
    A_T = np.vstack([outputs, np.eye(1, m, m - 1)]).T
    others = [np.delete(points, j) for j in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    G = np.vstack([taps / scale[:, np.newaxis], np.eye(1, _TAPS, _TAPS - 1)])
    B_T = np.zeros((len(infinity), len(infinity)))
    for j, rest in enumerate(others):
        B_T[j, :-1] = np.poly(rest)[::-1]
    B_T[-1] = np.poly(points)[::-1]
    return Matrices(A_T, G, B_T)


@cache
def sandwich(m: int, lanes: int, inverse: bool):
    """`sandwich(source, target, bounds)`: L d L^T of a vector of channels, from view to view. L is B^T or, `inverse`, A^T.

    `bounds`: how much there is of F, or for A^T of G. What is not counts as 0, and is neither read nor written; None says all.
    """
    L, one = (matrices(m).A_T if inverse else matrices(m).B_T), Tile(1, 1, lanes)
    count, size = L.shape

    @intrinsic
    def sandwich(typingctx, source, target, bounds):
        def generate(context, builder, signature, args):
            everything = bounds is types.none
            (begin, row, pixel), (end, row_out, pixel_out) = (cgutils.unpack_tuple(builder, each, 3) for each in args[:2])
            limits = None if everything else cgutils.unpack_tuple(builder, args[2], 3)

            def place(begin, row, pixel, i, j):
                steps = (builder.mul(step, ir.Constant(step.type, times)) for step, times in ((row, i), (pixel, j)))
                return pointer_to(builder, builder.add(begin, builder.add(*steps)))

            def mask(i, j, bounded):
                if everything or not bounded:
                    return None
                rows, columns, channels = limits
                above, before = (
                    builder.icmp_signed("<", ir.Constant(limit.type, at), limit) for limit, at in ((rows, i), (columns, j))
                )
                there = builder.select(builder.and_(above, before), channels, ir.Constant(channels.type, 0))
                return emit_masks(builder, one, types.int64, there)[0]

            def loaded(i, j):
                return emit_load(builder, place(begin, row, pixel, i, j), 0, vector_of(one), mask(i, j, not inverse))

            columns = [_combined(builder, L, [loaded(i, j) for i in range(size)]) for j in range(size)]
            for i in range(count):
                for j, value in enumerate(_combined(builder, L, [column[i] for column in columns])):
                    emit_store(builder, value, place(end, row_out, pixel_out, i, j), 0, mask(i, j, inverse))
            return context.get_dummy_value()

        return types.void(source, target, bounds), generate

    return sandwich


def _combined(builder, L, vectors):
    """L times a column of vectors; nothing is done for a 0, and no product for 1 or -1."""
    found = []
    for row in L:
        total = None
        for factor, vector in sorted(zip(row, vectors, strict=True), key=lambda term: -term[0]):
            if factor == 0:
                continue
            if abs(factor) == 1:
                add = builder.fadd if factor > 0 else builder.fsub
                total = add(total, vector) if total is not None else vector if factor > 0 else builder.fneg(vector)
            else:
                scale = ir.Constant(vector.type, [float(factor)] * vector.type.count)
                total = builder.fmul(scale, vector) if total is None else emit_multiply_add(builder, scale, vector, total)
        found.append(total)
    return found
