"""The ncnn peer: a net of one convolution, of two for separable, in float32.

Maps go in and come out with channels first, one image at a time; within the net ncnn packs channels, as many as a vector holds.
`ncnn` takes Winograd's algorithm for windows of 3 x 3 and stride 1, for 2 x 2 pixels at a time, which multiplies 2.25
times less than theory counts; `ncnn-direct` never does. ncnn is imported when a kernel is bound, never before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numba
import numpy as np

from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch, kernel
from sepconv_bench.model.operators import OPERATORS, STANDARD
from sepconv_bench.model.shapes import PROPERTIES

if TYPE_CHECKING:
    from ncnn import Mat, Net

_MAGIC = "7767517"  # of its text format
_RAW_FLOATS = b"\0\0\0\0"  # the tag before weights that are not compressed
# Its convolutions of more than one group and more than one channel in each give other numbers.
_TAKES = tuple(name for name in PROPERTIES if name != "groups")
_NARROW = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage")


def convolution(number: int, one: GroupedConvolution) -> str:
    """The layer from map<number> to map<number + 1>, as a line of the structure."""
    N, _, D_K, D_K_w = one.weight.shape
    top, bottom, left, right = one.padding
    facts = f"0={N} 1={D_K_w} 11={D_K} 3={one.strides[1]} 13={one.strides[0]} 6={one.weight.size}"
    facts += f" 2={one.dilations[1]} 12={one.dilations[0]} 4={left} 15={right} 14={top} 16={bottom}"
    kind = "Convolution" if one.groups == 1 else "ConvolutionDepthWise"
    groups = "" if one.groups == 1 else f" 7={one.groups}"
    ending = "" if one.bias is None else " 5=1 9=3 -23310=2,0.0,6.0"  # a bias; clipped, from and to
    return f"{kind} convolution{number} 1 1 map{number} map{number + 1} {facts}{groups}{ending}"


def values(one: GroupedConvolution) -> bytes:
    """Of a layer's weights, as they follow each other in the file."""
    bias = b"" if one.bias is None else one.bias.tobytes()
    return _RAW_FLOATS + np.ascontiguousarray(one.weight).tobytes() + bias


def net_of(layers: Sequence[str], weights: Iterable[bytes], winograd: bool) -> Net:
    """A net of these layers in a row, from map0."""
    from ncnn import Net

    net = Net()
    net.opt.num_threads = numba.get_num_threads()
    net.opt.use_winograd_convolution = winograd
    # Those of more pixels at a time are off by more than float32's rounding of the sum explains, up to twice on few channels.
    net.opt.use_winograd43_convolution = net.opt.use_winograd63_convolution = False
    for narrow in _NARROW:
        setattr(net.opt, narrow, False)
    count = len(layers) + 1
    lines = [_MAGIC, f"{count} {count}", "Input input 0 1 map0", *layers]
    with tempfile.TemporaryDirectory() as folder:  # it reads files; its readers of memory take text alone
        structure, numbers = Path(folder) / "net.param", Path(folder) / "net.bin"
        structure.write_text("\n".join(lines) + "\n")
        numbers.write_bytes(b"".join(weights))
        if net.load_param(str(structure)) or net.load_model(str(numbers)):
            raise RuntimeError("ncnn does not load the net")
    return net


def launch_of(net: Net, x: np.ndarray, last: str) -> Launch:
    """A launch that gives what the net calls `last`, of one image (batch, D_F, D_F, M) after the other."""
    from ncnn import Mat

    images = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    maps = [Mat(image) for image in images]

    def launch() -> list[Mat]:
        given = []
        for image in maps:
            extractor = net.create_extractor()
            extractor.input("map0", image)
            given.append(extractor.extract(last)[1])
        return given

    launch.keep = images  # type: ignore[attr-defined]  # whose memory the maps share
    return launch


def _with_winograd(problem: Problem) -> Launch:
    """Channels first, one image after the other; 3 x 3 by Winograd's algorithm."""
    return _bound(problem, winograd=True)


def _direct(problem: Problem) -> Launch:
    """Channels first, one image after the other; every multiplication that theory counts."""
    return _bound(problem, winograd=False)


def _bound(problem: Problem, winograd: bool) -> Launch:
    copies = 3 * (problem.F.size + problem.G.size) + 3 * sum(weight.size for weight in problem.weights)
    require_memory(4 * copies, "the net of ncnn and its maps")
    layers = problem.convolutions
    net = net_of([convolution(*each) for each in enumerate(layers)], map(values, layers), winograd)
    return launch_of(net, problem.interior, f"map{len(layers)}")


def _unpack(given: list[Mat], G: np.ndarray) -> None:
    """From (N, D_G, D_G) an image."""
    for image, target in zip(given, G, strict=True):
        np.copyto(target, np.array(image).transpose(1, 2, 0))


_ncnn = partial(kernel, unpack=_unpack, needs=("ncnn",), library="ncnn", takes=_TAKES)
for _operator in OPERATORS.values():
    if _operator is not STANDARD:
        _ncnn(f"cpu.{_operator}.ncnn")(_direct)
_ncnn("cpu.standard.ncnn", algorithm="winograd")(_with_winograd)
_ncnn("cpu.standard.ncnn-direct", algorithm="im2col")(_direct)
