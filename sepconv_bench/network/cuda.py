"""The plan's device where that is an NVIDIA GPU: maps in its memory, and our CUDA kernels on our stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.kernels.cuda import rungs
from sepconv_bench.kernels.cuda.arrays import copied, fetch, placed, zeros
from sepconv_bench.kernels.cuda.entrance_exit import place_pass, pool_pass, softmax_pass
from sepconv_bench.kernels.cuda.launch import DeviceLaunch
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.kernels.registry import Launch
from sepconv_bench.model.operators import POINTWISE, SEPARABLE
from sepconv_bench.model.shapes import ConvShape

__all__ = ["Entrance", "Exit", "bind", "fetch", "joined", "maps"]


def maps(shapes: Sequence[tuple[int, int, int, int]], apart: bool) -> list[tuple[DeviceArray, None]]:
    """Each in memory of its own."""
    return [(zeros(shape), None) for shape in shapes]


def bind(problem: Problem, biases: Sequence[np.ndarray] = ()) -> DeviceLaunch:
    """Our kernels for a step, with bias and ReLU6 at the end of each of its maps; pointwise without."""
    return (rungs.separable if problem.operator is SEPARABLE else rungs.tiled)(problem, biases)


def joined(launches: Sequence[Launch]) -> Launch:
    """All of them queued, one after the other."""

    def launch() -> None:
        for one in launches:
            one()

    return launch


class Entrance:
    """From the image, which is copied to the GPU beforehand, into the interior of its buffer."""

    def __init__(self, interior: DeviceArray) -> None:
        G = placed(interior)
        self._image = placed(zeros(G.shape))
        self._place = DeviceLaunch([(place_pass(G.shape, G.layout), (self._image.floats, G.floats))], G)

    def take(self, image: np.ndarray) -> None:
        flat = np.ascontiguousarray(image, np.float32).reshape(-1)
        self._image.floats.copy_to_device(flat, stream=gpu.stream())
        gpu.stream().synchronize()  # the image may go away

    def __call__(self) -> None:
        self._place()


class Exit:
    """From the last map G to the probabilities: mean over the pixels, fully connected, softmax."""

    def __init__(self, shape: ConvShape, G: DeviceArray, K: np.ndarray, bias: np.ndarray) -> None:
        features, logits, probabilities = zeros(POINTWISE.F_shape(shape)), *(zeros(POINTWISE.G_shape(shape)) for _ in "lp")
        self.problem = Problem(POINTWISE, shape, features, (K,), logits)  # type: ignore[arg-type]
        self._classify = bind(self.problem)
        self._pool = DeviceLaunch([(pool_pass(placed(G).shape), (placed(G).floats, placed(features).floats))], placed(features))
        self._given = placed(probabilities)
        arrays = (placed(logits).floats, copied(bias), self._given.floats)
        self._softmax = DeviceLaunch([(softmax_pass(shape.batch, shape.N), arrays)], self._given)
        self._probabilities = np.zeros(self._given.shape, np.float32)

    def __call__(self) -> None:
        self._pool()
        self._classify()
        self._softmax()

    def fetched(self) -> np.ndarray:
        fetch(self._given, self._probabilities)
        return self._probabilities[:, 0, 0]
