"""The parallel region: every thread computes its share of a step, and of several steps one after the other.

To start a region takes as long as a small convolution, 2 to 4 us; a barrier within one a hundredth of that. A step is compiled
as a function of where its arguments lie and of the thread. So one region, compiled once, runs the steps of any kernel and those
of a whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import count
from typing import Any, NamedTuple, Protocol, get_type_hints

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from sepconv_bench.compile_once import compile_once

_ENTRY = (types.int64, types.int64)  # address of the arguments, thread
_WORD, _LINE = ir.IntType(64), 64
_X86 = llvm.get_process_triple().startswith(("x86", "i686"))
_STEP_BYTES = 3 * 8  # entry, arguments, threads
# Pauses in a row before a thread that waits gives its core away, and before one concludes that the others do not come.
_PATIENCE, _MOST_PAUSES = 1 << 8, 1 << 14


class Step(NamedTuple):
    """What one kernel does in a region: the address of its compiled function, its arguments as integers in memory, and for how
    many threads they cut the work. `keep`: arrays whose addresses are among the arguments."""

    entry: int
    arguments: np.ndarray
    threads: int
    keep: tuple[Any, ...]


class Region(partial):
    """A launch that is one parallel region: its `steps` one after the other, each done before the next begins."""

    steps: tuple[Step, ...]
    _memory: tuple[np.ndarray, ...]


@cache
def arguments_of(*kinds: type) -> Callable:
    """A compiled function of an address, which gives the arguments that `step` has put there. Each is an integer, a truth
    value, or a NamedTuple of such."""
    kind = numba.typeof(tuple(map(_example, kinds)))

    @intrinsic
    def arguments(typingctx, address):
        def generate(context, builder, signature, args):
            words, places = builder.inttoptr(args[0], _WORD.as_pointer()), count()

            def read(kind):
                if isinstance(kind, types.BaseTuple):
                    return context.make_tuple(builder, kind, [read(each) for each in kind])
                word = builder.load(builder.gep(words, [ir.Constant(_WORD, next(places))]))
                return context.cast(builder, word, types.int64, kind)

            return read(kind)

        return kind(types.int64), generate

    return arguments


def _example(kind: type) -> Any:
    fields = get_type_hints(kind) if issubclass(kind, tuple) else {}
    return kind(*map(_example, fields.values()))


def step(function: Dispatcher, arguments: tuple[Any, ...], threads: int, keep: tuple[Any, ...]) -> Step:
    """Compile `function(address, thread)` now. It takes the `arguments` from where `arguments_of` finds them."""
    compiled: Any = function.get_compile_result(types.void(*_ENTRY))
    entry = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
    return Step(entry, np.array([*_flat(arguments)], np.int64), threads, (function, *keep))


def _flat(arguments: tuple[Any, ...]) -> Iterator[int]:
    for each in arguments:
        if isinstance(each, tuple):
            yield from _flat(each)
        else:
            yield each


def region(steps: Sequence[Step]) -> Region:
    """A launch of these steps on as many threads as the one that has most of them."""
    threads = max(one.threads for one in steps)
    table = np.array([(one.entry, one.arguments.ctypes.data, one.threads) for one in steps], np.int64)
    state = np.zeros(4 * _LINE // 8, np.int64)
    address = state.ctypes.data + -state.ctypes.data % _LINE
    if len(steps) == 1:
        function, arguments = (_alone, table[0, :2]) if threads == 1 else (_one_step, table[0])
    elif threads == 1:
        function, arguments = _steps_alone, np.array([table.ctypes.data, len(steps)])
    else:
        function, arguments = _steps, np.array([table.ctypes.data, len(steps), threads, address])
    numbers = [int(each) for each in arguments]
    launch = Region(function.compile(tuple(types.int64 for _ in numbers)), *numbers)
    launch.steps, launch._memory = tuple(steps), (table, state)
    return launch


class HasSteps(Protocol):
    """What can be part of a region."""

    @property
    def steps(self) -> tuple[Step, ...]: ...


def joined(regions: Iterable[HasSteps]) -> Region:
    """Regions one after the other as one."""
    return region([each for one in regions for each in one.steps])


# ---------------------------------------------------------------------------------------------- intrinsics


@intrinsic
def _call(typingctx, entry, arguments, thread):
    def generate(context, builder, signature, args):
        function = ir.FunctionType(ir.VoidType(), [_WORD, _WORD])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _pointer(builder, address):
    return builder.inttoptr(address, _WORD.as_pointer())


@intrinsic
def _load(typingctx, address):
    """A word that no other thread writes meanwhile."""

    def generate(context, builder, signature, args):
        return builder.load(_pointer(builder, args[0]))

    return types.int64(types.int64), generate


@intrinsic
def _seen(typingctx, address):
    """A word as other threads have written it, and with it all that they wrote before."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(_pointer(builder, args[0]), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _show(typingctx, address, value):
    """Write a word, and with it all that was written before."""

    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], _pointer(builder, args[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _add(typingctx, address, value):
    """Add to a word, which others see with all that was written before; what it was."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _decide(typingctx, address, value):
    """Write a word that is 0; once it is another it stays."""

    def generate(context, builder, signature, args):
        builder.cmpxchg(_pointer(builder, args[0]), ir.Constant(_WORD, 0), args[1], "acq_rel", "acquire")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _pause(typingctx):
    """Let the other thread of the core go first for a moment."""

    def generate(context, builder, signature, args):
        name, hint = ("llvm.x86.sse2.pause", []) if _X86 else ("llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)])
        function = ir.FunctionType(ir.VoidType(), [each.type for each in hint])
        builder.call(cgutils.get_or_insert_function(builder.module, function, name), hint)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _give_way(typingctx):
    """Let whoever waits for this core have it."""

    def generate(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


# ---------------------------------------------------------------------------------------------- regions


@compile_once
@njit(error_model="numpy")
def _alone(entry, arguments):
    _call(entry, arguments, 0)


@compile_once
@njit(error_model="numpy", parallel=True)
def _one_step(entry, arguments, threads):
    for thread in prange(threads):
        _call(entry, arguments, thread)


@njit(error_model="numpy")
def _one_after_the_other(table, steps):
    for at in range(table, table + steps * _STEP_BYTES, _STEP_BYTES):
        for thread in range(_load(at + 16)):
            _call(_load(at), _load(at + 8), thread)


@compile_once
@njit(error_model="numpy")
def _steps_alone(table, steps):
    _one_after_the_other(table, steps)


@njit(error_model="numpy")
def _wait(address, value):
    """Until a word is as large."""
    pauses = 0
    while _seen(address) < value:
        _pause()
        pauses += 1
        if pauses > _PATIENCE:
            _give_way()


@njit(error_model="numpy")
def _leads(decision, arrived, threads, thread):
    """0 where all threads are here at the same time, else the number, from 1, of the one that does all the work.

    A pool may run a region's iterations one after the other, as when it has fewer threads than there were when the region
    was made: then a barrier would never open.
    """
    if _add(arrived, 1) + 1 == threads:
        _decide(decision, -1)
    pauses = 0
    while _seen(decision) == 0:
        _pause()
        pauses += 1
        if pauses > _PATIENCE:
            _give_way()
        if pauses > _MOST_PAUSES:
            _decide(decision, thread + 1)
    return max(0, _seen(decision))


@compile_once
@njit(error_model="numpy", parallel=True)
def _steps(table, steps, threads, state):
    decision, arrived, done = state, state + _LINE, state + 2 * _LINE
    _show(decision, 0)
    _show(arrived, 0)
    _show(done, 0)
    for thread in prange(threads):
        alone = _leads(decision, arrived, threads, thread)
        if alone == 0:
            finished = 0
            for at in range(table, table + steps * _STEP_BYTES, _STEP_BYTES):
                if thread < _load(at + 16):
                    _call(_load(at), _load(at + 8), thread)
                finished += threads
                _add(done, 1)
                _wait(done, finished)
        elif alone == thread + 1:
            _one_after_the_other(table, steps)
