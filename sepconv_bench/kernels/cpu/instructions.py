"""The few instructions that intrinsics of a tile are made of, as LLVM writes them. Addresses and steps are bytes."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from sepconv_bench.kernels.cpu.registers import Tile

FLOAT_TYPE, INT_TYPE, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)


def vector_of(tile: Tile) -> ir.VectorType:
    return ir.VectorType(FLOAT_TYPE, tile.lanes)


def pointer_to(builder, address):
    return builder.inttoptr(address, _BYTE.as_pointer())


def moved(builder, pointer, step, times):
    """The pointer `times` steps on. A pointer and an offset, which x86 adds while it loads: a sum of integers the
    compiler would turn into a chain of additions, one a pixel."""
    return builder.gep(pointer, [builder.mul(step, ir.Constant(step.type, times))])


def _element(builder, pointer, index, kind):
    """Pointer to the index-th `kind` from there on."""
    return builder.gep(builder.bitcast(pointer, kind.as_pointer()), [ir.Constant(INT_TYPE, index)])


def emit_load(builder, pointer, index, kind, mask=None):
    pointer = _element(builder, pointer, index, kind)
    if mask is None:
        return builder.load(pointer, align=4)
    function = ir.FunctionType(kind, [pointer.type, INT_TYPE, mask.type, kind])
    load = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.load.v{kind.count}f32.p0")
    return builder.call(load, [pointer, ir.Constant(INT_TYPE, 4), mask, ir.Constant(kind, None)])


def emit_store(builder, value, pointer, index, mask=None, nontemporal=False):
    pointer = _element(builder, pointer, index, value.type)
    if mask is None:
        stored = builder.store(value, pointer, align=4 * value.type.count if nontemporal else 4)
        if nontemporal:
            stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT_TYPE, 1)]))
        return
    function = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, INT_TYPE, mask.type])
    masked = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.v{value.type.count}f32.p0")
    builder.call(masked, [value, pointer, ir.Constant(INT_TYPE, 4), mask])


def emit_masks(builder, tile: Tile, kind, channels):
    """One mask a vector: lanes below `channels`, counted from the tile's first. None where their kind says all."""
    if kind is types.none:
        return [None] * tile.NV
    count = emit_splat(builder, builder.trunc(channels, INT_TYPE), ir.VectorType(INT_TYPE, tile.lanes))
    return [
        builder.icmp_signed("<", ir.Constant(count.type, [v * tile.lanes + lane for lane in range(tile.lanes)]), count)
        for v in range(tile.NV)
    ]


def emit_splat(builder, value, vector):
    lanes = ir.VectorType(INT_TYPE, vector.count)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(INT_TYPE, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(lanes, None))


def emit_multiply_add(builder, a, b, c):
    """a x b + c, in one instruction where the machine has it: what llvm.fmuladd means."""
    function = ir.FunctionType(a.type, [a.type] * 3)
    fused = cgutils.get_or_insert_function(builder.module, function, f"llvm.fmuladd.v{a.type.count}f32")
    return builder.call(fused, [a, b, c])
