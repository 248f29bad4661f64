"""The process in which kernels are checked and timed, as those see it who send it cells: sweeps, checks, networks, a fleet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sepconv_bench.errors import InputError
from sepconv_bench.measure.clocks import pool_environment
from sepconv_bench.measure.environment import refuse_environment
from sepconv_bench.measure.records import Ceilings, Fingerprint
from sepconv_bench.run import protocol
from sepconv_bench.run.supervisor import Program, Supervisor, WorkerError

CEILING_SECONDS = 2.0
_OWN_SECONDS = 300.0  # of silence while no kernel runs: importing Numba, the reference of a large cell, the ceilings

_Wanted = TypeVar("_Wanted")


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is started with. `kernels`: comma-separated patterns, None for all of the device.

    `timeout`: seconds for which a kernel may be silent. `cold`: a launch finds nothing of its own in the caches.
    """

    threads: int = 1
    kernels: str | None = None
    plugins: tuple[str, ...] = ()
    timeout: float = 60.0
    device: str = "cpu"
    cold: bool = False


class KernelProcess:
    """A worker, started again by itself after a fault. `open_kernel_process` gives one.

    `wanted` is as a supervisor's; `unset` names environment variables of this process that are not for the kernels.
    """

    def __init__(self, settings: WorkerSettings, wanted: Callable[[], bool], unset: Collection[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        program = Program(
            # -P: a file of the user's that happens to be called coverage.py or numba.py is not ours to import.
            (sys.executable, "-P", "-m", "sepconv_bench.run.worker"),
            environment | pool_environment(settings.threads),
            kernel_seconds=settings.timeout,
            own_seconds=max(_OWN_SECONDS, settings.timeout),
        )
        plugins = tuple(os.fsencode(Path(plugin).absolute()) for plugin in settings.plugins)
        self._start = protocol.Start(plugins, settings.kernels, settings.device, settings.cold)
        self._supervisor: Supervisor[protocol.Job, protocol.Answer] = Supervisor(
            program, protocol.encode, protocol.decode_answer, wanted
        )

    def __enter__(self) -> KernelProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.close()

    def start(self) -> protocol.Started:
        """Start the process anew; gives the machine's fingerprint and the kernels that were chosen."""
        self._supervisor.start()
        return self._asked(self._start, protocol.Started)

    def ask(self, job: protocol.Job, wanted: type[_Wanted]) -> _Wanted:
        """The answer to a job, of the kind wanted. WorkerError as a supervisor's, InputError where the worker refuses."""
        if not self._supervisor.running:
            self.start()
        return self._asked(job, wanted)

    def _asked(self, job: protocol.Job, wanted: type[_Wanted]) -> _Wanted:
        answer = self._supervisor.ask(job)
        if isinstance(answer, protocol.Refused):
            raise InputError(answer.reason)
        if isinstance(answer, protocol.Failed):
            raise WorkerError("", answer.reason)
        assert isinstance(answer, wanted), f"{type(answer).__name__} came as the answer to {type(job).__name__}"
        return answer


@contextmanager
def open_kernel_process(
    settings: WorkerSettings, wanted: Callable[[], bool] = lambda: True, unset: Collection[str] = ()
) -> Iterator[KernelProcess]:
    """A worker of these settings; InputError where it dies without a kernel having run, or where the environment makes kernels
    something else than what anybody would run."""
    refuse_environment()
    with KernelProcess(settings, wanted, unset) as process, faults_refused():
        yield process


@contextmanager
def faults_refused() -> Iterator[None]:
    """InputError for a WorkerError that is no kernel's of a cell."""
    try:
        yield
    except WorkerError as fault:
        whose = fault.kernel or "the worker, while it started or measured the machine's ceilings"
        raise InputError(f"{whose}: {fault.reason}") from fault


def measure_ceilings(process: KernelProcess, seed: int = 0, seconds: float = CEILING_SECONDS) -> Ceilings:
    """The ceilings of the worker's machine."""
    return process.ask(protocol.MeasureCeilings(seed, seconds), protocol.CeilingsMeasured).ceilings


def measure_machine(threads: int, device: str = "cpu") -> tuple[Fingerprint, Ceilings]:
    """This machine's fingerprint and its ceilings, as measured in a worker of so many threads."""
    with open_kernel_process(WorkerSettings(threads, device=device)) as process:
        return process.start().machine, measure_ceilings(process)
