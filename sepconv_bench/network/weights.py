"""The weights of a network: what they are called, how many there are, drawn or read from a file, batch norm folded in.

A layer's are `<name>.weight` in the layout of torch, and `<name>.bias`; with a batch norm after it also `<name>.bn.weight`,
`.bn.bias`, `.bn.running_mean` and `.bn.running_var`, and where its epsilon is not torch's 1e-5 (Keras has 1e-3) `.bn.eps`.
What a framework's wrapper puts before all names (`module.`, `model.`) is left out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod, sqrt
from pathlib import Path
from typing import IO

import numpy as np

from sepconv_bench import files
from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.kernels.problem import GroupedConvolution, require_memory
from sepconv_bench.model.networks import Layer
from sepconv_bench.model.operators import DEPTHWISE, POINTWISE

_COPIES = 3  # of what a file holds: as it is, and in float64 while it is looked at
EPSILON = 1e-5  # of a batch norm, where the weights bring one and do not say its own
_WITH_BACKGROUND = 1001
_OF_TORCH = (".pt", ".pth", ".bin", ".ckpt")
_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def name_of(layer: Layer, last: int) -> str:
    """What the layer's weights are called: conv, block1.depthwise, block1.pointwise, block1.standard, classifier."""
    if layer.block in (0, last):
        return "classifier" if layer.block else "conv"
    return f"block{layer.block}.{layer.operator}"


def names(layers: Sequence[Layer]) -> list[str]:
    return [name_of(layer, layers[-1].block) for layer in layers]


def weight_shape(layer: Layer) -> tuple[int, int, int, int]:
    """In the layout of torch: (outputs, inputs of a group, D_K, D_K)."""
    shape, width = layer.shape, layer.shape.D_K if layer.operator is not POINTWISE else 1
    return (shape.M, 1, width, width) if layer.operator is DEPTHWISE else (shape.N, shape.M, width, width)


