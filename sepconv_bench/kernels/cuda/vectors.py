"""What Numba's CUDA does not offer: four floats in one instruction, and straight-line code on tuples of registers.

Numba unrolls short loops alone; these say what is to be done as Python does, once, while the kernel is compiled. In Numba's
simulator, which knows no intrinsics, they are plain functions of the same meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numba import config, types

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
FLOATS = 4  # of a vector: 128 bits
_BYTES = 16

if SIMULATED:

    def fma(a, b, c):
        """a * b + c in one instruction."""
        return a * b + c

    def load4(array, index):
        """array[index : index + 4]; `index` is a multiple of 4, and the array starts on 16 bytes."""
        assert index % FLOATS == 0
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    def store4(array, index, values):
        """array[index : index + 4] = values, placed as for load4."""
        assert index % FLOATS == 0
        for c in range(FLOATS):
            array[index + c] = values[c]

    def shifted(by: int) -> Callable:
        """`shift(values)`: as many zeros, then the values, the last ones falling off."""
        return lambda values: ((np.float32(0),) * by + values)[: len(values)]

    def multiply_adds(terms: Sequence[tuple[int, int, int]]) -> Callable:
        """`add(sums, a, b)`: tuples in, the sums out, with a[j] * b[k] added to sum i for each term (i, j, k), in order."""

        def add(sums, a, b):
            added = list(sums)
            for i, j, k in terms:
                added[i] += a[j] * b[k]
            return tuple(added)

        return add

    def outer_sums(TP: int, TN: int, terms: int, pitch: int, BN: int) -> Callable:
        """`add(sums, A, first_a, B, first_b)`: to the TP x TN sums, an array of a thread's own, as many products of a column of
        A and a row of B; from one term to the next it is `pitch` floats in A and BN in B.

        Of a column quads are read 16 floats apart, of a row 32: between them lie those of the other threads of a warp.
        """

        def add(sums, A, first_a, B, first_b):
            for term in range(terms):
                p_terms = [x for q in range(TP // FLOATS) for x in load4(A, first_a + term * pitch + 16 * q)]
                n_terms = [x for q in range(TN // FLOATS) for x in load4(B, first_b + term * BN + 32 * q)]
                for p in range(TP):
                    for n in range(TN):
                        sums[p * TN + n] += p_terms[p] * n_terms[n]

        return add

    def bias_relu6(first: int) -> Callable:
        """`finish(values, bias)`: of the values from number `first` on min(max(value + bias, 0), 6), the others as they are.

        `bias` is a tuple, of a float a channel; its channels follow each other in the values again and again.
        """

        def finish(values, bias):
            lanes = range(first, len(values))
            return values[:first] + tuple(min(max(values[n] + bias[n % len(bias)], 0), 6) for n in lanes)

        return finish

else:
    from llvmlite import ir
    from numba.cuda import cgutils  # type: ignore[attr-defined]
    from numba.cuda.extending import intrinsic
    from numba.cuda.np.arrayobj import make_array

    _VECTOR, _INDEX = ir.VectorType(ir.FloatType(), FLOATS), ir.IntType(32)

    def _index(context, builder, signature, args, which):
        return context.cast(builder, args[which], signature.args[which], types.uint32)

    def _load(builder, data, index, channels):
        """One float or four from data[index], an index of 32 bits."""
        pointer = builder.gep(data, [builder.zext(index, ir.IntType(64))])
        if channels == 1:
            return [builder.load(pointer)]
        vector = builder.load(builder.bitcast(pointer, ir.PointerType(_VECTOR)))
        vector.align = _BYTES
        return [builder.extract_element(vector, ir.Constant(_INDEX, lane)) for lane in range(channels)]

    def _data(context, builder, signature, args):
        return make_array(signature.args[0])(context, builder, args[0]).data

    @intrinsic
    def fma(typingctx, a, b, c):
        def generate(context, builder, signature, args):
            return builder.fma(*args)

        return types.float32(types.float32, types.float32, types.float32), generate

    @intrinsic
    def load4(typingctx, array, index):
        def generate(context, builder, signature, args):
            at = _index(context, builder, signature, args, 1)
            lanes = _load(builder, _data(context, builder, signature, args), at, FLOATS)
            return context.make_tuple(builder, signature.return_type, lanes)

        return types.UniTuple(types.float32, FLOATS)(array, index), generate

    def _store(builder, data, index, values):
        pointer = builder.gep(data, [builder.zext(index, ir.IntType(64))])
        if len(values) == 1:
            builder.store(values[0], pointer)
            return
        vector = ir.Constant(_VECTOR, ir.Undefined)
        for lane, value in enumerate(values):
            vector = builder.insert_element(vector, value, ir.Constant(_INDEX, lane))
        builder.store(vector, builder.bitcast(pointer, ir.PointerType(_VECTOR))).align = _BYTES

    @intrinsic
    def store4(typingctx, array, index, values):
        def generate(context, builder, signature, args):
            at = _index(context, builder, signature, args, 1)
            _store(builder, _data(context, builder, signature, args), at, cgutils.unpack_tuple(builder, args[2]))
            return context.get_dummy_value()

        return types.void(array, index, values), generate

    @cache
    def shifted(by: int) -> Callable:
        @intrinsic
        def shift(typingctx, values):
            def generate(context, builder, signature, args):
                lanes = [ir.Constant(ir.FloatType(), 0.0)] * by + list(cgutils.unpack_tuple(builder, args[0]))
                return context.make_tuple(builder, signature.return_type, lanes[: len(lanes) - by])

            return values(values), generate

        return shift

    @cache
    def multiply_adds(terms: tuple[tuple[int, int, int], ...]) -> Callable:
        @intrinsic
        def add(typingctx, sums, a, b):
            def generate(context, builder, signature, args):
                added, left, right = (cgutils.unpack_tuple(builder, values) for values in args)
                added = list(added)
                for i, j, k in terms:
                    added[i] = builder.fma(left[j], right[k], added[i])
                return context.make_tuple(builder, signature.return_type, added)

            return sums(sums, a, b), generate

        return add

    @cache
    def outer_sums(TP: int, TN: int, terms: int, pitch: int, BN: int) -> Callable:
        @intrinsic
        def add(typingctx, sums, A, first_a, B, first_b):
            def generate(context, builder, signature, args):
                def start(array, first):
                    data = make_array(signature.args[array])(context, builder, args[array]).data
                    return builder.gep(data, [builder.zext(_index(context, builder, signature, args, first), ir.IntType(64))])

                def constant(number):
                    return ir.Constant(_INDEX, number)

                a, b = start(1, 2), start(3, 4)
                own = make_array(signature.args[0])(context, builder, args[0]).data
                places = [builder.gep(own, [constant(number)]) for number in range(TP * TN)]
                added = [builder.load(place) for place in places]
                for term in range(terms):
                    p_terms = [
                        x for q in range(TP // FLOATS) for x in _load(builder, a, constant(term * pitch + 16 * q), FLOATS)
                    ]
                    n_terms = [x for q in range(TN // FLOATS) for x in _load(builder, b, constant(term * BN + 32 * q), FLOATS)]
                    for p in range(TP):
                        for n in range(TN):
                            added[p * TN + n] = builder.fma(p_terms[p], n_terms[n], added[p * TN + n])
                for place, value in zip(places, added, strict=True):
                    builder.store(value, place)
                return context.get_dummy_value()

            return types.void(sums, A, first_a, B, first_b), generate

        return add

    @cache
    def bias_relu6(first: int) -> Callable:
        @intrinsic
        def finish(typingctx, values, bias):
            two_floats = types.float32(types.float32, types.float32)

            def generate(context, builder, signature, args):
                lanes, shifts = (list(cgutils.unpack_tuple(builder, each)) for each in args)
                greater, less = (context.get_function(which, two_floats) for which in (max, min))
                for n in range(first, len(lanes)):
                    moved = builder.fadd(lanes[n], shifts[n % len(shifts)])
                    positive = greater(builder, (moved, ir.Constant(ir.FloatType(), 0.0)))
                    lanes[n] = less(builder, (positive, ir.Constant(ir.FloatType(), 6.0)))
                return context.make_tuple(builder, signature.return_type, lanes)

            return values(values, bias), generate

        return finish
