"""MobileNet-V1 on our kernels: a plan is built once, then an image goes in and probabilities come out; nothing is allocated.

Same padding without a copy: each map lies in a buffer with a halo of zeros, and a layer writes the interior of the next
one's buffer. Batch norm is folded into the weights, and its bias and ReLU6 end each tile before it is stored. The plan is the
same on every device; where maps lie and what computes them is the device's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sepconv_bench.errors import ShapeError
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.networks import Layer
from sepconv_bench.model.operators import POINTWISE, SEPARABLE, STANDARD
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network import host
from sepconv_bench.network.weights import folded, name_of

Shape = tuple[int, int, int, int]


class Entrance(Protocol):
    """The launch that puts the image which it took last into its buffer."""

    def take(self, image: np.ndarray) -> None: ...

    def __call__(self) -> object: ...


class Exit(Protocol):
    """The launch of pooling, the fully connected layer and softmax; `problem` is the layer's."""

    problem: Problem

    def fetched(self) -> np.ndarray:
        """The probabilities (batch, classes) on the host, once they are there."""

    def __call__(self) -> object: ...


class Device(Protocol):
    """What a plan asks of a device; the modules `host` and `cuda` are two."""

    def maps(self, shapes: Sequence[Shape], apart: bool) -> Sequence[tuple[Any, Launch | None]]:
        """Maps of zeros, to be cut into views as numpy's are, in the order in which the network goes through them: while one is
        written, the one before is read. Unless they must lie `apart`, one may lie where an earlier one lay; it then comes with
        a launch that makes its outermost pixels zeros again."""

    def bind(self, problem: Problem, biases: Sequence[np.ndarray] = ()) -> Launch:
        """Our kernel for a step, with bias and ReLU6 at the end of each of its maps; pointwise without. F and G may also lie
        on the host, whatever the device."""

    def joined(self, launches: Sequence[Any]) -> Launch:
        """Launches of this device one after the other as one."""

    def fetch(self, given: Any, G: Any) -> None:
        """Copy what such a launch has given into G of its problem."""

    def Entrance(self, interior: Any) -> Entrance: ...

    def Exit(self, shape: ConvShape, G: Any, K: np.ndarray, bias: np.ndarray) -> Exit: ...


def device(name: str) -> Device:
    """Of the name cpu or cuda."""
    if name == "cpu":
        return host
    from sepconv_bench.network import cuda

    return cuda


@dataclass(frozen=True)
class Step:
    """A launch of the network, the problem it solves, and the biases that end the problem's maps together with ReLU6."""

    name: str
    launch: Launch
    problem: Problem
    biases: tuple[np.ndarray, ...]


class Plan:
    """A network ready to run: `plan(image)` gives the probabilities (batch, classes) of an image (batch, width, width, 3).

    `steps`: the launches in order, for those who time them: a depthwise and pointwise pair is one step, and so are pooling,
    the fully connected layer and softmax. `maps`: what each of the others gives, on the device; they are all there after a
    launch only if they lie `apart`.
    """

    def __init__(
        self, layers: Sequence[Layer], weights: Mapping[str, np.ndarray], on: Device = host, apart: bool = False
    ) -> None:
        *body, dense = layers
        starts = [number for number, layer in enumerate(body) if layer.operator is not POINTWISE]
        shapes = [*(_with_halo(body[start]) for start in starts), STANDARD.G_shape(body[-1].shape)]
        (whole, clear), *following = on.maps(shapes, apart)
        self._shape, self._entrance = _interior(whole).shape, on.Entrance(_interior(whole))
        launches: list[Launch] = [clear, self._entrance] if clear else [self._entrance]
        self.steps: list[Step] = []
        self.maps: list[Any] = []
        for start, end, (after, clear) in zip(starts, [*starts[1:], len(body)], following, strict=True):
            layer = body[start]
            G = _interior(after) if end < len(body) else after
            kernels, biases = zip(*(folded(weights, name_of(one, dense.block), one) for one in body[start:end]), strict=True)
            operator = SEPARABLE if len(kernels) == 2 else STANDARD
            arrays = (kernels[0][:, :, 0], kernels[1][0, 0]) if len(kernels) == 2 else kernels
            # As much of the buffer as the windows touch.
            width = layer.shape.D_F
            problem = Problem(operator, body[end - 1].shape, whole[:, :width, :width], arrays, G)
            name = name_of(layer, dense.block).replace("depthwise", operator.name)
            launch = on.bind(problem, biases)
            if clear and end < len(body):  # the last map has no halo
                launch = on.joined([clear, launch])
            launches.append(launch)
            self.steps.append(Step(name, launch, problem, biases))
            self.maps.append(G)
            whole = after
        K, bias = folded(weights, "classifier", dense)
        self._exit = on.Exit(dense.shape, G, K[0, 0], bias)
        self.steps.append(Step("classifier", self._exit, self._exit.problem, ()))
        self._launch = on.joined([*launches, self._exit])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """ShapeError where the image does not fit. The result is overwritten by the next call."""
        self.take(image)
        return self.launch().fetched()

    def take(self, image: np.ndarray) -> None:
        """The image of the launches that follow; ShapeError where it does not fit."""
        if np.shape(image) != self._shape:
            raise ShapeError(f"the image is {np.shape(image)}; it must be {self._shape}")
        self._entrance.take(image)

    def launch(self) -> Exit:
        """From the image to the probabilities, which the exit then has; on a GPU nobody waits for them here."""
        self._launch()
        return self._exit


def _with_halo(layer: Layer) -> Shape:
    """Of a layer's input with a halo of zeros, a pixel wide."""
    shape = layer.shape
    width = shape.D_G * shape.stride + 2
    return shape.batch, width, width, shape.M


def _interior(whole: Any) -> Any:
    """What the layer before writes."""
    return whole[:, 1:-1, 1:-1]