def random_weights(layers: Sequence[Layer], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep the size of what goes through them (He's), and small biases; the same for the same seed."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, layer in zip(names(layers), layers, strict=True):
        shape = weight_shape(layer)
        spread = sqrt(2 / (shape[1] * shape[2] * shape[3]))
        weights[f"{name}.weight"] = (spread * rng.standard_normal(shape)).astype(np.float32)
        weights[f"{name}.bias"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)
    return weights


def folded(weights: Mapping[str, np.ndarray], name: str, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """A layer's kernel in our layout and its bias, batch norm folded in; ShapeError where they are missing or do not fit."""
    expected = weight_shape(layer)
    given = {part: np.asarray(weights[f"{name}.{part}"]) for part in ("weight", "bias", *_NORM) if f"{name}.{part}" in weights}
    K = given.get("weight")
    if K is None:
        raise ShapeError(f"there is no {name}.weight, which takes {expected}; the names are {_some(weights)}")
    if K.shape != expected and not (layer.shape.D_G == 1 and K.shape == expected[:2]):
        more = K.shape[0] == expected[0] + 1 == _WITH_BACKGROUND and "; leave out the first class, TensorFlow's background"
        raise ShapeError(f"{name}.weight is {K.shape}; it must be {expected}{more or ''}")
    wrong = {part: value.shape for part, value in given.items() if part != "weight" and value.shape != expected[:1]}
    if wrong:
        part, came = next(iter(wrong.items()))
        raise ShapeError(f"{name}.{part} is {came}; it must be {expected[:1]}")
    K, bias = K.reshape(expected).astype(np.float64), given.get("bias", np.zeros(expected[0])).astype(np.float64)
    if any(part in given for part in _NORM):
        missing = [part for part in _NORM if part not in given]
        if missing:
            raise ShapeError(f"there is no {name}.{missing[0]}, but another part of that batch norm")
        scale, shift, mean, variance = (given[part].astype(np.float64) for part in _NORM)
        if not (variance >= 0).all():
            raise ShapeError(f"{name}.bn.running_var holds {variance.min():g}; a variance is not negative")
        epsilon = np.asarray(weights.get(f"{name}.bn.eps", EPSILON), np.float64)
        if epsilon.size != 1 or not epsilon.item() > 0:
            raise ShapeError(f"{name}.bn.eps is {epsilon}; it must be one number above 0")
        scale = scale / np.sqrt(variance + epsilon.item())
        K, bias = K * scale[:, None, None, None], (bias - mean) * scale + shift
    if not all((np.abs(one) <= np.finfo(np.float32).max).all() for one in (K, bias)):
        raise ShapeError(f"{name} with its batch norm is beyond float32")
    return np.ascontiguousarray(K.transpose(2, 3, 1, 0), dtype=np.float32), bias.astype(np.float32)


def _some(weights: Mapping[str, np.ndarray]) -> str:
    return ", ".join([*weights][:4]) + ", ..." * (len(weights) > 4) if weights else "none"


def convolutions(layers: Sequence[Layer], weights: Mapping[str, np.ndarray]) -> Iterator[GroupedConvolution]:
    """Every layer in order, batch norm folded in; a fully connected one is a convolution of a map of one pixel."""
    for name, layer in zip(names(layers), layers, strict=True):
        K, bias = folded(weights, name, layer)
        mixes, groups = layer.operator is POINTWISE, layer.shape.M if layer.operator is DEPTHWISE else 1
        stride, padding = (1, 0) if mixes else (layer.shape.stride, K.shape[0] // 2)
        weight, around = np.ascontiguousarray(K.transpose(3, 2, 0, 1)), (padding,) * 4
        yield GroupedConvolution(weight, (stride, stride), groups, padding=around, bias=bias)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz or .safetensors file by name; InputError where it cannot be read. Nothing in it is executed."""
    form = path.suffix.lower()
    if form not in (".npz", ".safetensors"):
        made = "; `safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')` writes what fits"
        raise InputError(f"weights come as .npz or .safetensors; {path} is neither{made if form in _OF_TORCH else ''}")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    files.refuse_pointer(path)
    try:
        weights = _read_npz(path) if form == ".npz" else _read_safetensors(path)
    except InputError:
        raise
    except ModuleNotFoundError:
        raise InputError(f"to read {path} safetensors is needed: pip install 'sepconv-bench[mobilenet]'") from None
    except Exception as error:  # of a broken file the readers raise whatever their parsers do
        raise InputError(f"{path} cannot be read as weights: {error}") from error
    weights = {name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in weights.items()}
    for name, array in weights.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name} in {path} holds {array.dtype}, not real numbers")
        with np.errstate(invalid="ignore", over="ignore"):  # a NaN that signals
            sound = (np.abs(array.astype(np.float64)) <= np.finfo(np.float32).max).all()
        if not sound:
            raise InputError(f"{name} in {path} holds a number that is NaN, infinite or beyond float32")
    return _without_wrapper(weights)


def _without_wrapper(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Under our names what a wrapper has put its own before, as torch's DataParallel does."""
    first, last = "conv.weight", "classifier.weight"
    before = {name.removesuffix(first) for name in weights if name.endswith(f".{first}")}
    before = {one for one in before if one + last in weights}
    if first in weights or len(before) != 1:
        return weights
    (wrapper,) = before
    return {name.removeprefix(wrapper): array for name, array in weights.items() if name.startswith(wrapper)}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as parts:
        # Each array may unpack into a thousand times its size in the file; and what is read is never a pickle.
        require_memory(_COPIES * sum(part.file_size for part in parts.infolist()), f"the arrays of {path}")
        for part in parts.infolist():
            with parts.open(part) as file:
                _refuse_more_than(part.file_size, file, part.filename)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _refuse_more_than(size: int, file: IO[bytes], name: str) -> None:
    """ValueError where a header promises more than there is: numpy would make room for it first."""
    if np.lib.format.read_magic(file) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} is said to be {shape} of {dtype}, and is {size} bytes long")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    require_memory(_COPIES * path.stat().st_size, f"the arrays of {path}")
    return load_file(path)
