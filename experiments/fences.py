"""Every array of a kernel lies against a page that may not be touched: one float beside it ends the process.

    python experiments/fences.py [--kernels cpu.standard.tiled,...] [--shapes '[[3, 4, 5, 6, 1, 1]]']

Without arguments: every CPU kernel that is installed, and ours with the biases and ReLU6 of a network, on all edges of tiles,
panels and vectors. F, the weights and G, and of ours what they pack and allocate for themselves, start at one fence, then end
at the other; F and G also as the interior of a map with a halo, which ends there. Results are held against the reference.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
from collections.abc import Callable
from math import prod

import numpy as np

from sepconv_bench import ConvShape, Problem, get_kernel, kernel_names
from sepconv_bench.kernels.cpu import fused, layout, tiled, winograd
from sepconv_bench.kernels.cpu.registers import host_vectors
from sepconv_bench.model.reference import Reference
from sepconv_bench.network.plan import device

_libc = ctypes.CDLL(None, use_errno=True)
_held: list[mmap.mmap] = []


def fenced(shape: tuple[int, ...], at_end: bool) -> np.ndarray:
    """Zeros that start, or end, exactly where a page begins that may not be touched."""
    count = 4 * prod(shape)
    size = -(-count // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, size + 2 * mmap.PAGESIZE)
    _held.append(pages)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for fence in (base, base + mmap.PAGESIZE + size):
        assert _libc.mprotect(ctypes.c_void_p(fence), mmap.PAGESIZE, 0) == 0
    first = mmap.PAGESIZE + (size - count if at_end else 0)
    return np.frombuffer(pages, np.float32, count // 4, first).reshape(shape)


def copied(array: np.ndarray, at_end: bool) -> np.ndarray:
    copy = fenced(array.shape, at_end)
    copy[...] = array
    return copy


def with_halo(array: np.ndarray, at_end: bool) -> np.ndarray:
    """The same map cut out of one that is a row and a pixel wider where the fence is not."""
    batch, D, _, channels = array.shape
    whole = fenced((batch, D + 1, D + 1, channels), at_end)
    view = whole[:, 1:, 1:] if at_end else whole[:, :D, :D]
    view[...] = array
    return view


def launched(
    bind: Callable,
    operator: str,
    shape: ConvShape,
    rng: np.random.Generator,
    at_end: bool,
    epilogue: bool = False,
    rounding: float = 1.0,
) -> None:
    drawn = Problem.draw(operator, shape, rng)
    weights = tuple(copied(weight, at_end) for weight in drawn.weights)
    biases = tuple(copied(rng.standard_normal(weight.shape[-1], np.float32), at_end) for weight in weights) if epilogue else ()
    reference = Reference(operator, shape, drawn.F, weights, biases)
    for place in (copied, with_halo):
        problem = Problem(drawn.operator, shape, place(drawn.F, at_end), weights, place(drawn.G, at_end))
        launch, unpack = bind(problem, biases)
        unpack(launch(), problem.G)
        error = reference.error(problem.G) / rounding
        assert error <= 1, (operator, shape, at_end, place.__name__, error)
    _held.clear()  # pages stay as long as an array uses them


def of_kernel(name: str) -> Callable:
    kernel = get_kernel(name)
    return lambda problem, biases: (kernel.bind(problem), kernel.unpack)


def of_network(problem: Problem, biases: tuple[np.ndarray, ...]) -> tuple[Callable, Callable]:
    return device("cpu").bind(problem, biases), lambda given, G: None


def edges() -> list[ConvShape]:
    """One less, as many, one more than tiles, panels and vectors hold; twice as many and a rest."""
    vectors = host_vectors()
    lanes = vectors.lanes
    pixels = sorted({size + d for size in (vectors.max_pixels(1), vectors.max_pixels(2)) for d in (-1, 0, 1)})
    channels = sorted({size + d for size in (lanes, 2 * lanes, 4 * lanes) for d in (-1, 0, 1)})
    return [
        *(ConvShape(3, lanes + 1, lanes - 1, D_G) for D_G in [*pixels, 2 * vectors.max_pixels(2) + 1]),
        *(ConvShape(2, 5, N, vectors.max_pixels(2) + 1, stride=2) for N in [*channels, 5 * lanes + 3]),
        *(ConvShape(3, M, lanes + 1, 7, batch=2) for M in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1)),
        *(ConvShape(1, M, N, 1) for M in (1, lanes) for N in (1, lanes)),
        ConvShape(5, 3, lanes + 2, 9, stride=3),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", help="[default: all of the CPU]")
    parser.add_argument("--shapes", help="of D_K, M, N, D_G, stride, batch, in JSON  [default: all edges]")
    given = parser.parse_args()
    names = (
        given.kernels.split(",") if given.kernels else [*kernel_names(device="cpu"), "network.standard", "network.separable"]
    )
    shapes = [ConvShape(*sizes) for sizes in json.loads(given.shapes)] if given.shapes else edges()
    print("lanes", host_vectors().lanes)
    rng = np.random.default_rng(0)
    for name in names:
        _, operator, *_ = name.split(".")
        network = name.startswith("network.")
        bind, kernel = (of_network, None) if network else (of_kernel(name), get_kernel(name))
        taken = [shape for shape in shapes if kernel is None or kernel.refuses(shape) is None]
        for shape in taken:
            rounding = kernel.rounding(shape) if kernel else 1.0
            for at_end in (False, True):
                for module in (layout, tiled, fused, winograd):
                    module.aligned = lambda floats, at_end=at_end: fenced((floats,), at_end)
                launched(bind, operator, shape, rng, at_end, epilogue=network, rounding=rounding)
        print(name, 4 * len(taken), flush=True)


if __name__ == "__main__":
    main()
