"""Machine code that is kept from process to process, so that a kernel is compiled once and not at every start.

Numba's own file cache is not enough: it does not see a change in an imported module (numba issue 1833), and it misses where a
function was made by another one. Here the key of what is kept holds the text of every module beside the function's own, the
arguments of the function that made it, its signature, the processor, and the versions and settings of the compiler.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import secrets
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from sepconv_bench import files
from sepconv_bench.errors import InputError

_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "FULL_TRACEBACKS")
_KEPT_DAYS = 30
_DIGEST = hashlib.sha256().digest_size
_saved: list[float] = []  # seconds that compiling took, of the code that was found


def compile_once(made: Dispatcher | Callable[..., Dispatcher]) -> Any:
    """Decorates a compiled function, or one that makes compiled functions from arguments whose repr tells all of them.

    Only what is called from Python needs it: the functions that it calls are part of its machine code.
    """
    if isinstance(made, Dispatcher):
        return _kept(made, ())

    @cache
    def make(*facts: object) -> Dispatcher:
        return _kept(made(*facts), facts)

    return make


def _kept(function: Any, facts: tuple[object, ...]) -> Any:
    function._cache = _Kept(function.py_func, facts)  # where numba's own cache would be
    return function


def folder() -> Path:
    """Where machine code is kept: NUMBA_CACHE_DIR, or the user's folder for caches."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given) / "sepconv-bench"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "sepconv-bench"


def seconds_saved() -> float:
    """How long compiling took, earlier, of all the code that this process has found kept."""
    return sum(_saved)


class _Kept(_Cache):
    """What a dispatcher asks before it compiles; the interface is that of numba's caches."""

    def __init__(self, function: Callable, facts: tuple[object, ...]) -> None:
        module = sys.modules[function.__module__]
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._facts = repr(facts)
        self._began = 0.0
        self._sources = _sources(Path(str(module.__file__)).parent)

    @property
    def cache_path(self) -> str:
        return str(folder() / self._sources)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """None where nothing is kept, or nothing that can be read: then it is compiled."""
        target_context.refresh()
        self._began = time.perf_counter()
        try:
            kept = self._file(sig, target_context.codegen()).read_bytes()
        except (OSError, RuntimeError):  # RuntimeError: a user without a home
            return None
        if hashlib.sha256(kept[_DIGEST:]).digest() != kept[:_DIGEST]:
            return None
        seconds, code = pickle.loads(kept[_DIGEST:])
        _saved.append(seconds)
        return CompileResult._rebuild(target_context, *code)

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        try:
            file = self._file(sig, data.codegen)
            if not file.parent.exists():
                _forget_old()
            file.parent.mkdir(parents=True, exist_ok=True)
            kept = dumps((time.perf_counter() - self._began, data._reduce()))
            files.write(file, hashlib.sha256(kept).digest() + kept)
        except (OSError, RuntimeError, InputError):  # a full or a read-only disk: it is compiled again next time
            return

    def enable(self) -> None:
        """Always is."""

    def disable(self) -> None:
        """Never is."""

    def flush(self) -> None:
        """A change of the sources does it."""

    def _file(self, sig: Any, codegen: Any) -> Path:
        settings = tuple(getattr(numba.config, name, None) for name in _SETTINGS)
        versions = (numba.__version__, llvmlite.__version__, sys.version_info[:2])
        key = repr((self._name, self._facts, str(sig), codegen.magic_tuple(), versions, settings))
        return Path(self.cache_path) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.code"


@cache
def _sources(beside: Path) -> str:
    """A digest of all modules of a folder, and of this one."""
    digest = hashlib.sha256()
    for file in [Path(__file__), *sorted(beside.glob("*.py"))]:
        text = file.read_bytes()
        digest.update(f"{file.name} {len(text)} ".encode() + text)
    return digest.hexdigest()[:32]


def _number_functions() -> None:
    """From a number that no other process has. Numba starts from 1 in each, and names machine code after function, number and
    types: where code of two processes met in a third, of two functions of one name the first loaded was called for both."""
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(48))


_number_functions()
os.register_at_fork(after_in_child=_number_functions)


def _forget_old() -> None:
    """Remove what nobody has added to for a while: code of sources that have changed since."""
    for old in folder().glob("*/"):
        if time.time() - old.stat().st_mtime > _KEPT_DAYS * 86400:
            for file in old.glob("*.code"):
                file.unlink(missing_ok=True)
