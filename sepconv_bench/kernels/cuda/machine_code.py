"""What the compilers make of a CUDA kernel: registers, spills, instructions. Needs the extra cuda-compile, and no GPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from numba import cuda

from sepconv_bench.errors import KernelError
from sepconv_bench.kernels.cuda.arrays import Layout
from sepconv_bench.kernels.cuda.launch import Pass
from sepconv_bench.kernels.cuda.loops import loops_pass
from sepconv_bench.kernels.cuda.product import product_pass, sum_pass
from sepconv_bench.kernels.cuda.rungs import of_one, product_of, strip_of
from sepconv_bench.kernels.cuda.tiled import depthwise_pass
from sepconv_bench.model.operators import DEPTHWISE, get_operator
from sepconv_bench.model.shapes import ConvShape

CC = (9, 0)  # Hopper, which the H200 is
_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_SHARED = re.compile(r"(\d+) bytes smem")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.M)


@dataclass(frozen=True)
class MachineCode:
    """Of one kernel, as ptxas says and as nvdisasm shows it. Bytes but for registers, which are a thread's."""

    registers: int
    stack: int
    spills: int
    shared: int
    instructions: Counter[str]
    ptx: str

    def count(self, name: str) -> int:
        """Instructions of that name, whatever follows a dot: FFMA, LDG.E.128."""
        return sum(number for full, number in self.instructions.items() if full == name or full.startswith(f"{name}."))

    @property
    def doubles(self) -> list[str]:
        """Arithmetic on float64, none of which anybody asked for."""
        return [name for name in self.instructions if re.match(r"D(ADD|MUL|FMA|SETP)|F2F\.F64|F2F\.F32\.F64|I2F\.F64", name)]


@cache
def compiled(one: Pass, cc: tuple[int, int] = CC) -> MachineCode:
    """Machine code of a pass for a compute capability. KernelError where the compilers are not installed, or refuse."""
    return compiled_as(one.run, f"void({','.join(['float32[::1]'] * one.arrays)})", cc, (one.threads, one.blocks))


def compiled_as(
    kernel: Any, signature: str, cc: tuple[int, int] = CC, launch_bounds: tuple[int, int] | None = None
) -> MachineCode:
    """Machine code of any function that cuda.jit has taken, for these types of its arguments."""
    ptx, _ = cuda.compile(kernel.py_func, signature, cc=cc, device=False, abi="numba", launch_bounds=launch_bounds)
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        told = _run("ptxas", f"-arch=sm_{cc[0]}{cc[1]}", "-v", str(source), "-o", str(binary))
        listing = _run("nvdisasm", "-c", str(binary))
    stack, stores, loads = (int(number) for number in _found(_SPILLED, told))
    (registers,) = _found(_USED, told)
    shared = _SHARED.search(told)
    return MachineCode(
        int(registers), stack, stores + loads, int(shared[1]) if shared else 0, Counter(_INSTRUCTION.findall(listing)), ptx
    )


def passes(kernel: str, shape: ConvShape, F: Layout | None = None, G: Layout | None = None, ends: bool = False) -> list[Pass]:
    """What `cuda.<operator>.<variant>` launches on maps of this shape, with the tiles of this GPU or of an H200. The maps are
    dense unless their layouts are given, and end with bias and ReLU6 if asked."""
    _, operator, variant = kernel.split(".")
    F, G = F or Layout.dense(get_operator(operator).F_shape(shape)), G or Layout.dense(get_operator(operator).G_shape(shape))
    G_hat = Layout.dense(DEPTHWISE.G_shape(shape))
    # What depthwise writes and pointwise reads.
    filtered, mixed = (G_hat, G_hat) if operator == "separable" else (G, F)
    steps: dict[tuple[str, str], Callable[[], list[Pass]]] = {
        ("depthwise", "loops"): lambda: [loops_pass("depthwise", shape, shape.stride, F, filtered)],
        ("standard", "loops"): lambda: [loops_pass("standard", shape, shape.stride, F, G)],
        ("pointwise", "loops"): lambda: [loops_pass("pointwise", shape, 1, mixed, G)],
        ("depthwise", "tiled"): lambda: [depthwise_pass(shape, F, filtered, *strip_of(shape), ends)],
        ("standard", "tiled"): lambda: _product(shape, F, G, False, ends),
        ("pointwise", "tiled"): lambda: _product(of_one(shape), mixed, G, False, ends),
        ("separable", "fused"): lambda: _product(shape, F, G, True, ends),
    }
    parts = [operator] if (operator, variant) in steps else ["depthwise", "pointwise"]
    return [one for part in parts for one in steps[part, variant]()]


def _product(shape: ConvShape, F: Layout, G: Layout, filtered: bool, ends: bool) -> list[Pass]:
    product = product_of(shape, F, G, filtered, ends)
    return [product_pass(product)] + [sum_pass(product)] * (product.splits > 1)


def blocks_resident(code: MachineCode, threads: int) -> int:
    """Blocks that a multiprocessor of a Hopper GPU holds at once: what registers, threads and shared memory allow."""
    registers = 256 * ceil(32 * code.registers / 256) * (threads // 32)
    return min(65536 // registers, 2048 // threads, 32, 233472 // (code.shared + 1024))


def _run(tool: str, *arguments: str) -> str:
    try:
        done = subprocess.run([_tool(tool), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise KernelError(f"{tool} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise KernelError(f"{tool} failed: {' '.join((done.stderr or done.stdout).split())[:200]}")
    return done.stdout + done.stderr


@cache
def _tool(name: str) -> str:
    """From the packages of the extra, which put it beside their libraries, or else of the system's."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in sorted(Path(folder).glob(f"*/bin/{name}"), reverse=True):
            return str(found)
    there = shutil.which(name)
    if there is None:
        raise KernelError(f"{name} is not installed: pip install 'sepconv-bench[cuda-compile]'")
    return there


def _found(pattern: re.Pattern, text: str) -> tuple[str, ...]:
    match = pattern.search(text)
    if match is None:
        raise KernelError(f"ptxas said nothing of {pattern.pattern!r}")
    return match.groups()
