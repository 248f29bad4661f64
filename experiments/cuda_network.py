"""MobileNet-V1 whole on a GPU, separable and all-standard, beside torch's: GPU seconds, in interleaved rounds.

python experiments/cuda_network.py [batch [seconds]]

`sepconv-bench mobilenet --device cuda` times each step as well; this takes a minute, most of it compiling.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.errors import InputError
from sepconv_bench.measure.cuda import CudaClock
from sepconv_bench.measure.sampler import Launch, Rules, sample
from sepconv_bench.measure.statistics import estimate, ratio
from sepconv_bench.model.networks import TWINS, mobilenet_v1
from sepconv_bench.network import torch
from sepconv_bench.network.plan import Plan, device
from sepconv_bench.network.weights import convolutions, random_weights


def built(batch: int) -> dict[str, Launch]:
    """Our plan and torch's module of both networks, compiled and launched once."""
    launches: dict[str, Launch] = {}
    image = np.random.default_rng(0).uniform(-1, 1, (batch, 224, 224, 3)).astype(np.float32)
    for network in TWINS:
        layers = mobilenet_v1(batch=batch, separable=network == "separable")
        weights = random_weights(layers)
        plan = Plan(layers, weights, device("cuda"))
        plan.take(image)
        launches[f"{network}.plan"] = plan.launch
        launches[f"{network}.torch"] = torch.on_gpu(list(convolutions(layers, weights)), image)
    for launch in launches.values():
        launch()
    gpu.stream().synchronize()
    return launches


def timed(batch: int, launches: dict[str, Launch], seconds: float) -> None:
    def given(launch: Launch) -> Callable[[np.random.Generator], Launch]:
        return lambda rng: launch

    blocks = sample({name: given(one) for name, one in launches.items()}, [], Rules(seconds=seconds),
                    np.random.default_rng(0), clock=CudaClock()).blocks  # fmt: skip
    for name, block in blocks.items():
        value = estimate(block).value
        print(f"batch {batch}, {name}: {1e6 * value:.1f} us, {batch / value:.0f} images a second")
    for top, bottom in (
        ("standard.plan", "separable.plan"),
        ("separable.torch", "separable.plan"),
        ("standard.torch", "standard.plan"),
        ("standard.torch", "separable.torch"),
    ):
        found = ratio(blocks[top], blocks[bottom])
        print(f"batch {batch}, {top} / {bottom}: {found.value:.3f} [{found.lo:.3f}, {found.hi:.3f}]")


if __name__ == "__main__":
    try:
        gpu.require_for_timing()
        batch = int(sys.argv[1]) if len(sys.argv) > 1 else 1
        timed(batch, built(batch), float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
    except InputError as error:
        sys.exit(f"{error}")
