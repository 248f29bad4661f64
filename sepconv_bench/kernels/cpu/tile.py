"""Vectors, register tiles and raw pointers: all that knows the machine. Kernels above it read like the equations.

A tile is MR pixels by NV vectors of channels, its accumulators a tuple of vectors which LLVM keeps in registers: the
loop over the tile runs while the code is built, none is left in what is built. Addresses and steps are bytes.
Nothing here checks a bound; blocking.py and the problem's checks see to it that every address is inside its array.
"""

from __future__ import annotations

from itertools import product

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import intrinsic, models, overload_attribute, register_model, typeof_impl

from sepconv_bench.kernels.cpu.instructions import (
    FLOAT_TYPE,
    INT_TYPE,
    emit_load,
    emit_masks,
    emit_multiply_add,
    emit_splat,
    emit_store,
    moved,
    pointer_to,
    vector_of,
)
from sepconv_bench.kernels.cpu.registers import Tile

# ---------------------------------------------------------------------------------------------- types


class _VectorType(types.Type):
    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(f"Vector({lanes})")


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, ir.VectorType(FLOAT_TYPE, vector.lanes))


class _TileType(types.Dummy):
    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        super().__init__(str(tile))

    @property
    def accumulators(self) -> types.UniTuple:
        return types.UniTuple(_VectorType(self.tile.lanes), self.tile.MR * self.tile.NV)


register_model(_TileType)(models.OpaqueModel)


@typeof_impl.register(Tile)
def _typeof_tile(tile, context):
    return _TileType(tile)


@lower_constant(_TileType)
def _tile_constant(context, builder, tile_type, tile):
    return context.get_dummy_value()


@overload_attribute(_TileType, "NR")
def _channels_of_tile(tile):
    NR = tile.tile.NR
    return lambda tile: NR


# ---------------------------------------------------------------------------------------------- intrinsics

_ADDRESS = types.int64


@intrinsic
def zeros(typingctx, tile):
    """Accumulators of a tile, all 0."""

    def generate(context, builder, signature, args):
        vector = vector_of(tile.tile)
        return context.make_tuple(builder, signature.return_type, [ir.Constant(vector, None)] * (tile.tile.MR * tile.tile.NV))

    return tile.accumulators(tile), generate


@intrinsic
def rank_1(typingctx, tile, accumulators, pixel, step, weights):
    """accumulators[p, n] += pixel[p] x weights[n]: one float of each of MR pixels `step` apart, and NR weights."""

    def generate(context, builder, signature, args):
        _, sums, pixel, step, weights = args
        MR, NV, vector = tile.tile.MR, tile.tile.NV, vector_of(tile.tile)
        first, weights = pointer_to(builder, pixel), pointer_to(builder, weights)
        columns = [emit_load(builder, weights, v, vector) for v in range(NV)]
        sums = cgutils.unpack_tuple(builder, sums, MR * NV)
        for p in range(MR):
            value = emit_splat(builder, emit_load(builder, moved(builder, first, step, p), 0, FLOAT_TYPE), vector)
            for v in range(NV):
                sums[p * NV + v] = emit_multiply_add(builder, value, columns[v], sums[p * NV + v])
        return context.make_tuple(builder, signature.return_type, sums)

    return tile.accumulators(tile, tile.accumulators, _ADDRESS, _ADDRESS, _ADDRESS), generate


@intrinsic
def prefetch(typingctx, address):
    """Fetch the cache line at an address into L2. The address need not be one of ours: a prefetch never faults."""

    def generate(context, builder, signature, args):
        pointer = pointer_to(builder, args[0])
        function = ir.FunctionType(ir.VoidType(), [pointer.type, INT_TYPE, INT_TYPE, INT_TYPE])
        fetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        builder.call(fetch, [pointer, *(ir.Constant(INT_TYPE, hint) for hint in (0, 2, 1))])  # to read, into L2, data
        return context.get_dummy_value()

    return types.void(_ADDRESS), generate


@intrinsic
def rolled(typingctx):
    """Costs nothing, and keeps the loop that it stands in as it is: LLVM would unroll it for processors with a large cache of
    decoded instructions, and spill registers that a tile has just enough of."""

    def generate(context, builder, signature, args):
        nothing = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "", side_effect=True)
        builder.call(nothing, [], attrs="convergent")  # a loop with a remainder may not hold such a thing twice
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def load_taps(typingctx, tile, weights, tap, D_K, channels):
    """The tile's channels of a row of D_K taps, which lie `tap` apart. `channels`: how many there are; None says all."""
    if not isinstance(D_K, types.IntegerLiteral):
        return None
    taps = types.UniTuple(_VectorType(tile.tile.lanes), D_K.literal_value * tile.tile.NV)

    def generate(context, builder, signature, args):
        _, weights, tap, _, count = args
        masks = emit_masks(builder, tile.tile, channels, count)
        rows = [moved(builder, pointer_to(builder, weights), tap, j) for j in range(D_K.literal_value)]
        loaded = [emit_load(builder, row, v, vector_of(tile.tile), mask) for row in rows for v, mask in enumerate(masks)]
        return context.make_tuple(builder, taps, loaded)

    return taps(tile, _ADDRESS, _ADDRESS, D_K, channels), generate


