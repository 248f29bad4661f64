"""The ladder on the GPU: which passes each rung of each operator makes, and how they are bound to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numba import cuda

from sepconv_bench import gpu
from sepconv_bench.kernels.cuda.arrays import DeviceMap, Layout, copied, empty, maps
from sepconv_bench.kernels.cuda.block_tile import Product, padded
from sepconv_bench.kernels.cuda.launch import DeviceLaunch, Pass
from sepconv_bench.kernels.cuda.loops import loops_pass
from sepconv_bench.kernels.cuda.product import product_pass, sum_pass
from sepconv_bench.kernels.cuda.tensor import tensor_pass
from sepconv_bench.kernels.cuda.tensor_tile import TensorProduct, choose_tensor_tile
from sepconv_bench.kernels.cuda.tiled import depthwise_pass
from sepconv_bench.kernels.cuda.tiles import FUSED_TILES, TILES, choose_strip, choose_tile, fuses
from sepconv_bench.kernels.problem import Problem
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE, SEPARABLE, STANDARD, Convolution
from sepconv_bench.model.rounding import rounded, stored
from sepconv_bench.model.shapes import ConvShape

_Bound = tuple[Pass, tuple[Any, ...]]


def loops(problem: Problem) -> DeviceLaunch:
    """One pass of rung 1, or two."""
    F, G = maps(problem)
    shape, convolutions = problem.shape, problem.operator.convolutions
    if problem.operator is not SEPARABLE:
        return DeviceLaunch([_loops(convolutions[0], shape, F, problem.weights[0], G)], G)
    G_hat = empty(DEPTHWISE.G_shape(shape))
    depthwise = _loops(convolutions[0], shape, F, problem.K_hat, G_hat)
    return DeviceLaunch([depthwise, _loops(convolutions[1], shape, G_hat, problem.K_tilde, G)], G)


def tiled(problem: Problem, biases: Sequence[np.ndarray] = ()) -> DeviceLaunch:
    """Tiles of products, strips of depthwise, or one after the other; what multiplies matrices is f32 alone. With `biases`, one
    for each of the weights, every map is min(max(sum + bias, 0), 6)."""
    F, G = maps(problem)
    shape, bias = problem.shape, biases[-1] if biases else None
    if problem.operator is DEPTHWISE:
        return DeviceLaunch([_depthwise(shape, F, problem.K_hat, G, bias)], G)
    if problem.operator is STANDARD:
        return DeviceLaunch(_product(shape, F, problem.K, G, bias), G)
    if problem.operator is POINTWISE:
        return DeviceLaunch(_product(of_one(shape), F, problem.K_tilde[None, None], G, bias), G)
    G_hat = empty(DEPTHWISE.G_shape(shape))
    depthwise = _depthwise(shape, F, problem.K_hat, G_hat, biases[0] if biases else None)
    return DeviceLaunch([depthwise, *_product(of_one(shape), G_hat, problem.K_tilde[None, None], G, bias)], G)


def fused(problem: Problem, biases: Sequence[np.ndarray] = ()) -> DeviceLaunch:
    """Separable in one pass: the depthwise convolution is computed as the product's tiles need it. `biases` as in `tiled`."""
    F, G = maps(problem)
    bias_hat, bias = biases or (None, None)
    return DeviceLaunch(_product(problem.shape, F, problem.K_tilde[None, None], G, bias, problem.K_hat, bias_hat), G)


def tensor(problem: Problem) -> DeviceLaunch:
    """Standard, pointwise, or separable in one pass, on tensor cores."""
    F, G = maps(problem)
    shape, filtered = problem.shape, problem.operator is SEPARABLE
    product = tensor_product_of(of_one(shape) if problem.operator is POINTWISE else shape, F.layout, G.layout, filtered)
    K = problem.K if problem.operator is STANDARD else problem.K_tilde
    weights = _stored(product.packed(K.reshape(-1, shape.M, shape.N)), shape)
    window = _stored(product.packed_filter(problem.K_hat), shape) if filtered else weights
    return DeviceLaunch([(tensor_pass(product), (F.floats, window, weights, G.floats))], G)


def separable(problem: Problem, biases: Sequence[np.ndarray]) -> DeviceLaunch:
    """In one pass or in two, whichever is reckoned to be the faster on this GPU."""
    return (fused if fuses(problem.shape, gpu.multiprocessors()) else tiled)(problem, biases)


def product_of(shape: ConvShape, F: Layout, G: Layout, filtered: bool = False, epilogue: bool = False) -> Product:
    """The product of standard on `shape`, or with `filtered` of fused, with the tile that suits this GPU."""
    pixels, taps = shape.batch * shape.D_G**2, 1 if filtered else shape.D_K**2
    tiles, window = (FUSED_TILES, shape.D_K**2) if filtered else (TILES, 0)
    tile, splits = choose_tile(pixels, shape.N, shape.M, taps, gpu.multiprocessors(), tiles, window)
    return Product(shape, F, G, filtered, tile, splits, epilogue)


def tensor_product_of(shape: ConvShape, F: Layout, G: Layout, filtered: bool = False) -> TensorProduct:
    """The product of standard on `shape`, or with `filtered` of separable, that tensor cores compute."""
    tile = choose_tensor_tile(shape.batch * shape.D_G**2, shape.N, gpu.multiprocessors())
    return TensorProduct(shape, F, G, filtered, tile)


def strip_of(shape: ConvShape) -> tuple[int, int]:
    """TH x TW of depthwise that suits this GPU."""
    return choose_strip(shape, gpu.multiprocessors())


def of_one(shape: ConvShape) -> ConvShape:
    """Pointwise is standard with a window of one pixel."""
    return replace(shape, D_K=1, stride=1)


def _stored(weights: np.ndarray, shape: ConvShape) -> Any:
    """A copy on the device, in the shape's dtype."""
    return copied(stored(rounded(weights, shape.dtype), shape.dtype))


def _loops(convolution: Convolution, shape: ConvShape, F: DeviceMap, weights: np.ndarray, G: DeviceMap) -> _Bound:
    one = loops_pass(convolution, shape, F.layout, G.layout)
    return one, (F.floats, copied(weights), G.floats)


def _depthwise(shape: ConvShape, F: DeviceMap, K_hat: np.ndarray, G: DeviceMap, bias: np.ndarray | None) -> _Bound:
    one = depthwise_pass(shape, F.layout, G.layout, *strip_of(shape), epilogue=bias is not None)
    return one, (F.floats, _stored(np.concatenate([K_hat.reshape(-1), padded(bias, shape.M)]), shape), G.floats)


def _product(
    shape: ConvShape,
    F: DeviceMap,
    K: np.ndarray,
    G: DeviceMap,
    bias: np.ndarray | None,
    K_hat: np.ndarray | None = None,
    bias_hat: np.ndarray | None = None,
) -> list[_Bound]:
    product = product_of(shape, F.layout, G.layout, K_hat is not None, bias is not None)
    weights = copied(product.packed(K.reshape(-1, shape.M, shape.N), bias))
    window = weights if K_hat is None else copied(product.packed_filter(K_hat, bias_hat))
    if product.splits == 1:
        return [(product_pass(product), (F.floats, window, weights, G.floats))]
    biases, floats = padded(bias, product.padded_N), product.splits * product.pixels * product.padded_N
    parts = cuda.device_array(floats + biases.size, np.float32, stream=gpu.stream())
    if biases.size:
        parts[floats:].copy_to_device(biases, stream=gpu.stream())
    return [
        (product_pass(product), (F.floats, window, weights, parts)),
        (sum_pass(product), (parts, G.floats)),
    ]
