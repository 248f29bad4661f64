"""What is timed of MobileNet-V1: each step of its two networks beside other libraries' kernels, and the networks whole.

A step of ours ends its maps with a bias and ReLU6, as the network needs it; the others' kernels for a step do without.
Whole, every library runs the same network on the same weights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib.util import find_spec
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sepconv_bench.kernels import registry
from sepconv_bench.kernels.peers.cudnn import unreachable
from sepconv_bench.kernels.problem import GroupedConvolution, Problem, require_memory
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.declaration import OURS, Algorithm, Declaration
from sepconv_bench.model.networks import TWINS, WHOLE, Layer, mobilenet_v1, parameters
from sepconv_bench.model.operators import OPERATORS, get_operator
from sepconv_bench.model.reference import Reference
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network import ncnn, onnxruntime, openvino, torch, xnnpack
from sepconv_bench.network.plan import Plan, Step, device
from sepconv_bench.network.reference import probabilities
from sepconv_bench.network.weights import convolutions, random_weights, read_weights
from sepconv_bench.run.contest import Contender, KernelContender

_NO_STEP_PEERS = ("numpy",)  # as a library for a step it is the slowest, and takes the others' time
_TOLERANCE = 0.01  # of the spread of the logits, after 28 layers in float32
_MAP_COPIES = 10  # of all maps: our two plans', each library's, and those of the reference in float64
_COPIES = 10  # of the weights that are in memory at a time: drawn, packed by each library, and in float64 for the reference


def _ours(device_name: str, operator: str) -> Declaration:
    """What a plan is, as a contender for an operator: no step of it writes an intermediate map."""
    name = get_operator(operator).name
    return Declaration(device_name, name, "plan", OURS, passes=(name,), like="plan")  # type: ignore[arg-type]


def _as_numpy(given: Any) -> np.ndarray:
    """What a library gives on the host, or torch wherever it lies."""
    if isinstance(given, np.ndarray):
        return given
    return (given.cpu() if hasattr(given, "cpu") else given).numpy()


@dataclass(frozen=True)
class _Library:
    """Another way to run a network, with the library `name`. `refuses` gives the reason why it cannot here, or None.

    `needs` as those of a kernel; `algorithms`: by network that it is offered for; `fetched` gives the probabilities.
    """

    name: str
    bind: Callable[[list[GroupedConvolution], np.ndarray], Launch]
    refuses: Callable[[], str | None] = lambda: None
    needs: tuple[str, ...] = ()
    algorithms: Mapping[str, Algorithm] = field(default_factory=lambda: dict.fromkeys(TWINS, "chosen"))
    fetched: Callable[[Any], np.ndarray] = _as_numpy

    @property
    def missing(self) -> bool:
        return not all(find_spec(module) for module in self.needs)

    def declared(self, device_name: str, network: str, variant: str) -> Declaration:
        """As a contender for a whole network: its layers go over memory one after the other."""
        operator = OPERATORS[network]
        facts = operator.name, variant, self.name, operator.passes, variant, self.algorithms[network]
        return Declaration(device_name, *facts)  # type: ignore[arg-type]


def _without_compiler() -> str | None:
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    return None if any(map(shutil.which, filter(None, compilers))) else "torch.compile needs a C++ compiler; there is none"


_LIBRARIES = {
    "cpu": {
        "torch": _Library("torch", torch.eager, needs=("torch",)),
        "torch-prepacked": _Library("torch", torch.prepacked, torch.without_onednn, needs=("torch",)),
        "torch-compiled": _Library("torch", torch.compiled, _without_compiler, needs=("torch",)),
        "onnxruntime": _Library("onnxruntime", onnxruntime.bind, needs=("onnxruntime", "onnx")),
        "openvino": _Library("openvino", openvino.bind, needs=("openvino", "onnx")),
        "xnnpack": _Library(
            "xnnpack",
            xnnpack.bind,
            needs=("ai_edge_litert", "flatbuffers"),
            algorithms=dict.fromkeys(TWINS, "direct"),
            fetched=xnnpack.fetched,
        ),
        "ncnn": _Library(
            "ncnn",
            ncnn.with_winograd,
            needs=("ncnn",),
            algorithms={"separable": "direct", "standard": "winograd"},  # which takes windows over all channels alone
            fetched=ncnn.fetched,
        ),
        "ncnn-direct": _Library("ncnn", ncnn.direct, needs=("ncnn",), algorithms={"standard": "im2col"}, fetched=ncnn.fetched),
    },
    "cuda": {"torch": _Library("torch", torch.on_gpu, unreachable, needs=("torch",))},
}


class NetworkContenders:
    """MobileNet-V1 of one alpha, resolution and batch, and its all-standard counterpart, which has the other operator's name.

    `weights` is a file for the separable network; the counterpart's are drawn where the file has none. ShapeError where a
    weight is missing or memory would not suffice. On whatever device the networks are timed, what each step gets to work on is
    what the CPU has found.
    """

    def __init__(
        self, alpha: float, resolution: int, batch: int, weights: Path | None, seed: int, device_name: str = "cpu"
    ) -> None:
        rng = np.random.default_rng(seed)
        self._layers = {name: mobilenet_v1(alpha, resolution, batch, name == "separable") for name in TWINS}
        weights_bytes = 4 * _COPIES * sum(map(parameters, self._layers.values()))
        elements = sum(prod(one.operator.G_shape(one.shape)) for one in chain(*self._layers.values()))
        maps_bytes = 4 * _MAP_COPIES * elements
        what = f"both networks at a batch of {batch}, {maps_bytes / 2**30:,.2f} GiB for the maps and the rest for the weights,"
        require_memory(weights_bytes + maps_bytes, what)
        given = read_weights(weights) if weights else None
        self._weights = {
            "separable": random_weights(self._layers["separable"], seed) if given is None else given,
            "standard": random_weights(self._layers["standard"], seed) | (given or {}),
        }
        self._image = rng.uniform(-1, 1, (batch, resolution, resolution, 3)).astype(np.float32)
        self._whole: dict[str, Launch] = {}
        self._device_name, self._device = device_name, device(device_name)

    @cached_property
    def _plans(self) -> dict[str, Plan]:
        """Run once, so that each step finds the map of the one before."""
        plans = {name: Plan(self._layers[name], self._weights[name], apart=True) for name in TWINS}
        for plan in plans.values():
            plan(self._image)
        return plans

    @property
    def parts(self) -> tuple[str, ...]:
        """The steps by name, in order, and the whole."""
        return (*(step.name.partition(".")[0] for step in self._plans["separable"].steps), WHOLE)

    @property
    def missing(self) -> tuple[str, ...]:
        """Extras that would bring more libraries to run the networks."""
        lacking = (one for one in _LIBRARIES[self._device_name].values() if one.missing)
        return tuple(dict.fromkeys(one.needs[0].replace("_", "-") for one in lacking))

    def shape(self, part: str) -> ConvShape:
        """Sizes of a step, of the first for the whole."""
        number = 0 if part == WHOLE else self.parts.index(part)
        return self._plans["separable"].steps[number].problem.shape

    def contenders(self, part: str) -> Mapping[str, Contender]:
        return self._contenders_whole() if part == WHOLE else self._contenders_of(self.parts.index(part))

    def _contenders_of(self, number: int) -> dict[str, Contender]:
        found: dict[str, Contender] = {}
        for plan in self._plans.values():
            step = plan.steps[number]
            operator = step.problem.operator.name

            @cache
            def drawn(with_biases: bool, step: Step = step) -> tuple[Problem, Reference]:
                problem = step.problem
                biases = step.biases if with_biases else ()
                return problem, Reference(problem.operator, problem.shape, problem.F, problem.weights, biases)

            ours, bind = _ours(self._device_name, operator), partial(self._device.bind, biases=step.biases)
            found[ours.name] = KernelContender(ours, partial(drawn, True), bind, self._device.fetch)
            for kernel in map(registry.get_kernel, registry.kernel_names(operator, self._device_name)):
                declared = kernel.declaration
                if declared.is_peer and declared.library not in _NO_STEP_PEERS:
                    found[kernel.name] = KernelContender.of(kernel, partial(drawn, False))
        return found

    def _contenders_whole(self) -> dict[str, Contender]:
        found: dict[str, Contender] = {}
        for network, layers in self._layers.items():
            weights = self._weights[network]
            expected = cache(partial(probabilities, layers, weights, self._image))
            ours, planned = _ours(self._device_name, network), partial(self._planned, layers, weights)
            found[ours.name] = _WholeNetwork(ours, planned, expected, lambda given: given.fetched())
            for variant, library in _LIBRARIES[self._device_name].items():
                if network in library.algorithms and not library.missing:
                    peer = library.declared(self._device_name, network, variant)
                    once = partial(self._bound, peer.name, library, layers, weights)
                    found[peer.name] = _WholeNetwork(peer, once, expected, library.fetched, library.refuses)
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


class _WholeNetwork(Contender):
    """A whole network, whose probabilities are `expected`; `fetched` takes them from what a launch gives."""

    def __init__(
        self,
        declaration: Declaration,
        bind: Callable[[np.random.Generator], Launch],
        expected: Callable[[], np.ndarray],
        fetched: Callable[[Any], np.ndarray],
        refuses: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__(declaration)
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
