"""The data of one shape, drawn once for all kernels of an operator, and the reference's answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from sepconv_bench import gpu
from sepconv_bench.kernels import registry
from sepconv_bench.kernels.device_array import DeviceArray
from sepconv_bench.kernels.problem import Problem, arrays_bytes, require_memory
from sepconv_bench.model.operators import Operator
from sepconv_bench.model.reference import Reference, reference_bytes
from sepconv_bench.model.rounding import stored
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.run.contest import Contender, DeviceContender, KernelContender

# Beyond so many multiplications the reference computes the first image of a batch, the last and one between: float64 on the
# host takes a second or two for that.
_MOST_CHECKED = 4_000_000_000


class CellData:
    """One shape: its data, drawn when a kernel first needs it."""

    def __init__(self, shape: ConvShape, rng: np.random.Generator, device: str) -> None:
        self._shape, self._rng = shape, rng
        self._on_gpu = device == "cuda" and not gpu.simulated()
        self._drawn: dict[str, tuple[Problem, Reference]] = {}

    @property
    def bytes(self) -> int:
        """Of the arrays on the host that were drawn until now, and of the reference's answers."""
        drawn = self._drawn.values()
        return sum(
            one.nbytes for problem, right in drawn for one in (problem.F, *problem.weights, problem.G, right.G, right.tolerance)
        )

    def contenders(self, names: Sequence[str]) -> dict[str, Contender]:
        kernels = [registry.get_kernel(name) for name in names]
        kind = DeviceContender if self._on_gpu else KernelContender
        return {kernel.name: kind.of(kernel, partial(self._draw, kernel.operator)) for kernel in kernels}

    def _draw(self, operator: Operator) -> tuple[Problem, Reference]:
        if operator.name not in self._drawn:
            images = self._images(operator)
            needed = 2 * arrays_bytes(operator, self._shape)
            needed += reference_bytes(operator, replace(self._shape, batch=len(images)))
            require_memory(needed, f"{operator} on {self._shape}, a kernel's copy of it and the reference's float64")
            problem = Problem.draw(operator, self._shape, self._rng)
            reference = Reference(operator, self._shape, problem.interior, problem.weights, images=images)
            self._drawn[operator.name] = (_on_gpu(problem) if self._on_gpu else problem), reference
        return self._drawn[operator.name]

    def _images(self, operator: Operator) -> list[int]:
        batch = self._shape.batch
        if batch <= 3 or operator.multiplications(self._shape) <= _MOST_CHECKED:
            return list(range(batch))
        return [0, int(self._rng.integers(1, batch - 1)), batch - 1]


def _on_gpu(problem: Problem) -> Problem:
    """With its F on the GPU in the shape's dtype, and a G that is there only for its shape."""
    from sepconv_bench.kernels.cuda import arrays

    F = DeviceArray.of("F", arrays.copied(stored(problem.F, problem.shape.dtype)).reshape(problem.F.shape))
    return replace(problem, F=F, G=np.broadcast_to(np.float32(0), problem.G.shape))  # type: ignore[arg-type]
