"""What a warp does together: matrices out of shared memory (ldmatrix), products of them on tensor cores (mma.m16n8k8 in TF32,
mma.m16n8k16 in bf16 and fp16), and copies into shared memory that nobody waits for (cp.async).

A warp's 32 lanes hold the matrices A, B and C among them, as tables of the PTX ISA say. In words of 32 bits the three dtypes
have one layout: A (16, 8), B (8, 8) and C (16, 8), 4, 2 and 4 words a lane, where a word of A and B is one TF32, or two
neighbours along what is summed. ldmatrix hands out words just so, whatever is in them. In Numba's simulator, where lanes are
threads of Python, they show each other what they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import current_thread

import numpy as np

from sepconv_bench.kernels.cuda.elements import CHUNK_BYTES, WORDS, narrowed, widened
from sepconv_bench.kernels.cuda.vectors import SIMULATED
from sepconv_bench.model.dtypes import ITEMSIZE, Dtype

ROWS, COLUMNS, DEPTH_WORDS = 16, 8, 8  # of C, and words of what is summed
CHUNKS = DEPTH_WORDS // WORDS  # of 16 bytes, in which an instruction's share of a row lies
_DROPPED = 13  # bits of float32's mantissa that TF32 does not have
_KEPT = np.uint32(0xFFFFFFFF << _DROPPED & 0xFFFFFFFF)

_LANES = np.arange(32)
_GROUP, _IN_GROUP = _LANES[:, None] >> 2, _LANES[:, None] & 3
# Of each lane's words (32, count), the row and the column.
A_PLACES = _GROUP + np.array([0, 8, 0, 8]), _IN_GROUP + np.array([0, 0, 4, 4])
B_PLACES = _IN_GROUP + np.array([0, 4]), _GROUP + np.array([0, 0])
C_PLACES = _GROUP + np.array([0, 0, 8, 8]), 2 * _IN_GROUP + np.array([0, 1, 0, 1])


def depth(dtype: Dtype) -> int:
    """Products that one instruction adds to a sum."""
    return 4 * DEPTH_WORDS // ITEMSIZE[dtype]


def rounded_to_tf32(values: np.ndarray) -> np.ndarray:
    """float32 to the nearest TF32, halves away from zero, as cvt.rna.tf32.f32 does; what is not finite stays."""
    values = np.asarray(values, np.float32)
    half = np.uint32(1 << _DROPPED - 1)
    with np.errstate(over="ignore"):  # of a NaN's bits, which are not taken
        nearest = ((values.view(np.uint32) + half) & _KEPT).view(np.float32)
    return np.where(np.isfinite(values), nearest, values)


def multiplied(a: np.ndarray, b: np.ndarray, c: np.ndarray, dtype: Dtype) -> np.ndarray:
    """What the instruction gives the lanes, (32, 4): A B + C, from their words of A (32, 4) and B (32, 2) and their floats of C
    (32, 4). Bits that TF32 does not have are not looked at.

    Products are exact. The PTX ISA leaves open in which order and with how many more bits than float32's they are added: here
    the sum is exact and rounded once, which is within the bound that any such order keeps.
    """
    A, B, C = np.zeros((ROWS, DEPTH_WORDS), np.uint32), np.zeros((COLUMNS, DEPTH_WORDS), np.uint32), np.zeros((ROWS, COLUMNS))
    kept = _KEPT if dtype == "tf32" else np.uint32(0xFFFFFFFF)
    A[A_PLACES], B[B_PLACES[::-1]], C[C_PLACES] = a & kept, b & kept, c
    wide = widened(A, dtype).astype(np.float64), widened(B, dtype).astype(np.float64)
    return (wide[0] @ wide[1].T + C).astype(np.float32)[C_PLACES]


def matrices(rows: np.ndarray) -> np.ndarray:
    """What ldmatrix.x4 gives the lanes, (32, 4): of each of four matrices one word. Lanes 8 j to 8 j + 7 have brought the rows
    of matrix j, four words each: (32, 4)."""
    return rows.reshape(4, 8, WORDS)[:, _GROUP[:, 0], _IN_GROUP[:, 0]].T


def A_row(lane):
    """Of a lane the row of A that it brings ldmatrix, and which of the row's two chunks: matrices in the order of
    `A_PLACES`."""
    return lane & 15, lane >> 4


def B_row(lane):
    """The same of two neighbouring B, whose rows are columns of C: both chunks of the first, then of the second."""
    return (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1


if SIMULATED:
    _shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    _given: dict[int, np.ndarray] = {}

    def copy_chunk(shared, to, array, index, whole):
        """Sixteen bytes from array[index] on to shared[to], or zeros where not `whole`. They have arrived after
        `wait_for_copies`; both ends start on 16 bytes."""
        count = CHUNK_BYTES // array.dtype.itemsize
        assert to % WORDS == index % count == 0
        found = [array[int(index) + n] for n in range(count)] if whole else [0] * count
        shared[to : to + WORDS] = np.array(found, array.dtype).view(np.uint32)

    def wait_for_copies():
        """Until all that this thread has begun to copy has arrived."""

    def warp_product(tiles_p: int, tiles_n: int, row_words: int, dtype: Dtype) -> Callable:
        """`add(sums, shared, a, a_chunk, b, b_chunk)`: to a lane's sums of tiles_p x tiles_n tiles of C, four a tile, the
        products of as many rows of A and of B, of `row_words` words each. The first row that the lane brings starts at word a,
        or b; the chunk that it begins with lies at a_chunk, the one n further at a_chunk ^ n.

        TF32 is rounded to, and not cut off. All threads of the block call it together.
        """

        def add(sums, shared, a, a_chunk, b, b_chunk):
            me = current_thread()
            number, lane = int(me.threadIdx.x), int(me.threadIdx.x) % 32
            brought = []
            for step in range(0, row_words // WORDS, CHUNKS):
                starts = [int(a) + ROWS * i * row_words + WORDS * (int(a_chunk) ^ step) for i in range(tiles_p)]
                starts += [int(b) + ROWS * j * row_words + WORDS * (int(b_chunk) ^ step) for j in range(tiles_n // 2)]
                brought += [[shared[start + n] for n in range(WORDS)] for start in starts]
            _shown[number] = np.array(brought, np.uint32), np.array(sums[:], np.float32).reshape(tiles_p, tiles_n, 4)
            me.syncthreads()
            if lane == 0:
                warp = [np.stack(each, 1) for each in zip(*(_shown[number + n] for n in range(32)), strict=True)]
                _given[number] = _multiplied_by_a_warp(warp[0], warp[1].swapaxes(0, 1), tiles_p, tiles_n, dtype)
            me.syncthreads()
            sums[:] = _given[number - lane][lane].reshape(-1)

        return add

    def _multiplied_by_a_warp(brought, sums, tiles_p, tiles_n, dtype):
        """Rows (all that a lane brings, 32, words), and sums (32, tiles_p, tiles_n, 4)."""
        found = sums.copy()
        each = tiles_p + tiles_n // 2
        for begin in range(0, len(brought), each):
            loaded = [matrices(rows) for rows in brought[begin : begin + each]]
            for i in range(tiles_p):
                left = loaded[i]
                if dtype == "tf32":
                    left = narrowed(rounded_to_tf32(left.view(np.float32)), dtype)
                for j in range(tiles_n):
                    right = loaded[tiles_p + j // 2][:, 2 * (j % 2) : 2 * (j % 2) + 2]
                    found[:, i, j] = multiplied(left, right, found[:, i, j], dtype)
        return found

else:
    from llvmlite import ir
    from numba import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.np.arrayobj import make_array

    _FLOAT, _BITS, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    _SHAPES = {"tf32": ("m16n8k8", "tf32"), "bf16": ("m16n8k16", "bf16"), "fp16": ("m16n8k16", "f16")}
    # What lanes do together must not move under a condition, nor what touches shared memory over a barrier: side effects.
    _MMA = {
        dtype: ir.InlineAsm(
            ir.FunctionType(ir.LiteralStructType([_FLOAT] * 4), [_BITS] * 6 + [_FLOAT] * 4),
            f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
            "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            side_effect=True,
        )
        for dtype, (shape, kind) in _SHAPES.items()
    }
    _LDMATRIX = ir.InlineAsm(
        ir.FunctionType(ir.LiteralStructType([_BITS] * 4), [_BITS]),
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];",
        "=r,=r,=r,=r,r,~{memory}",
        side_effect=True,
    )
    _COPY = ir.InlineAsm(
        ir.FunctionType(ir.VoidType(), [_BITS, _LONG, _BITS]),
        f"cp.async.cg.shared.global [$0], [$1], {CHUNK_BYTES}, $2;",
        "r,l,r,~{memory}",
        side_effect=True,
    )
    _WAIT = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "cp.async.wait_all;", "~{memory}", side_effect=True)
    _ROUND = ir.InlineAsm(ir.FunctionType(_BITS, [_BITS]), "cvt.rna.tf32.f32 $0, $1;", "=r,r")
    _GLOBAL, _SHARED = 1, 3  # address spaces

    def _address(context, builder, signature, args, array, index, space):
        """Of args[array][args[index]], as an integer within its address space."""
        kind = signature.args[array]
        data = make_array(kind)(context, builder, args[array]).data
        at = builder.zext(context.cast(builder, args[index], signature.args[index], types.uint32), _LONG)
        pointer = builder.gep(data, [at])
        held = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, space))
        return builder.ptrtoint(held, _BITS if space == _SHARED else _LONG)

    @intrinsic
    def copy_chunk(typingctx, shared, to, array, index, whole):
        def generate(context, builder, signature, args):
            target = _address(context, builder, signature, args, 0, 1, _SHARED)
            source = _address(context, builder, signature, args, 2, 3, _GLOBAL)
            wanted = context.cast(builder, args[4], signature.args[4], types.boolean)
            count = builder.select(wanted, ir.Constant(_BITS, CHUNK_BYTES), ir.Constant(_BITS, 0))
            builder.call(_COPY, [target, source, count])
            return context.get_dummy_value()

        return types.void(shared, to, array, index, whole), generate

    @intrinsic
    def wait_for_copies(typingctx):
        def generate(context, builder, signature, args):
            builder.call(_WAIT, [])
            return context.get_dummy_value()

        return types.void(), generate

    @cache
    def warp_product(tiles_p: int, tiles_n: int, row_words: int, dtype: Dtype) -> Callable:
        @intrinsic
        def add(typingctx, sums, shared, a, a_chunk, b, b_chunk):
            def generate(context, builder, signature, args):
                def constant(number):
                    return ir.Constant(_BITS, number)

                def loaded(row, chunk, step, offset):
                    """Four words a lane, of the rows `offset` words after the first."""
                    place = builder.mul(builder.xor(chunk, constant(step)), constant(CHUNK_BYTES))
                    given = builder.call(_LDMATRIX, [builder.add(builder.add(row, place), constant(4 * offset))])
                    return [builder.extract_value(given, n) for n in range(4)]

                rows = [_address(context, builder, signature, args, 1, which, _SHARED) for which in (2, 4)]
                chunks = [context.cast(builder, args[which], signature.args[which], types.uint32) for which in (3, 5)]
                own = make_array(signature.args[0])(context, builder, args[0]).data
                places = [builder.gep(own, [constant(n)]) for n in range(4 * tiles_p * tiles_n)]
                added = [builder.load(place) for place in places]
                for step in range(0, row_words // WORDS, CHUNKS):
                    left = [loaded(rows[0], chunks[0], step, ROWS * i * row_words) for i in range(tiles_p)]
                    if dtype == "tf32":
                        left = [[builder.call(_ROUND, [word]) for word in words] for words in left]
                    right = [loaded(rows[1], chunks[1], step, ROWS * j * row_words) for j in range(tiles_n // 2)]
                    for i in range(tiles_p):
                        for j in range(tiles_n):
                            at = 4 * (i * tiles_n + j)
                            words = right[j // 2][2 * (j % 2) : 2 * (j % 2) + 2]
                            given = builder.call(_MMA[dtype], [*left[i], *words, *added[at : at + 4]])
                            added[at : at + 4] = [builder.extract_value(given, c) for c in range(4)]
                for place, value in zip(places, added, strict=True):
                    builder.store(value, place)
                return context.get_dummy_value()

            return types.void(sums, shared, a, a_chunk, b, b_chunk), generate

        return add
