"""Numbers of two and of four bytes: sixteen bytes of them at a time, from memory into float32 and back.

Sums are float32 whatever is stored, so a number is widened when it is read and rounded to the nearest when it is written.
Arrays hold float32, float16, or the bits of a bf16 as uint16; a thread sees their bytes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from sepconv_bench.kernels.cuda.vectors import SIMULATED
from sepconv_bench.model.dtypes import ITEMSIZE, Dtype

WORDS = 4  # of 32 bits, in 16 bytes
CHUNK_BYTES = 16


def elements(dtype: Dtype) -> int:
    """Of this type, in 16 bytes."""
    return CHUNK_BYTES // ITEMSIZE[dtype]


def widened(words: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The float32 numbers in words of 32 bits, along the last axis; the lower half of a word is the earlier number."""
    words = np.ascontiguousarray(words, np.uint32)
    if ITEMSIZE[dtype] == 4:
        return words.view(np.float32)
    if dtype == "fp16":
        return words.view(np.float16).astype(np.float32)
    return (words.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrowed(values: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Words of 32 bits that hold these float32 numbers, along the last axis, each rounded to the nearest, halves to even."""
    values = np.ascontiguousarray(values, np.float32)
    if ITEMSIZE[dtype] == 4:
        return values.view(np.uint32)
    if dtype == "fp16":
        with np.errstate(over="ignore"):  # to infinity, as the instruction does
            return values.astype(np.float16).view(np.uint32)
    bits = values.view(np.uint32).astype(np.uint64)
    nearest = (bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    quiet = np.where(np.isnan(values), np.uint64(0x7FFF), nearest)
    return np.ascontiguousarray(quiet.astype(np.uint16)).view(np.uint32)


if SIMULATED:

    def _stored(array, index: int, count: int) -> np.ndarray:
        return np.array([array[int(index) + n] for n in range(count)], array.dtype)

    def load_words(array, index):
        """Sixteen bytes from array[index] on, as words; they start on 16 bytes."""
        count = CHUNK_BYTES // array.dtype.itemsize
        assert index % count == 0
        return tuple(_stored(array, index, count).view(np.uint32))

    def store_words(array, index, words):
        """array[index] and what follows = sixteen bytes, placed as for load_words."""
        count = CHUNK_BYTES // array.dtype.itemsize
        assert index % count == 0
        for n, value in enumerate(np.array(words, np.uint32).view(array.dtype)):
            array[index + n] = value

    def floats_of(dtype: Dtype) -> Callable:
        """`floats(words)`: those in sixteen bytes, a tuple of float32."""
        return lambda words: tuple(widened(np.array(words, np.uint32), dtype))

    def words_of(dtype: Dtype) -> Callable:
        """`words(floats)`: the sixteen bytes that hold them, each rounded to the nearest."""
        return lambda floats: tuple(narrowed(np.array(floats, np.float32), dtype))

    def own_floats(count: int) -> Callable:
        """`take(array, first)`: so many of a thread's own array, as a tuple."""
        return lambda array, first: tuple(array[first + n] for n in range(count))

    def float_loader(dtype: Dtype, count: int) -> Callable:
        """`load(array, index, left)`: so many numbers, one at a time, as a tuple of float32: those from number `left` on
        are 0, and not read."""

        def load(array, index, left):
            wanted = min(int(left), count)
            read = np.zeros(count + count % 2, array.dtype)
            read[:wanted] = _stored(array, index, wanted)
            return tuple(widened(read.view(np.uint32), dtype)[:count])

        return load

    def float_storer(dtype: Dtype, count: int) -> Callable:
        """`store(array, index, floats)`: one number or two, which start on a multiple of two, each rounded to the nearest."""

        def store(array, index, floats):
            assert index % count == 0
            for n in range(count):
                array[index + n] = narrowed(np.array([floats[n]] * 2, np.float32), dtype).view(array.dtype)[0]

        return store

    def block_loader(rows: int, columns: int, channels: int, dtype: Dtype) -> Callable:
        """`load(array, first, last_row, row_step, column_step)`: rows x columns x channels numbers as one tuple of float32.

        Rows after `last_row` repeat it. As many channels as 16 bytes hold are one load, one channel is a number; there is
        nothing in between.
        """
        chunks, floats, load_one = channels == elements(dtype), floats_of(dtype), float_loader(dtype, 1)

        def load(array, first, last_row, row_step, column_step):
            read: tuple = ()
            for row in range(rows):
                for column in range(columns):
                    at = first + min(row, last_row) * row_step + column * column_step
                    read += floats(load_words(array, at)) if chunks else load_one(array, at, 1)
            return read

        return load

    def row_storer(columns: int, channels: int, first: int, dtype: Dtype) -> Callable:
        """`store(array, at, column_step, floats)`: columns x channels of them, from number `first` on, each rounded to the
        nearest; channels as in `block_loader`."""
        chunks, words, store_one = channels == elements(dtype), words_of(dtype), float_storer(dtype, 1)

        def store(array, at, column_step, floats):
            for column in range(columns):
                begin, to = first + column * channels, at + column * column_step
                part = floats[begin : begin + channels]
                if chunks:
                    store_words(array, to, words(part))
                else:
                    store_one(array, to, part)

        return store

else:
    from llvmlite import ir
    from numba.cuda import cgutils  # type: ignore[attr-defined]
    from numba.cuda.extending import intrinsic
    from numba.cuda.np.arrayobj import make_array

    _FLOAT, _HALF, _SHORT, _WORD = ir.FloatType(), ir.HalfType(), ir.IntType(16), ir.IntType(32)
    _CHUNK = ir.VectorType(_WORD, WORDS)
    _ROUND = {
        name: ir.InlineAsm(ir.FunctionType(_SHORT, [_FLOAT]), f"cvt.rn.{written}.f32 $0, $1;", "=h,f")
        for name, written in (("bf16", "bf16"), ("fp16", "f16"))
    }
    _ROUND_PAIR = {  # the first operand is the upper half
        name: ir.InlineAsm(ir.FunctionType(_WORD, [_FLOAT] * 2), f"cvt.rn.{written}x2.f32 $0, $1, $2;", "=r,f,f")
        for name, written in (("bf16", "bf16"), ("fp16", "f16"))
    }

    def _pointer(context, builder, signature, args, kind):
        """To args[0][args[1]], seen as another kind of number."""
        data = make_array(signature.args[0])(context, builder, args[0]).data
        index = builder.zext(context.cast(builder, args[1], signature.args[1], types.uint32), ir.IntType(64))
        return builder.bitcast(builder.gep(data, [index]), ir.PointerType(kind))

    def _word(number):
        return ir.Constant(_WORD, number)

    def _load_chunk(builder, pointer):
        chunk = builder.load(pointer)
        chunk.align = CHUNK_BYTES
        return [builder.extract_element(chunk, _word(n)) for n in range(WORDS)]

    def _store_chunk(builder, words, pointer):
        chunk = ir.Constant(_CHUNK, ir.Undefined)
        for n, word in enumerate(words):
            chunk = builder.insert_element(chunk, word, _word(n))
        builder.store(chunk, pointer).align = CHUNK_BYTES

    @intrinsic
    def load_words(typingctx, array, index):
        def generate(context, builder, signature, args):
            words = _load_chunk(builder, _pointer(context, builder, signature, args, _CHUNK))
            return context.make_tuple(builder, signature.return_type, words)

        return types.UniTuple(types.uint32, WORDS)(array, index), generate

    @intrinsic
    def store_words(typingctx, array, index, words):
        def generate(context, builder, signature, args):
            words = cgutils.unpack_tuple(builder, args[2])
            _store_chunk(builder, words, _pointer(context, builder, signature, args, _CHUNK))
            return context.get_dummy_value()

        return types.void(array, index, words), generate

    def _widen(builder, short, dtype):
        if dtype == "fp16":
            return builder.fpext(builder.bitcast(short, _HALF), _FLOAT)
        return builder.bitcast(builder.shl(builder.zext(short, _WORD), _word(16)), _FLOAT)

    def _floats(builder, words, dtype):
        """Those in words of 32 bits."""
        if ITEMSIZE[dtype] == 4:
            return [builder.bitcast(word, _FLOAT) for word in words]
        halves = [half for word in words for half in (word, builder.lshr(word, _word(16)))]
        return [_widen(builder, builder.trunc(half, _SHORT), dtype) for half in halves]

    def _words(builder, floats, dtype):
        """Words of 32 bits that hold these."""
        if ITEMSIZE[dtype] == 4:
            return [builder.bitcast(lane, _WORD) for lane in floats]
        pairs = zip(floats[::2], floats[1::2], strict=True)
        return [builder.call(_ROUND_PAIR[dtype], [upper, lower]) for lower, upper in pairs]

    @cache
    def floats_of(dtype: Dtype) -> Callable:
        @intrinsic
        def floats(typingctx, words):
            def generate(context, builder, signature, args):
                found = _floats(builder, cgutils.unpack_tuple(builder, args[0]), dtype)
                return context.make_tuple(builder, signature.return_type, found)

            return types.UniTuple(types.float32, elements(dtype))(words), generate

        return floats

    @cache
    def words_of(dtype: Dtype) -> Callable:
        @intrinsic
        def words(typingctx, floats):
            def generate(context, builder, signature, args):
                found = _words(builder, cgutils.unpack_tuple(builder, args[0]), dtype)
                return context.make_tuple(builder, signature.return_type, found)

            return types.UniTuple(types.uint32, WORDS)(floats), generate

        return words

    @cache
    def own_floats(count: int) -> Callable:
        @intrinsic
        def take(typingctx, array, first):
            def generate(context, builder, signature, args):
                own = _pointer(context, builder, signature, args, _FLOAT)
                found = [builder.load(builder.gep(own, [_word(n)])) for n in range(count)]
                return context.make_tuple(builder, signature.return_type, found)

            return types.UniTuple(types.float32, count)(array, first), generate

        return take

    @cache
    def float_loader(dtype: Dtype, count: int) -> Callable:
        kind = _FLOAT if ITEMSIZE[dtype] == 4 else _SHORT

        @intrinsic
        def load(typingctx, array, index, left):
            def generate(context, builder, signature, args):
                at, limit = (context.cast(builder, args[n], signature.args[n], types.uint32) for n in (1, 2))
                data = make_array(signature.args[0])(context, builder, args[0]).data
                start = builder.bitcast(data, ir.PointerType(kind))
                found = []
                for n in range(count):
                    there = builder.icmp_unsigned("<", _word(n), limit)
                    index = builder.select(there, builder.add(at, _word(n)), _word(0))  # some number that can be read
                    value = builder.load(builder.gep(start, [builder.zext(index, ir.IntType(64))]))
                    wide = value if kind is _FLOAT else _widen(builder, value, dtype)
                    found.append(builder.select(there, wide, ir.Constant(_FLOAT, 0.0)))
                return context.make_tuple(builder, signature.return_type, found)

            return types.UniTuple(types.float32, count)(array, index, left), generate

        return load

    @cache
    def float_storer(dtype: Dtype, count: int) -> Callable:
        @intrinsic
        def store(typingctx, array, index, floats):
            def generate(context, builder, signature, args):
                lanes = cgutils.unpack_tuple(builder, args[2])
                if ITEMSIZE[dtype] == 2 and count == 2:
                    stored, kind = builder.call(_ROUND_PAIR[dtype], lanes[::-1]), _WORD
                elif ITEMSIZE[dtype] == 2:
                    stored, kind = builder.call(_ROUND[dtype], lanes), _SHORT
                elif count == 2:
                    kind = ir.VectorType(_FLOAT, 2)
                    stored = ir.Constant(kind, ir.Undefined)
                    for n, lane in enumerate(lanes):
                        stored = builder.insert_element(stored, lane, _word(n))
                else:
                    stored, kind = lanes[0], _FLOAT
                pointer = _pointer(context, builder, signature, args, kind)
                builder.store(stored, pointer).align = ITEMSIZE[dtype] * count
                return context.get_dummy_value()

            return types.void(array, index, floats), generate

        return store

    def _number(dtype):
        return _FLOAT if ITEMSIZE[dtype] == 4 else _SHORT

    def _places(builder, data, index, step, count, kind):
        """Pointers to `count` of `kind`, `step` numbers apart; indices have 32 bits."""
        for n in range(count):
            at = builder.add(index, builder.mul(step, _word(n)))
            yield builder.bitcast(builder.gep(data, [builder.zext(at, ir.IntType(64))]), ir.PointerType(kind))

    def _start(context, builder, signature, args):
        return make_array(signature.args[0])(context, builder, args[0]).data

    @cache
    def block_loader(rows: int, columns: int, channels: int, dtype: Dtype) -> Callable:
        chunks = channels == elements(dtype)
        kind = _CHUNK if chunks else _number(dtype)

        @intrinsic
        def load(typingctx, array, first, last_row, row_step, column_step):
            def generate(context, builder, signature, args):
                data = _start(context, builder, signature, args)
                at, last, row_by, by = (context.cast(builder, args[n], signature.args[n], types.uint32) for n in range(1, 5))
                read = []
                for row in range(rows):
                    number = _word(row)
                    if row:
                        number = builder.select(builder.icmp_unsigned("<", number, last), number, last)
                    start = builder.add(at, builder.mul(number, row_by))
                    for pointer in _places(builder, data, start, by, columns, kind):
                        if chunks:
                            read += _floats(builder, _load_chunk(builder, pointer), dtype)
                        elif ITEMSIZE[dtype] == 4:
                            read.append(builder.load(pointer))
                        else:
                            read.append(_widen(builder, builder.load(pointer), dtype))
                return context.make_tuple(builder, signature.return_type, read)

            count = rows * columns * channels
            return types.UniTuple(types.float32, count)(array, first, last_row, row_step, column_step), generate

        return load

    @cache
    def row_storer(columns: int, channels: int, first: int, dtype: Dtype) -> Callable:
        chunks = channels == elements(dtype)
        kind = _CHUNK if chunks else _number(dtype)

        @intrinsic
        def store(typingctx, array, at, column_step, floats):
            def generate(context, builder, signature, args):
                data = _start(context, builder, signature, args)
                start, by = (context.cast(builder, args[n], signature.args[n], types.uint32) for n in (1, 2))
                lanes = cgutils.unpack_tuple(builder, args[3])[first:]
                for column, pointer in enumerate(_places(builder, data, start, by, columns, kind)):
                    part = lanes[column * channels : (column + 1) * channels]
                    if chunks:
                        _store_chunk(builder, _words(builder, part, dtype), pointer)
                    else:
                        builder.store(part[0] if ITEMSIZE[dtype] == 4 else builder.call(_ROUND[dtype], part), pointer)
                return context.get_dummy_value()

            return types.void(array, at, column_step, floats), generate

        return store
