"""Readers of models, a file each; what a reader needs is imported when it reads.

`read` chooses one: `.onnx` and `.tflite` by the file's name, `module:callable` for torch, else the name of a network that
torchvision or timm has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sepconv_bench import files
from sepconv_bench.errors import InputError
from sepconv_bench.model.scanned import Scanned

_FORMS = (
    "a model is an .onnx or .tflite file, a torch `module:function_or_class`, or the name of a network of torchvision or timm"
)
_FILES = (".onnx", ".tflite")


def read(model: Any, sizes: tuple[int, ...] | None = None) -> Scanned:
    """The convolutions of a model: a path, a name, or a torch module. `sizes` are those of its input, (batch, channels, height,
    width), for what does not say its own. InputError in one line where it cannot be read."""
    if not isinstance(model, str | Path):
        from sepconv_bench.network.readers.torch import read_module

        return read_module(model, type(model).__name__, sizes)
    text, path = str(model), Path(model)
    if path.suffix.lower() in _FILES:
        if not path.is_file():
            raise InputError(f"there is no file {text}")
        files.refuse_pointer(path)
        if path.suffix.lower() == ".onnx":
            from sepconv_bench.network.readers.onnx import read_onnx

            return read_onnx(path, sizes)
        from sepconv_bench.network.readers.tflite import read_tflite

        return read_tflite(path, sizes)
    if path.exists() or "/" in text or path.suffix.lower() in (".pt", ".pth", ".pb", ".h5", ".keras", ".safetensors"):
        raise InputError(f"{text} is no model that can be read; {_FORMS}")
    from sepconv_bench.network.readers import torch

    return torch.read_named(text, sizes) if ":" in text else torch.read_known(text, sizes)


def parse_sizes(text: str) -> tuple[int, ...]:
    """The sizes of an input, as 1,3,224,224."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 0 < int(word[:10]) < 2**31 for word in words):
        raise InputError(f"--input is {text!r}; it takes sizes as 1,3,224,224: batch, channels, height, width")
    return tuple(map(int, words))


def installed(module: str, extra: str, what: str) -> None:
    """InputError that says what to install, where that module is not there."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise InputError(f"{what} takes {module}, which is not installed; pip install 'sepconv-bench[{extra}]' brings it")
