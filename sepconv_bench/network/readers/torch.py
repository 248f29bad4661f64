"""Torch models: a forward pass without data tells each convolution's sizes, of functions as of modules.

The pass runs on torch's "meta" device, which computes sizes alone; where the model cannot do that it runs on zeros.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from typing import Any

from sepconv_bench.errors import InputError
from sepconv_bench.model.scanned import ModelConvolution, NotCovered, Scanned
from sepconv_bench.network.readers import installed

INPUT = (1, 3, 224, 224)  # of a model that does not say its own


def read_named(text: str, sizes: tuple[int, ...] | None = None) -> Scanned:
    """`module:callable`, also of the current folder: a function or class that gives a torch module without arguments."""
    installed("torch", "torch", "a torch model")
    where, _, what = text.partition(":")
    with _current_folder():
        try:
            found: Any = importlib.import_module(where)
            for part in what.split("."):
                found = getattr(found, part)
        except (ImportError, ValueError, SyntaxError) as error:
            raise InputError(f"the module {where!r} of {text} cannot be imported: {_one_line(error)}") from error
        except AttributeError as error:
            raise InputError(f"{text}: {_one_line(error)}") from error
        except (Exception, SystemExit) as error:  # the user's own code runs here, which may be a script
            raise InputError(f"the module {where!r} of {text} fails while it is imported: {_one_line(error)}") from error
        return read_module(_made(found, text), text, sizes)


def read_known(name: str, sizes: tuple[int, ...] | None = None) -> Scanned:
    """A network of torchvision or timm by its name, without weights."""
    failed: list[str] = []
    names: list[str] = []
    for library, list_names, make in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            failed.append(f"{library} is not installed (pip install {library})")
            continue
        try:
            there = list_names()
        except Exception as error:  # a build that does not go with this torch fails when it is imported, in many ways
            failed.append(f"{library} is installed but fails: {_one_line(error)}")
            continue
        if name in there:
            return read_module(_made(lambda make=make: make(name), name), name, sizes)
        names += there
        failed.append(f"{library} has none of that name")
    near = difflib.get_close_matches(name, names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"{name!r} is no file, and no network of that name was found: {', '.join(failed)}{hint}")


def read_module(module: Any, source: str, sizes: tuple[int, ...] | None = None) -> Scanned:
    """The convolutions of a torch module, which stays as it is."""
    installed("torch", "torch", "a torch model")
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{source} is a {type(module).__name__}; a torch.nn.Module is needed, or what gives one")
    sizes = INPUT if sizes is None else sizes
    training = [one for one in module.modules() if one.training]
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                layers = _on_meta(module, sizes)
            except (Exception, SystemExit):  # anything: what cannot run without data says so in its own way
                layers = _on_zeros(module, sizes)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{source} fails on an input of {','.join(map(str, sizes))}: {_one_line(error)}; --input takes other sizes"
        ) from error
    finally:
        for one in training:
            one.training = True
    return Scanned(source, sizes, tuple(layers))


def _on_meta(module: Any, sizes: tuple[int, ...]) -> list[ModelConvolution | NotCovered]:
    import torch

    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    without = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    with _watched(module) as layers:
        torch.func.functional_call(module, without, (torch.empty(sizes, device="meta"),))
    return layers


def _on_zeros(module: Any, sizes: tuple[int, ...]) -> list[ModelConvolution | NotCovered]:
    import torch

    like = next(module.parameters(), torch.empty(0))
    with _watched(module) as layers:
        module(torch.zeros(sizes, dtype=like.dtype, device=like.device))
    return layers


@contextmanager
def _watched(module: Any) -> Iterator[list[ModelConvolution | NotCovered]]:
    """The list fills up with what the module computes meanwhile."""
    import torch
    from torch.nn import functional

    layers: list[ModelConvolution | NotCovered] = []
    inside: list[str] = []
    known: dict[Any, Callable[[str, Any, dict], ModelConvolution | NotCovered]] = {
        functional.conv2d: _convolution,
        functional.linear: _linear,
        functional.conv1d: _other("Conv1d", "1-dimensional convolution"),
        functional.conv3d: _other("Conv3d", "3-dimensional convolution"),
        functional.conv_transpose1d: _other("ConvTranspose1d", "transposed convolution", transposed=True),
        functional.conv_transpose2d: _other("ConvTranspose2d", "transposed convolution", transposed=True),
        functional.conv_transpose3d: _other("ConvTranspose3d", "transposed convolution", transposed=True),
    }

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if function in known:
                said = dict(zip(_PARAMETERS, args, strict=False)) | (kwargs or {})
                layers.append(known[function](inside[-1] if inside else "model", result, said))
            return result

    def enter(name: str, one: Any) -> Any:
        def hook(*_: Any) -> None:
            inside.append(name)
            if "quantized" in type(one).__module__ and ("Conv" in type(one).__name__ or "Linear" in type(one).__name__):
                layers.append(NotCovered(name, type(one).__name__, "quantized"))

        return hook

    hooks = []
    for name, one in module.named_modules():
        hooks.append(one.register_forward_pre_hook(enter(name or type(one).__name__, one)))
        hooks.append(one.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        with torch.no_grad(), Watch():
            yield layers
    finally:
        for hook in hooks:
            hook.remove()


_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def _convolution(name: str, G: Any, said: dict) -> ModelConvolution:
    F, K = _batched(said["input"].shape), tuple(said["weight"].shape)
    padding = said.get("padding", 0)
    pads = None if isinstance(padding, str) else (*_pair(padding), *_pair(padding))
    return ModelConvolution(
        name,
        in_channels=F[1],
        out_channels=K[0],
        kernel=(K[2], K[3]),
        input=(F[2], F[3]),
        output=tuple(G.shape[-2:]),
        stride=_pair(said.get("stride", 1)),
        padding=(0, 0, 0, 0) if padding == "valid" else pads,
        dilation=_pair(said.get("dilation", 1)),
        groups=said.get("groups", 1),
        batch=F[0],
    )


def _linear(name: str, G: Any, said: dict) -> ModelConvolution | NotCovered:
    """A fully connected layer, which on the pixels of a map, channels last, is a pointwise convolution."""
    F, K = tuple(said["input"].shape), tuple(said["weight"].shape)
    if len(F) == 4:
        return ModelConvolution(name, F[3], K[0], (1, 1), (F[1], F[2]), (F[1], F[2]), padding=(0, 0, 0, 0), batch=F[0])
    return NotCovered(name, "Linear", "fully connected", G.numel() * K[1])


def _other(operator: str, reason: str, transposed: bool = False) -> Callable[[str, Any, dict], NotCovered]:
    def told(name: str, G: Any, said: dict) -> NotCovered:
        K = prod(said["weight"].shape[1:])
        return NotCovered(name, operator, reason, (said["input"].numel() if transposed else G.numel()) * K)

    return told


def _batched(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if len(shape) == 4 else (1, *shape)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _made(found: Any, text: str) -> Any:
    """The module, or what the function or class gives."""
    import torch

    if isinstance(found, torch.nn.Module) or not callable(found):
        return found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return found()
    except (Exception, SystemExit) as error:  # the user's own code runs here
        raise InputError(f"{text} fails when it is called without arguments: {_one_line(error)}") from error


@contextmanager
def _current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported meanwhile."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(here)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _torchvision_names() -> list[str]:
    from torchvision import models

    return models.list_models()


def _torchvision_make(name: str) -> Any:
    import torch
    from torchvision import models

    builder = models.get_model_builder(name)
    # A segmentation network has a backbone with weights of its own, which it would download.
    more = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    with torch.device("meta"):
        return builder(weights=None, **more)


def _timm_names() -> list[str]:
    import timm

    return timm.list_models()


def _timm_make(name: str) -> Any:
    import timm

    return timm.create_model(name, pretrained=False)


_LIBRARIES: tuple[tuple[str, Callable[[], list[str]], Callable[[str], Any]], ...] = (
    ("torchvision", _torchvision_names, _torchvision_make),
    ("timm", _timm_names, _timm_make),
)
