"""From a jitted function and its arguments to a launch, and from a strided map to what a compiled loop can index."""

from __future__ import annotations

from functools import partial

import numba
import numpy as np

from sepconv_bench.kernels.registry import Launch


def compiled(function: numba.core.dispatcher.Dispatcher, *args: object) -> Launch:
    """Compile `function` for these arguments now; the launch calls what was compiled, and does not look up types again.

    That look-up takes up to 3 us a call, as long as many a small convolution.
    """
    return partial(function.compile(tuple(numba.typeof(arg) for arg in args)), *args)


def flat(view: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A map (batch, D, D, channels) of any strides as the contiguous floats that it spans, and where to look in them:
    the index of its first element, and the steps of image, row and pixel.

    A slice of the flat array has stride 1 at compile time, which a slice of a strided view does not: loops over
    channels vectorise. Everything between the view's ends belongs to the array that it was cut from.
    """
    steps = [0 if size == 1 else step // view.itemsize for size, step in zip(view.shape, view.strides, strict=True)][:3]
    reaches = [step * (size - 1) for size, step in zip(view.shape, steps, strict=False)]
    below = -sum(reach for reach in reaches if reach < 0)
    above = sum(reach for reach in reaches if reach > 0) + view.shape[3]
    lowest = view[tuple(slice(-1, None) if reach < 0 else slice(0, 1) for reach in reaches)]
    span = np.lib.stride_tricks.as_strided(lowest, (below + above,), (view.itemsize,), writeable=view.flags.writeable)
    return span, (below, *steps)