@intrinsic
def channelwise(typingctx, tile, accumulators, taps, pixel, step, stride, channels):
    """accumulators[p, m] += sum_j pixel[p stride + j, m] x taps[j, m]: a row of taps on each channel by itself.

    Each pixel is loaded once for all the sums that it is part of, so `stride` is a literal.
    """
    if not isinstance(stride, types.IntegerLiteral):
        return None
    D_K, apart = taps.count // tile.tile.NV, stride.literal_value

    def generate(context, builder, signature, args):
        _, sums, taps, pixel, step, _, count = args
        MR, NV, vector = tile.tile.MR, tile.tile.NV, vector_of(tile.tile)
        masks = emit_masks(builder, tile.tile, channels, count)
        sums, taps = cgutils.unpack_tuple(builder, sums, MR * NV), cgutils.unpack_tuple(builder, taps, D_K * NV)
        met: dict[int, list[tuple[int, int]]] = {}
        for p, j in product(range(MR), range(D_K)):
            met.setdefault(p * apart + j, []).append((p, j))
        for x in sorted(met):
            row = moved(builder, pointer_to(builder, pixel), step, x)
            for v, mask in enumerate(masks):
                value = emit_load(builder, row, v, vector, mask)
                for p, j in met[x]:
                    sums[p * NV + v] = emit_multiply_add(builder, value, taps[j * NV + v], sums[p * NV + v])
        return context.make_tuple(builder, signature.return_type, sums)

    return tile.accumulators(tile, tile.accumulators, taps, _ADDRESS, _ADDRESS, stride, channels), generate


@intrinsic
def store(typingctx, tile, accumulators, pixel, step, channels):
    """Write the first `channels` channels of a tile to MR pixels `step` apart."""
    return _write(tile)


@intrinsic
def store_nontemporal(typingctx, tile, accumulators, pixel, step, channels):
    """As store, but whole vectors bypass the caches: their lines are not read first, and evict nothing. `pixel` and `step` are
    multiples of a vector's bytes. Other threads may read them after `store_fence`."""
    return _write(tile, nontemporal=True)


@intrinsic
def store_fence(typingctx):
    """Wait until the non-temporal stores before it are in memory."""

    def generate(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def added(typingctx, tile, accumulators, pixel, step, channels):
    """The accumulators plus the first `channels` channels of what is at MR pixels `step` apart."""

    def generate(context, builder, signature, args):
        _, sums, pixel, step, channels = args
        MR, NV, vector = tile.tile.MR, tile.tile.NV, vector_of(tile.tile)
        masks = emit_masks(builder, tile.tile, types.int64, channels)
        sums = cgutils.unpack_tuple(builder, sums, MR * NV)
        for p in range(MR):
            row = moved(builder, pointer_to(builder, pixel), step, p)
            for v, mask in enumerate(masks):
                sums[p * NV + v] = builder.fadd(sums[p * NV + v], emit_load(builder, row, v, vector, mask))
        return context.make_tuple(builder, signature.return_type, sums)

    return tile.accumulators(tile, tile.accumulators, _ADDRESS, _ADDRESS, types.int64), generate


@intrinsic
def relu6(typingctx, tile, accumulators, bias):
    """min(max(accumulators + bias, 0), 6) in each pixel, with NR floats of bias: a folded batch norm and ReLU6."""

    def generate(context, builder, signature, args):
        _, sums, bias = args
        MR, NV, vector = tile.tile.MR, tile.tile.NV, vector_of(tile.tile)
        biases = [emit_load(builder, pointer_to(builder, bias), v, vector) for v in range(NV)]
        low, high = (ir.Constant(vector, [limit] * vector.count) for limit in (0.0, 6.0))
        sums = [builder.fadd(each, biases[k % NV]) for k, each in enumerate(cgutils.unpack_tuple(builder, sums, MR * NV))]
        sums = [builder.select(builder.fcmp_ordered(">", each, low), each, low) for each in sums]
        sums = [builder.select(builder.fcmp_ordered("<", each, high), each, high) for each in sums]
        return context.make_tuple(builder, signature.return_type, sums)

    return tile.accumulators(tile, tile.accumulators, _ADDRESS), generate


def _write(tile, nontemporal=False):
    def generate(context, builder, signature, args):
        _, sums, pixel, step, channels = args
        MR, NV = tile.tile.MR, tile.tile.NV
        first = pointer_to(builder, pixel)
        sums = cgutils.unpack_tuple(builder, sums, MR * NV)

        def write(masks):
            for p in range(MR):
                row = moved(builder, first, step, p)
                for v in range(NV):
                    emit_store(builder, sums[p * NV + v], row, v, masks[v], nontemporal)

        whole = builder.icmp_signed(">=", channels, ir.Constant(channels.type, tile.tile.NR))
        with builder.if_else(whole, likely=True) as (all_channels, some):
            with all_channels:
                write(emit_masks(builder, tile.tile, types.none, None))
            with some:
                write(emit_masks(builder, tile.tile, types.int64, channels))
        return context.get_dummy_value()

    return types.void(tile, tile.accumulators, _ADDRESS, _ADDRESS, types.int64), generate
