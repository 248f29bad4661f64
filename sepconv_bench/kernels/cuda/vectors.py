"""Four floats in one instruction; in Numba's simulator, which has no such thing, four floats one by one."""

from __future__ import annotations

from numba import config, types

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
FLOATS = 4  # of a vector: 128 bits

if SIMULATED:

    def load4(array, index):
        """array[index : index + 4]; `index` is a multiple of 4, and the array starts on 16 bytes."""
        assert index % FLOATS == 0
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    def store4(array, index, values):
        """array[index : index + 4] = values, placed as for load4."""
        assert index % FLOATS == 0
        for c in range(FLOATS):
            array[index + c] = values[c]

else:
    from llvmlite import ir
    from numba.cuda import cgutils  # type: ignore[attr-defined]
    from numba.cuda.extending import intrinsic
    from numba.cuda.np.arrayobj import make_array

    _VECTOR = ir.VectorType(ir.FloatType(), FLOATS)
    _BYTES = 16

    def _pointer(context, builder, signature, args):
        array = make_array(signature.args[0])(context, builder, args[0])
        element = builder.gep(array.data, [context.cast(builder, args[1], signature.args[1], types.uint64)])
        return builder.bitcast(element, ir.PointerType(_VECTOR))

    @intrinsic
    def load4(typingctx, array, index):
        def generate(context, builder, signature, args):
            vector = builder.load(_pointer(context, builder, signature, args))
            vector.align = _BYTES
            lanes = [builder.extract_element(vector, ir.Constant(ir.IntType(32), lane)) for lane in range(FLOATS)]
            return context.make_tuple(builder, signature.return_type, lanes)

        return types.UniTuple(types.float32, FLOATS)(array, index), generate

    @intrinsic
    def store4(typingctx, array, index, values):
        def generate(context, builder, signature, args):
            vector = ir.Constant(_VECTOR, ir.Undefined)
            for lane, value in enumerate(cgutils.unpack_tuple(builder, args[2])):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
            builder.store(vector, _pointer(context, builder, signature, args)).align = _BYTES
            return context.get_dummy_value()

        return types.void(array, index, values), generate
