"""Every kernel of every operator against the reference, on random shapes and strided views, between guard zones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import few_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepconv_bench import ConvShape, Problem, ShapeError, get_kernel, kernel_names
from sepconv_bench.kernels.registry import Kernel
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE
from sepconv_bench.model.reference import Reference

# A NaN with a payload: a guard that is read poisons the result, a guard that is written changes its bits.
GUARD = np.array(0x7FC0_5AFE, np.uint32).view(np.float32)

SIZES = [*range(1, 10), 15, 16, 17, 31, 32, 33, 40]
sizes = st.sampled_from(SIZES)
# D_K, N, D_G and stride: what tiles are compiled for, which takes nearly all of the time.
compiled_for = few_of([range(1, 6), SIZES, range(1, 10), range(1, 4)], 2)


@st.composite
def shapes(draw: st.DrawFn) -> ConvShape:
    D_K, N, D_G, stride = draw(compiled_for)
    return ConvShape(D_K=D_K, M=draw(sizes), N=N, D_G=D_G, stride=stride, batch=draw(st.integers(1, 3)))


@st.composite
def layouts(draw: st.DrawFn) -> dict:
    """How a map lies in a larger buffer: floats around it and between its images, rows and pixels, a halo, which axes run
    backwards, and whether rows are the ones that lie close together, as in a transposed map."""
    gaps = st.integers(0, 5)
    return {
        "around": draw(st.integers(1, 40)),
        "halo": draw(st.integers(0, 2)),
        "between_pixels": draw(gaps),
        "between_rows": draw(gaps),
        "between_images": draw(gaps),
        "backwards": draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        "transposed": draw(st.booleans()),
    }


def taken(kernel: Kernel, shape: ConvShape) -> ConvShape:
    """The shape; for a kernel that does not take it, which is one of windows of 3 x 3 and stride 1, with those."""
    return shape if kernel.refuses(shape) is None else dataclasses.replace(shape, D_K=3, stride=1)


class Guarded:
    """A map of the given shape as a strided view into a buffer that is GUARD everywhere else."""

    def __init__(self, shape: tuple[int, int, int, int], layout: dict) -> None:
        batch, height, width, channels = shape
        halo, pixel = layout["halo"], channels + layout["between_pixels"]
        row = (width + 2 * halo) * pixel + layout["between_rows"]
        image = (height + 2 * halo) * row + layout["between_images"]
        first = layout["around"] + halo * row + halo * pixel
        self.buffer = np.full(2 * layout["around"] + batch * image, GUARD)
        # Maps are square: either spatial axis may be the one of the near neighbours.
        steps = tuple(4 * step for step in ((image, pixel, row, 1) if layout["transposed"] else (image, row, pixel, 1)))
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
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=shapes(),
    spare=st.integers(0, 2),
    images=st.booleans(),
    layout_F=layouts(),
    layout_G=layouts(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_kernel_agrees_with_the_reference_and_touches_nothing_else(name, shape, spare, images, layout_F, layout_G, seed):
    """`spare` rows and columns of F lie beyond the last window; without `images` F and G come without a batch axis."""
    kernel = get_kernel(name)
    operator = kernel.operator
    rng = np.random.default_rng(seed)
    shape = taken(kernel, shape)
    stride = shape.stride
    if operator is POINTWISE:  # its stride picks pixels of F; the shape that is left has none
        shape = dataclasses.replace(shape, stride=1)
    width = (shape.D_G - 1) * stride + 1 if operator is POINTWISE else shape.D_F
    spare = min(spare, stride - 1)
    F = Guarded((shape.batch, width + spare, width + spare, shape.M), layout_F)
    read = F.view[:, :width, :width][:, ::stride, ::stride] if operator is POINTWISE else F.view[:, :width, :width]
    read[:] = rng.standard_normal(read.shape, np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in operator.weight_shapes(shape))
    G = Guarded(operator.G_shape(shape), layout_G)
    before = [F.buffer.copy(), *(weight.copy() for weight in weights)]

    for image in range(1 if images else shape.batch):
        which = slice(None) if images else image
        returned = kernel(F.view[which], *weights, stride=stride, out=G.view[which])
        assert np.shares_memory(returned, G.view)
        assert returned.shape == G.view[which].shape

    error = Reference(operator, shape, read, weights).error(G.view) / kernel.rounding(shape)
    assert error <= 1, f"{error} times what float32 rounding explains"
    assert G.guards_are_whole(), "it wrote outside G"
    after = [F.buffer, *weights]
    assert all(np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in zip(after, before, strict=True))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_rank_3_in_is_rank_3_out_and_the_same_numbers(name):
    kernel = get_kernel(name)
    shape = ConvShape(3, 5, 6, 4)
    rng = np.random.default_rng(0)
    F = rng.standard_normal(kernel.operator.F_shape(shape)[1:], np.float32)
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in kernel.operator.weight_shapes(shape))
    G = kernel(F, *weights)
    assert G.shape == kernel.operator.G_shape(shape)[1:]
    np.testing.assert_array_equal(G, kernel(F[np.newaxis], *weights)[0])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_rows_that_no_window_reaches_do_not_count(name):
    """D_F = 10 at stride 2 and D_K = 3: the window stops one row short of the end, which may hold anything."""
    kernel = get_kernel(name)
    if kernel.operator is POINTWISE:
        shape, step = ConvShape(1, 4, 5, 5), 2
    else:
        shape, step = ConvShape(3, 4, 5, 4, stride=2), 2
    if kernel.refuses(shape):
        pytest.skip("with stride 1 windows reach every row")
    rng = np.random.default_rng(1)
    F = rng.standard_normal((10, 10, 4), np.float32)
    F[9:] = F[:, 9:] = np.nan
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in kernel.operator.weight_shapes(shape))
    G = kernel(F, *weights, stride=step)
    read = F[::2, ::2] if kernel.operator is POINTWISE else F[:9, :9]
    assert Reference(kernel.operator, shape, read[np.newaxis], weights).error(G[np.newaxis]) <= 1


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_a_launch_can_be_repeated(name):
    kernel = get_kernel(name)
    rng = np.random.default_rng(2)
    problem = Problem.draw(kernel.operator, taken(kernel, ConvShape(3, 17, 9, 6, stride=2, batch=2)), rng)
    launch = kernel.bind(problem)
    launch()
    first = problem.G.copy()
    problem.G.fill(np.nan)
    launch()
    np.testing.assert_array_equal(problem.G, first)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_a_map_that_is_read_only_or_all_one_pixel_is_fine(name):
    kernel = get_kernel(name)
    shape = ConvShape(3, 3, 4, 5)
    pixel = np.arange(3, dtype=np.float32)
    F = np.broadcast_to(pixel, kernel.operator.F_shape(shape))
    assert not F.flags.writeable
    weights = tuple(np.ones(weight, np.float32) for weight in kernel.operator.weight_shapes(shape))
    assert Reference(kernel.operator, shape, F, weights).error(kernel(F, *weights)) <= kernel.rounding(shape)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_one_channel_may_lie_at_any_step(name):
    """A size of 1 has no neighbour: the first of two channels alone is as good as contiguous."""
    kernel = get_kernel(name)
    shape = taken(kernel, ConvShape(2, 1, 1, 4))
    rng = np.random.default_rng(7)
    F = rng.standard_normal((*kernel.operator.F_shape(shape)[:3], 2), np.float32)[..., ::2]
    weights = tuple(rng.standard_normal(weight, np.float32) for weight in kernel.operator.weight_shapes(shape))
    both = np.full((*kernel.operator.G_shape(shape)[:3], 2), GUARD)
    kernel(F, *weights, out=both[..., ::-2])
    assert Reference(kernel.operator, shape, F, weights).error(both[..., 1:]) <= kernel.rounding(shape)
    assert (both[..., 0].view(np.uint32) == GUARD.view(np.uint32)).all()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_weights_may_be_cut_from_larger_ones(name):
    kernel = get_kernel(name)
    shape = ConvShape(3, 5, 6, 4)
    rng = np.random.default_rng(8)
    F = rng.standard_normal(kernel.operator.F_shape(shape), np.float32)
    larger = tuple(
        rng.standard_normal([size + 2 for size in weight]).astype(np.float32) for weight in kernel.operator.weight_shapes(shape)
    )
    weights = tuple(weight[tuple(slice(1, -1) for _ in weight.shape)] for weight in larger)
    before = [weight.copy() for weight in larger]
    assert Reference(kernel.operator, shape, F, weights).error(kernel(F, *weights)) <= kernel.rounding(shape)
    assert all(np.array_equal(a, b) for a, b in zip(larger, before, strict=True))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [name for name in kernel_names(device="cpu") if not get_kernel(name).needs])
def test_a_map_beyond_memory_of_which_little_is_read_is_computed(name):
    """A million pixels a side, all at one address, and a stride that visits four of them: indices need 64 bits."""
    kernel = get_kernel(name)
    F = np.broadcast_to(np.arange(1, 4, dtype=np.float32), (1 << 20, 1 << 20, 3))
    shape = ConvShape(1 if kernel.operator is POINTWISE else 2, 3, 4, 2, stride=1 << 19)
    if kernel.refuses(shape):
        pytest.skip("it reads every pixel")
    weights = tuple(np.ones(weight, np.float32) for weight in kernel.operator.weight_shapes(shape))
    G = kernel(F, *weights, stride=shape.stride)
    taps = shape.D_K**2
    sums = taps * np.arange(1, 4) if kernel.operator is DEPTHWISE else taps * 6
    np.testing.assert_array_equal(G, np.full(G.shape, sums, np.float32))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", kernel_names(device="cpu"))
def test_the_maps_of_a_problem_placed_anew_give_the_same(name):
    kernel = get_kernel(name)
    rng = np.random.default_rng(9)
    problem = Problem.draw(kernel.operator, ConvShape(3, 9, 7, 5, batch=2), rng)
    assert np.isnan(problem.G).all()
    kernel.bind(problem)()
    moved = problem.placed_anew(rng)
    assert np.isnan(moved.G).all()
    for new, old in zip((moved.F, *moved.weights, moved.G), (problem.F, *problem.weights, problem.G), strict=True):
        assert not np.shares_memory(new, old)
        assert new.ctypes.data % 64 == 0, "starts on a cache line"
    kernel.bind(moved)()
    np.testing.assert_array_equal(moved.F, problem.F)
    np.testing.assert_array_equal(moved.G, problem.G)


def test_a_row_of_several_strips_is_computed_whole():
    """Of so many output channels that the parallel rung cuts a row of 5 pixels into strips of 2, 2 and 1."""
    problem = Problem.draw("standard", ConvShape(2, 5, 2000, 5), np.random.default_rng(10))
    get_kernel("cpu.standard.parallel").bind(problem)()
    assert Reference("standard", problem.shape, problem.F, problem.weights).error(problem.G) <= 1


def test_a_problem_beyond_memory_is_not_drawn():
    with pytest.raises(ShapeError, match=r"the arrays of standard on D_K=3 M=65536 .* need .* of memory are free"):
        Problem.draw("standard", ConvShape(3, 1 << 16, 1, 1_000_000), np.random.default_rng(0))


def test_a_problem_has_the_weights_of_its_operator_only():
    problem = Problem.draw("separable", ConvShape(3, 2, 4, 5, stride=2), np.random.default_rng(0))
    assert (problem.K_hat.shape, problem.K_tilde.shape, problem.stride) == ((3, 3, 2), (2, 4), 2)
    assert Problem.draw("pointwise", problem.shape, np.random.default_rng(0)).stride == 1
    with pytest.raises(AttributeError, match="separable has no K; its weights are K_hat, K_tilde"):
        _ = problem.K
