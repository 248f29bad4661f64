"""What the compiler made of a kernel: the innermost loop that does its multiply-adds, read from the machine code."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numba
from numba.core.dispatcher import Dispatcher

from sepconv_bench.kernels.cpu.depthwise import filter_row, roll_down
from sepconv_bench.kernels.cpu.layout import Taps, View
from sepconv_bench.kernels.cpu.product import Output, Prefetch, Terms, product_tile
from sepconv_bench.kernels.cpu.registers import Tile

_VIEW, _TAPS = View(0, 0, 0), Taps(0, 0, 0)
_LABEL = re.compile(r"^(\.?[A-Za-z_][\w.$]*):")
_JUMP = re.compile(r"^\s+(?:j[a-z]+|b(?:\.[a-z]+)?|cbn?z|tbn?z)\s.*?(\.?L[\w.$]+)\s*$")
# x86 with FMA; x86 without, where a product and a sum make one; ARM.
_PACKED = (re.compile(r"\s+vfmadd\d+ps\s"), re.compile(r"\s+v?mulps\s"), re.compile(r"\s+fmla\s+v\d+\.4s"))
# A vector moved to or from the stack. Addresses may be there: they cost an integer load, of which there are enough.
_REMARK = re.compile(r"\s*#")
# A vector that an instruction reads from memory, by a move or as an operand of its own: on x86 the register that it goes to is
# the last.
_LOAD = re.compile(r"\s+v?[a-z]\w*\s[^#]*\(%?\w.*\).*,\s*%[xyz]mm\d+|\s+(?:ld1r?|ldr|ldur|ldp)\s+\{?\s*[bhsdqv]\d")
_SPILL = re.compile(r"\(%rsp\).*%[xyz]mm|%[xyz]mm.*\(%rsp\)|\b[qv]\d+\b.*\[sp\b")


@dataclass(frozen=True)
class InnerLoop:
    """The innermost loop with most packed multiply-adds: how many there are, how many instructions load a vector or a float for
    them, and how many times a vector is on the stack."""

    multiply_adds: int
    loads: int
    spills: int
    lines: tuple[str, ...]


def inner_loop(function: Dispatcher, signature: tuple) -> InnerLoop:
    """Compile `function` for a signature and read its assembly; ValueError where no loop multiplies vectors."""
    function.compile(signature)
    loops = [
        InnerLoop(max(_count(packed, body) for packed in _PACKED), _count(_LOAD, body), _count(_SPILL, body), tuple(body))
        for body in _innermost([line for line in function.inspect_asm(signature).splitlines() if not _REMARK.match(line)])
    ]
    best = max(loops, key=lambda loop: loop.multiply_adds, default=None)
    if best is None or not best.multiply_adds:
        raise ValueError(f"no loop of {function.py_func.__name__} holds packed multiply-adds")
    return best


def product_loop(tile: Tile, prefetches: bool = False) -> InnerLoop:
    """Of a tile of a product: one rank-1 update."""
    arguments = (_VIEW, Terms(0, 0, 0, 0), 0, _VIEW, Output(0, True, True, 0), Prefetch(0, 0))
    return inner_loop(product_tile(tile, prefetches), _types(*arguments))


def row_loop(tile: Tile, D_K: int, stride: int) -> InnerLoop:
    """Of a depthwise tile that is filtered row by row: one row of taps."""
    return inner_loop(filter_row(tile, D_K, stride, nontemporal=False), _types(_VIEW, _TAPS, _VIEW, 0, 0, 0))


def roll_loop(tile: Tile, nontemporal: bool = False) -> InnerLoop:
    """Of a depthwise tile that rolls down its column: one row of F."""
    return inner_loop(roll_down(tile, nontemporal), _types(_VIEW, _TAPS, _VIEW, 0, None))


def _types(*arguments: object) -> tuple:
    return tuple(numba.typeof(each) for each in arguments)


def _innermost(lines: list[str]) -> list[list[str]]:
    """The bodies of loops that hold no other loop: from a label to the jump back to it."""
    labels = {found[1]: number for number, line in enumerate(lines) if (found := _LABEL.match(line))}
    back = [
        (labels[found[1]], number)
        for number, line in enumerate(lines)
        if (found := _JUMP.match(line)) and labels.get(found[1], number) < number
    ]
    inner = [(start, end) for start, end in back if not any(start <= s and e < end for s, e in back if (s, e) != (start, end))]
    return [lines[start : end + 1] for start, end in inner]


def _count(pattern: re.Pattern[str], body: list[str]) -> int:
    return sum(bool(pattern.search(line)) for line in body)
