"""The instruction of a tensor core that multiplies in TF32, mma.m16n8k8, and what a warp makes of its tiles with it.

A warp's 32 lanes hold the matrices A (16, 8), B (8, 8) and C (16, 8) among them, each lane 4, 2 and 4 elements, as the PTX ISA
lays them out. In Numba's simulator, whose lanes are threads of Python, they show each other what they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import current_thread

import numpy as np

from sepconv_bench.kernels.cuda.vectors import SIMULATED

ROWS, COLUMNS, DEPTH = 16, 8, 8  # of C, and of what is summed
_DROPPED = 13  # bits of float32's mantissa that TF32 does not have
_KEPT = np.uint32(0xFFFFFFFF << _DROPPED & 0xFFFFFFFF)

_LANES = np.arange(32)
_GROUP, _IN_GROUP = _LANES[:, None] >> 2, _LANES[:, None] & 3
# Of each lane's elements (32, count), the row and the column.
A_PLACES = _GROUP + np.array([0, 8, 0, 8]), _IN_GROUP + np.array([0, 0, 4, 4])
B_PLACES = _IN_GROUP + np.array([0, 4]), _GROUP + np.array([0, 0])
C_PLACES = _GROUP + np.array([0, 0, 8, 8]), 2 * _IN_GROUP + np.array([0, 1, 0, 1])


def rounded_to_tf32(values: np.ndarray) -> np.ndarray:
    """float32 to the nearest TF32, halves away from zero, as cvt.rna.tf32.f32 does; what is not finite stays."""
    values = np.asarray(values, np.float32)
    half = np.uint32(1 << _DROPPED - 1)
    with np.errstate(over="ignore"):  # of a NaN's bits, which are not taken
        nearest = ((values.view(np.uint32) + half) & _KEPT).view(np.float32)
    return np.where(np.isfinite(values), nearest, values)


def multiplied(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """What the instruction gives the lanes, (32, 4): A B + C, from their elements of A (32, 4), B (32, 2) and C (32, 4). Bits
    that TF32 does not have are not looked at."""
    A, B, C = (np.zeros(size, np.float32) for size in ((ROWS, DEPTH), (DEPTH, COLUMNS), (ROWS, COLUMNS)))
    A[A_PLACES], B[B_PLACES] = ((np.ascontiguousarray(each).view(np.uint32) & _KEPT).view(np.float32) for each in (a, b))
    C[C_PLACES] = c
    return (A.astype(np.float64) @ B.astype(np.float64) + C).astype(np.float32)[C_PLACES]


if SIMULATED:
    _shown: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def to_tf32(value):
        """The nearest TF32, as a float32."""
        return np.float32(rounded_to_tf32(value))

    def tensor_sums(tiles_p: int, tiles_n: int, terms: int, pitch: int, weight_pitch: int) -> Callable:
        """`add(sums, A, first_a, B, first_b)`: to a lane's sums of tiles_p x tiles_n tiles of C, four a tile, as many products
        of `terms` columns of A with rows of B. From one term to the next it is `pitch` floats in A and `weight_pitch` in B.

        All threads of the block call it together.
        """

        def add(sums, A, first_a, B, first_b):
            lane = current_thread()
            for term in range(0, terms, DEPTH):
                a = [[A[first_a + (term + k) * pitch + ROWS * i + p] for k in (0, 4) for p in (0, 8)] for i in range(tiles_p)]
                b = [[B[first_b + (term + k) * weight_pitch + COLUMNS * j] for k in (0, 4)] for j in range(tiles_n)]
                held = np.array(sums[:], np.float32).reshape(tiles_p, tiles_n, 4)
                _shown[lane.threadIdx.x] = np.array(a, np.float32), np.array(b, np.float32), held
                lane.syncthreads()
                first = lane.threadIdx.x // 32 * 32
                warp = [np.stack(each) for each in zip(*(_shown[first + n] for n in range(32)), strict=True)]
                for i in range(tiles_p):
                    for j in range(tiles_n):
                        given = multiplied(warp[0][:, i], warp[1][:, j], warp[2][:, i, j])[lane.threadIdx.x % 32]
                        at = 4 * (i * tiles_n + j)
                        sums[at : at + 4] = given
                lane.syncthreads()

        return add

else:
    from llvmlite import ir
    from numba import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.np.arrayobj import make_array

    _FLOAT, _BITS = ir.FloatType(), ir.IntType(32)
    _MMA = ir.InlineAsm(
        ir.FunctionType(ir.LiteralStructType([_FLOAT] * 4), [_BITS] * 6 + [_FLOAT] * 4),
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
        "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
        side_effect=True,  # the warp's lanes take part together, so it must not move under a condition
    )
    _ROUND = ir.InlineAsm(ir.FunctionType(_BITS, [_FLOAT]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")

    @intrinsic
    def to_tf32(typingctx, value):
        def generate(context, builder, signature, args):
            return builder.bitcast(builder.call(_ROUND, args), _FLOAT)

        return types.float32(types.float32), generate

    @cache
    def tensor_sums(tiles_p: int, tiles_n: int, terms: int, pitch: int, weight_pitch: int) -> Callable:
        @intrinsic
        def add(typingctx, sums, A, first_a, B, first_b):
            def generate(context, builder, signature, args):
                def start(array, first):
                    data = make_array(signature.args[array])(context, builder, args[array]).data
                    index = context.cast(builder, args[first], signature.args[first], types.uint32)
                    return builder.gep(data, [builder.zext(index, ir.IntType(64))])

                def bits(data, offset):
                    return builder.bitcast(builder.load(builder.gep(data, [ir.Constant(_BITS, offset)])), _BITS)

                a, b = start(1, 2), start(3, 4)
                own = make_array(signature.args[0])(context, builder, args[0]).data
                places = [builder.gep(own, [ir.Constant(_BITS, n)]) for n in range(4 * tiles_p * tiles_n)]
                added = [builder.load(place) for place in places]
                for term in range(0, terms, DEPTH):
                    left = [
                        [bits(a, (term + k) * pitch + ROWS * i + p) for k in (0, 4) for p in (0, 8)] for i in range(tiles_p)
                    ]
                    right = [[bits(b, (term + k) * weight_pitch + COLUMNS * j) for k in (0, 4)] for j in range(tiles_n)]
                    for i in range(tiles_p):
                        for j in range(tiles_n):
                            at = 4 * (i * tiles_n + j)
                            given = builder.call(_MMA, [*left[i], *right[j], *added[at : at + 4]])
                            added[at : at + 4] = [builder.extract_value(given, c) for c in range(4)]
                for place, value in zip(places, added, strict=True):
                    builder.store(value, place)
                return context.get_dummy_value()

            return types.void(sums, A, first_a, B, first_b), generate

        return add
