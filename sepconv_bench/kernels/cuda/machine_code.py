"""What the compilers make of a CUDA kernel: registers, spills, instructions. Needs the extra cuda-compile, and no GPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
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
from sepconv_bench.kernels.cuda.rungs import of_one, product_of, strip_of, tensor_product_of
from sepconv_bench.kernels.cuda.tensor import tensor_pass
from sepconv_bench.kernels.cuda.tiled import depthwise_pass
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, SEPARABLE, Operator, get_operator
from sepconv_bench.model.shapes import ConvShape

_STORED = {"bf16": "uint16", "fp16": "float16"}
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
        """Arithmetic on float64, of which there should be none."""
        return [name for name in self.instructions if re.match(r"D(ADD|MUL|FMA|SETP)|F2F\.F64|F2F\.F32\.F64|I2F\.F64", name)]


@cache
def compiled(one: Pass, cc: tuple[int, int] = CC) -> MachineCode:
    """Machine code of a pass for a compute capability. KernelError where the compilers are not installed, or refuse."""
    array = f"{_STORED.get(one.dtype, 'float32')}[::1]"
    return compiled_as(one.run, f"void({','.join([array] * one.arrays)})", cc, (one.threads, one.blocks))


def compiled_as(
    kernel: Any, signature: str, cc: tuple[int, int] = CC, launch_bounds: tuple[int, int] | None = None
) -> MachineCode:
    """Machine code of any function that cuda.jit has taken, for these types of its arguments."""
    ptx, _ = cuda.compile(kernel.py_func, signature, cc=cc, device=False, abi="numba", launch_bounds=launch_bounds)
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        report = _run("ptxas", f"-arch=sm_{cc[0]}{cc[1]}", "-v", str(source), "-o", str(binary))
        listing = _run("nvdisasm", "-c", str(binary))
    stack, stores, loads = (int(number) for number in _found(_SPILLED, report))
    (registers,) = _found(_USED, report)
    shared = _SHARED.search(report)
    return MachineCode(
        int(registers), stack, stores + loads, int(shared[1]) if shared else 0, Counter(_INSTRUCTION.findall(listing)), ptx
    )


def passes(
    kernel: Declaration, shape: ConvShape, F: Layout | None = None, G: Layout | None = None, epilogue: bool = False
) -> list[Pass]:
    """What one of our kernels launches on maps of this shape, with the tiles of this GPU or of an H200. Maps are dense unless
    their layouts are given; with an epilogue they end with bias and ReLU6."""
    operator = get_operator(kernel.operator)
    F = F or Layout.dense(operator.F_shape(shape), shape.itemsize)
    G = G or Layout.dense(operator.G_shape(shape), shape.itemsize)
    if kernel.variant == "tensor":
        multiplied = of_one(shape) if operator is POINTWISE else shape
        return [tensor_pass(tensor_product_of(multiplied, F, G, filtered=operator is SEPARABLE))]
    parts = [get_operator(part) for part in kernel.passes]
    G_hat = Layout.dense(DEPTHWISE.G_shape(shape))
    # From one pass to the next, of separable in two, goes the intermediate map.
    maps = [F, G] if len(parts) == 1 else [F, G_hat, G]
    by_loops, steps = kernel.variant == "loops", zip(parts, maps, maps[1:], strict=False)
    return [one for part, read, written in steps for one in _passes(part, by_loops, shape, read, written, epilogue)]


def _passes(operator: Operator, by_loops: bool, shape: ConvShape, F: Layout, G: Layout, epilogue: bool) -> list[Pass]:
    """Those of an operator that reads its input from memory once."""
    if by_loops:
        return [loops_pass(operator.convolutions[0], shape, F, G)]
    if operator is DEPTHWISE:
        return [depthwise_pass(shape, F, G, *strip_of(shape), epilogue)]
    if operator is POINTWISE:
        return _product(of_one(shape), F, G, False, epilogue)
    return _product(shape, F, G, operator is SEPARABLE, epilogue)


def _product(shape: ConvShape, F: Layout, G: Layout, filtered: bool, epilogue: bool) -> list[Pass]:
    product = product_of(shape, F, G, filtered, epilogue)
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
