"""The main job, checks, networks, revisions and a fleet: a worker process, and the supervisor that survives it.

The room is also the function `sepconv_bench.run`: whoever imports a file of it puts the room in that name's place.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`sepconv_bench.api.run.run`, which stands above this room."""
        return import_module("sepconv_bench.api.run").run(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
