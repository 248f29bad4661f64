"""Every kernel of every operator against the oracle, on random shapes and strided views, between guard zones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepconv_bench import ConvShape, get_kernel, kernel_names
from sepconv_bench.reference import Oracle

# A NaN with a payload: a guard that is read poisons the result, a guard that is written changes its bits.
GUARD = np.array(0x7FC0_5AFE, np.uint32).view(np.float32)

sizes = st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 31, 32, 33]))
shapes = st.builds(
    ConvShape, D_K=st.integers(1, 5), M=sizes, N=sizes, D_G=st.integers(1, 9), stride=st.integers(1, 3), batch=st.integers(1, 3)
)


@st.composite
def layouts(draw: st.DrawFn) -> dict:
    """How a map lies in a larger buffer: floats around it and between its rows and pixels, and which axes run backwards."""
    gaps = st.integers(0, 5)
    return {
        "around": draw(st.integers(1, 40)),
        "halo": draw(st.integers(0, 2)),
        "between_pixels": draw(gaps),
        "between_images": draw(gaps),
        "backwards": draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    }


class Guarded:
    """A map of the given shape as a strided view into a buffer that is GUARD everywhere else."""

    def __init__(self, shape: tuple[int, int, int, int], layout: dict) -> None:
        batch, height, width, channels = shape
        halo, pixel = layout["halo"], channels + layout["between_pixels"]
        row = (width + 2 * halo) * pixel
        image = (height + 2 * halo) * row + layout["between_images"]
        first = layout["around"] + halo * row + halo * pixel
        self.buffer = np.full(2 * layout["around"] + batch * image, GUARD)
        steps = tuple(4 * step for step in (image, row, pixel, 1))
        view = np.lib.stride_tricks.as_strided(self.buffer[first:], shape, steps)
        backwards = tuple(slice(None, None, -1 if flip else 1) for flip in layout["backwards"])
        self.view = view[backwards]

    def guards_are_whole(self) -> bool:
        outside = np.ones(self.buffer.shape, bool)
        offsets = (self.view.__array_interface__["data"][0] - self.buffer.__array_interface__["data"][0]) // 4
        indices = offsets + sum(
            np.arange(size).reshape([-1 if axis == here else 1 for here in range(4)]) * (step // 4)
            for axis, (size, step) in enumerate(zip(self.view.shape, self.view.strides, strict=True))
        )
        outside[indices.reshape(-1)] = False
        return bool((self.buffer[outside].view(np.uint32) == GUARD.view(np.uint32)).all())


@pytest.mark.parametrize("name", kernel_names(device="cpu"))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=shapes, layout_F=layouts(), layout_G=layouts(), seed=st.integers(0, 2**32 - 1))
def test_a_kernel_agrees_with_the_oracle_and_touches_nothing_else(name, shape, layout_F, layout_G, seed):
    kernel = get_kernel(name)
    operator = kernel.operator
    rng = np.random.default_rng(seed)
    F = Guarded(shape.F_shape(operator), layout_F)
    F.view[:] = rng.standard_normal(F.view.shape, np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in shape.weight_shapes(operator))
    G = Guarded(shape.G_shape(operator), layout_G)
    before = [F.buffer.copy(), *(weight.copy() for weight in weights)]

    returned = kernel(F.view, *weights, stride=1 if operator == "pointwise" else shape.stride, out=G.view)

    assert np.shares_memory(returned, G.view)
    error = Oracle(operator, shape, F.view, weights).error(G.view)
    assert error <= 1, f"{error} times what float32 rounding explains"
    assert G.guards_are_whole(), "it wrote outside G"
    after = [F.buffer, *weights]
    assert all(np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_rank_3_in_is_rank_3_out_and_the_same_numbers(name):
    kernel = get_kernel(name)
    shape = ConvShape(3, 5, 6, 4)
    rng = np.random.default_rng(0)
    F = rng.standard_normal(shape.F_shape(kernel.operator)[1:], np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in shape.weight_shapes(kernel.operator))
    G = kernel(F, *weights)
    assert G.shape == shape.G_shape(kernel.operator)[1:]
    np.testing.assert_array_equal(G, kernel(F[np.newaxis], *weights)[0])


@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_rows_that_no_window_reaches_do_not_count(name):
    """D_F = 10 at stride 2 and D_K = 3: the window stops one row short of the end, which may hold anything."""
    kernel = get_kernel(name)
    if kernel.operator == "pointwise":
        shape, step = ConvShape(1, 4, 5, 5), 2
    else:
        shape, step = ConvShape(3, 4, 5, 4, stride=2), 2
    rng = np.random.default_rng(1)
    F = rng.standard_normal((10, 10, 4), np.float32)
    F[9:] = F[:, 9:] = np.nan
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in shape.weight_shapes(kernel.operator))
    G = kernel(F, *weights, stride=step)
    read = F[::2, ::2] if kernel.operator == "pointwise" else F[:9, :9]
    assert Oracle(kernel.operator, shape, read[np.newaxis], weights).error(G[np.newaxis]) <= 1


@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_a_launch_can_be_repeated(name):
    from sepconv_bench import Problem

    kernel = get_kernel(name)
    rng = np.random.default_rng(2)
    problem = Problem.draw(kernel.operator, ConvShape(3, 17, 9, 6, stride=2, batch=2), rng)
    launch = kernel.bind(problem)
    launch()
    first = problem.G.copy()
    problem.G.fill(np.nan)
    launch()
    np.testing.assert_array_equal(problem.G, first)


@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_a_map_that_is_read_only_or_all_one_pixel_is_fine(name):
    kernel = get_kernel(name)
    shape = ConvShape(3, 3, 4, 5)
    pixel = np.arange(3, dtype=np.float32)
    F = np.broadcast_to(pixel, shape.F_shape(kernel.operator))
    assert not F.flags.writeable
    weights = tuple(np.ones(weight, np.float32) for weight in shape.weight_shapes(kernel.operator))
    assert Oracle(kernel.operator, shape, F, weights).error(kernel(F, *weights)) <= 1
