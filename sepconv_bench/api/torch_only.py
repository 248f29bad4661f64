"""What torch alone takes for a layer in other number types and backwards, timed in pairs now."""

from __future__ import annotations

from functools import partial

import numpy as np

from sepconv_bench.errors import InputError
from sepconv_bench.kernels.peers import torch_training
from sepconv_bench.kernels.peers.torch_training import Number, Pass
from sepconv_bench.measure.machine import allowed_threads
from sepconv_bench.measure.records import Rules
from sepconv_bench.measure.sampler import sample
from sepconv_bench.measure.statistics import estimate, ratio
from sepconv_bench.model import theory
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.readers import installed
from sepconv_bench.report.torch_only import Passed, TorchOnly

_SIDES = ("standard", "separable")
_SINGLE: Number = "f32"
_SECONDS = 5.0  # for all passes


def torch_only(shape: ConvShape, dtype: Number = "f32", backward: bool = False, seconds: float = _SECONDS) -> TorchOnly:
    """The forward pass in float32 and in `dtype`, and the backward one in `dtype`, standard against separable, in one process.
    InputError in one line where torch is missing, or cannot compute one of them on this CPU."""
    require_torch()
    import torch

    threads = allowed_threads(None)
    torch.set_num_threads(threads)
    passes: list[tuple[Pass, Number]] = [("forward", number) for number in dict.fromkeys((_SINGLE, dtype))]
    if backward:
        passes.append(("backward", dtype))
    binds = {
        _name(side, which, number): partial(torch_training.bind, side, shape, number, which)
        for which, number in passes
        for side in _SIDES
    }
    pairs = [(_name("standard", which, number), _name("separable", which, number)) for which, number in passes]
    narrow = [(_name(side, "forward", "f32"), _name(side, "forward", dtype)) for side in _SIDES if dtype != "f32"]
    try:
        taken = sample(binds, [*pairs, *narrow], Rules(seconds=seconds), np.random.default_rng(0))
    except RuntimeError as error:
        raise InputError(f"torch cannot compute this in {dtype} on this CPU: {str(error).splitlines()[0]}") from error
    blocks = taken.blocks
    return TorchOnly(
        torch.__version__,
        threads,
        float(1 / theory.cost_ratio(shape)),
        tuple(
            Passed(which, number, estimate(blocks[one]), estimate(blocks[other]), ratio(blocks[one], blocks[other]))
            for (which, number), (one, other) in zip(passes, pairs, strict=True)
        ),
        tuple(ratio(blocks[wide], blocks[other]) for wide, other in narrow),
    )


def require_torch(device: str = "cpu") -> None:
    """InputError where torch is missing, or another device was asked for."""
    if device != "cpu":
        raise InputError(f"--dtype and --backward time torch on the CPU; --device is {device}")
    installed("torch", "torch", "what --dtype and --backward ask for")


def _name(side: str, which: str, number: str) -> str:
    return f"{side} {which} {number}"
