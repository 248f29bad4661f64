"""What goes to a host and what comes back: a record each, msgpack on the way, checked where it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Fingerprint, Rules
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.records import CellMeasured
from sepconv_bench.run.kernel_process import WorkerSettings
from sepconv_bench.run.sweep import Settings

_T = TypeVar("_T")


class Plugin(Struct, frozen=True):
    """A plug-in's file name, and what is in it."""

    name: str
    text: str


class Order(Struct, frozen=True):
    """What every host is asked to measure with. `threads`: None for the host's physical cores."""

    kernels: str | None
    plugins: tuple[Plugin, ...]
    threads: int | None
    rules: Rules
    timeout: float
    seed: int
    device: str
    cold: bool

    @classmethod
    def of(cls, settings: Settings, threads: int | None) -> Order:
        """InputError where a plug-in cannot be read."""
        try:
            plugins = tuple(Plugin(Path(file).name, Path(file).read_text(encoding="utf-8")) for file in settings.plugins)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"a plug-in cannot be read: {error}") from error
        asked = (settings.rules, settings.timeout, settings.seed, settings.device, settings.cold)
        return cls(settings.kernels, plugins, threads, *asked)

    def worker_settings(self, threads: int, plugins: tuple[str, ...]) -> WorkerSettings:
        """On a host, where the plug-ins are these files."""
        return WorkerSettings(threads, self.kernels, plugins, self.timeout, self.device, self.cold)


class Introduction(Struct, frozen=True):
    """A host's own name, its machine, and the kernels that were chosen."""

    host: str
    machine: Fingerprint
    kernels: tuple[Declaration, ...]


class CellOrder(Struct, frozen=True):
    """One cell. `faults`: how often a kernel has brought a worker down, by its name."""

    shape: ConvShape
    kernels: tuple[Declaration, ...]
    faults: dict[str, int]


class CellDone(Struct, frozen=True):
    """A cell, and the faults that came while it was measured."""

    cell: CellMeasured
    faults: dict[str, int]


def encode(record: Struct) -> bytes:
    """InputError where a text of the user's is in no encoding."""
    try:
        return msgspec.msgpack.encode(record)
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r} is no text") from error


def decode(data: bytes, of: type[_T]) -> _T:
    """InputError where it is no such record."""
    try:
        return msgspec.msgpack.decode(data, type=of)
    except ValueError as error:
        raise InputError(f"what came is no {of.__name__} of this sepconv-bench: {error}") from error
