"""What is timed of MobileNet-V1: each step of its two networks beside other libraries' kernels, and the networks whole.

A step of ours ends its maps with a bias and ReLU6, as the network needs it; the others' kernels for a step do without.
Whole, every library runs the same network on the same weights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.util import find_spec
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sepconv_bench.kernels import registry
from sepconv_bench.kernels.peers.cudnn import unreachable
from sepconv_bench.kernels.problem import Problem, require_memory
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.networks import NETWORKS, WHOLE, Layer, mobilenet_v1, parameters
from sepconv_bench.model.operators import get_operator
from sepconv_bench.model.pairing import peer
from sepconv_bench.model.reference import Reference
from sepconv_bench.network import onnxruntime, torch
from sepconv_bench.network.plan import Plan, Step, device
from sepconv_bench.network.reference import probabilities
from sepconv_bench.network.weights import Convolution, convolutions, random_weights, read_weights
from sepconv_bench.run.contest import Contender, OnData

OURS = "plan"
_STEP_PEERS = ("torch", "onnxruntime")
_TOLERANCE = 0.01  # of the spread of the logits, after 28 layers in float32
_MAP_COPIES = 6  # of all maps: our two plans', each library's, and those of the reference in float64
_COPIES = 6  # of the weights that are in memory at a time: drawn, packed by each library, and in float64 for the reference


def _as_numpy(given: Any) -> np.ndarray:
    """What a library gives on the host, or torch wherever it lies."""
    if isinstance(given, np.ndarray):
        return given
    return (given.cpu() if hasattr(given, "cpu") else given).numpy()


@dataclass(frozen=True)
class _Library:
    """Another way to run a network. `refuses` gives the reason why it cannot here, or None."""

    needs: tuple[str, ...]
    bind: Callable[[list[Convolution], np.ndarray], Launch]
    refuses: Callable[[], str | None] = lambda: None

    @property
    def missing(self) -> bool:
        return not all(find_spec(module) for module in self.needs)


def _without_compiler() -> str | None:
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    return None if any(map(shutil.which, filter(None, compilers))) else "torch.compile needs a C++ compiler; there is none"


_LIBRARIES = {
    "cpu": {
        "torch": _Library(("torch",), torch.eager),
        "torch-prepacked": _Library(("torch",), torch.prepacked, torch.without_onednn),
        "torch-compiled": _Library(("torch",), torch.compiled, _without_compiler),
        "onnxruntime": _Library(("onnxruntime", "onnx"), onnxruntime.bind),
    },
    "cuda": {"torch": _Library(("torch",), torch.on_gpu, unreachable)},
}


class Timed:
    """MobileNet-V1 of one alpha, resolution and batch, and its all-standard counterpart, which has the other operator's name.

    `weights` is a file for the separable network; the counterpart's are drawn where the file has none. ShapeError where a
    weight is missing or memory would not suffice. On whatever device the networks are timed, what each step gets to work on is
    what the CPU has found.
    """

    def __init__(
        self, alpha: float, resolution: int, batch: int, weights: Path | None, seed: int, device_name: str = "cpu"
    ) -> None:
        rng = np.random.default_rng(seed)
        self._layers = {name: mobilenet_v1(alpha, resolution, batch, name == "separable") for name in NETWORKS}
        weights_bytes = 4 * _COPIES * sum(map(parameters, self._layers.values()))
        maps_bytes = (
            4 * _MAP_COPIES * sum(prod(get_operator(one.operator).G_shape(one.shape)) for one in chain(*self._layers.values()))
        )
        told = f"both networks at a batch of {batch}, {maps_bytes / 2**30:,.2f} GiB for the maps and the rest for the weights,"
        require_memory(weights_bytes + maps_bytes, told)
        given = read_weights(weights) if weights else None
        self._weights = {
            "separable": random_weights(self._layers["separable"], seed) if given is None else given,
            "standard": random_weights(self._layers["standard"], seed) | (given or {}),
        }
        self._image = rng.uniform(-1, 1, (batch, resolution, resolution, 3)).astype(np.float32)
        self._whole: dict[str, Launch] = {}
        self._name, self._device = device_name, device(device_name)

    @cached_property
    def _plans(self) -> dict[str, Plan]:
        """Run once, so that each step finds the map of the one before."""
        plans = {name: Plan(self._layers[name], self._weights[name]) for name in NETWORKS}
        for plan in plans.values():
            plan(self._image)
        return plans

    @property
    def parts(self) -> tuple[str, ...]:
        """The steps by name, in order, and the whole."""
        return (*(step.name.partition(".")[0] for step in self._plans["separable"].steps), WHOLE)

    def shape(self, part: str) -> dict:
        """Sizes of a step, of the first for the whole."""
        number = 0 if part == WHOLE else self.parts.index(part)
        return vars(self._plans["separable"].steps[number].problem.shape)

    def contenders(self, part: str) -> Mapping[str, Contender]:
        return self._contenders_whole() if part == WHOLE else self._contenders_of(self.parts.index(part))

    def _contenders_of(self, number: int) -> dict[str, Contender]:
        found: dict[str, Contender] = {}
        for plan in self._plans.values():
            step = plan.steps[number]
            operator = step.problem.operator

            @cache
            def drawn(ends: bool, step: Step = step) -> tuple[Problem, Reference]:
                problem = step.problem
                biases = step.biases if ends else ()
                return problem, Reference(problem.operator, problem.shape, problem.F, problem.weights, biases)

            ours = partial(self._device.bind, biases=step.biases)
            found[f"{self._name}.{operator}.{OURS}"] = OnData(partial(drawn, True), ours, self._device.fetch)
            for name in registry.kernel_names(operator, self._name):
                if peer(name) in _STEP_PEERS:
                    found[name] = OnData.of(registry.get_kernel(name), partial(drawn, False))
        return found

    def _contenders_whole(self) -> dict[str, Contender]:
        found: dict[str, Contender] = {}
        for network, layers in self._layers.items():
            weights = self._weights[network]
            expected = cache(partial(probabilities, layers, weights, self._image))
            ours = partial(self._planned, layers, weights)
            found[f"{self._name}.{network}.{OURS}"] = _Whole(ours, expected, lambda given: given.fetched())
            for variant, library in _LIBRARIES[self._name].items():
                name = f"{self._name}.{network}.{variant}"
                if not library.missing:
                    once = partial(self._bound, name, library, layers, weights)
                    found[name] = _Whole(once, expected, _as_numpy, library.refuses)
        return found

    def _planned(self, layers: tuple[Layer, ...], weights: Mapping[str, np.ndarray], rng: np.random.Generator) -> Launch:
        plan = Plan(layers, weights, self._device)
        plan.take(self._image)
        return plan.launch

    def _bound(
        self,
        name: str,
        library: _Library,
        layers: tuple[Layer, ...],
        weights: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> Launch:
        """Once: some compile for a minute."""
        if name not in self._whole:
            self._whole[name] = library.bind(list(convolutions(layers, weights)), self._image)
        return self._whole[name]


class _Whole(Contender):
    """A whole network, whose probabilities are `expected`; `fetched` takes them from what a launch gives."""

    def __init__(
        self,
        bind: Callable[[np.random.Generator], Launch],
        expected: Callable[[], np.ndarray],
        fetched: Callable[[Any], np.ndarray],
        refuses: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._bind, self._expected, self._fetched, self._refuses = bind, expected, fetched, refuses
        self._given = np.empty(0)

    def prepare(self) -> None:
        self._expected()

    def refuses(self) -> str | None:
        return self._refuses()

    def bind(self, rng: np.random.Generator) -> Launch:
        return self._bind(rng)

    def unpack(self, given: Any) -> None:
        self._given = np.array(self._fetched(given))

    def judge(self) -> tuple[float, str]:
        expected = self._expected()
        if self._given.shape != expected.shape:
            return float("nan"), f"it gave {self._given.shape} instead of {expected.shape}"
        right, given = np.log(expected), np.log(self._given.astype(np.float64))
        return float(np.abs(given - right).max() / (_TOLERANCE * right.std())), ""
