"""Variables of the environment under which a timing means nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sepconv_bench.errors import InputError

_OFF = ("", "0")
# Each with the values that change nothing, and what the others do.
_CHANGING = {
    "NUMBA_DISABLE_JIT": (_OFF, "no kernel is compiled"),
    "NUMBA_BOUNDSCHECK": (_OFF, "every access of an array is checked"),
    "NUMBA_DEBUG": (_OFF, "Numba writes down what it compiles"),
    "NUMBA_DEBUG_JIT": (_OFF, "Numba writes down what it compiles"),
    "NUMBA_DEBUGINFO": (_OFF, "kernels are compiled for a debugger"),
    "NUMBA_DEBUG_NRT": (_OFF, "every allocation is written down"),
    "NUMBA_ENABLE_PROFILING": (_OFF, "kernels are compiled for a profiler"),
    "NUMBA_OPT": (("", "3", "max"), "kernels are compiled with fewer optimisations"),
    "OMP_THREAD_LIMIT": (("",), "fewer threads may run than are reported"),
    "OMP_DYNAMIC": (("", "0", "false"), "OpenMP runs fewer threads than are reported where the machine has other work"),
    "COVERAGE_PROCESS_START": (("",), "every line of Python is counted"),
    "COVERAGE_PROCESS_CONFIG": (("",), "every line of Python is counted"),
}


def refuse_environment(environ: Mapping[str, str] = os.environ) -> None:
    """InputError where a variable makes kernels something else than what anybody would run."""
    for name, (harmless, effect) in _CHANGING.items():
        value = environ.get(name, "").strip()
        if value.lower() not in harmless:
            raise InputError(f"{name} is {value!r} in the environment: {effect}, and a time would mean nothing; unset it")
