"""A process that may crash, hang or eat the memory, and whoever asks it: jobs go over a socket, with a deadline for each.

A supervisor knows nothing of what it carries: how a job becomes bytes, and bytes an answer, is a parameter. What
`decode` refuses with a ValueError is no answer.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO, Generic, TypeVar

_POLL_SECONDS = 1.0  # rarely: this process shares the cores with what is being timed
_LAST_SECONDS = 5.0  # in which a process that has closed its socket must have ended

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")


class WorkerError(Exception):
    """The worker died, fell silent, or failed at its own part. `kernel` is whose code ran then; empty where it was the suite's.

    `exit_code`: of a worker that died, negative for a signal. `last_line`: of its standard error, where that is kept.
    """

    def __init__(self, kernel: str, reason: str, exit_code: int | None = None, last_line: str = "") -> None:
        super().__init__(reason)
        self.kernel, self.reason, self.exit_code, self.last_line = kernel, reason, exit_code, last_line


class UnwantedError(Exception):
    """Whoever asked for this no longer waits for it."""


@dataclass(frozen=True)
class Program:
    """What the process runs: a command, to which the descriptors of its socket and of its markers are added.

    `kernel_seconds` and `own_seconds`: how long it may be silent while a kernel runs, and while none does. With `keeps_errors`
    what it writes to standard error is kept for the message about its death; else it goes where ours goes.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    kernel_seconds: float
    own_seconds: float
    keeps_errors: bool = False


class Supervisor(Generic[_Job, _Answer]):
    """Starts the process, asks it, and ends it. Close it, or use it in a `with`.

    The worker writes who is running into a small file, its marker, before anything of a kernel runs: of a worker that is dead
    or silent it says whose fault it was. `wanted` is asked every second while a job runs: once it says no, the process is ended
    and UnwantedError raised.
    """

    def __init__(
        self,
        program: Program,
        encode: Callable[[_Job], bytes],
        decode: Callable[[bytes], _Answer],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._program, self._encode, self._decode, self._wanted = program, encode, decode, wanted
        self._marker: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the supervisor)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Supervisor[_Job, _Answer]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start the process, after the end of one that runs."""
        self.stop()
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self._marker.fileno())
        kept = self._program.keeps_errors
        os.ftruncate(self._errors.fileno(), 0)
        with theirs, _signals_held():
            # A session of its own: Ctrl-C is for us, who then end the worker. Standard output stays ours.
            self._process = subprocess.Popen(
                [*self._program.command, *map(str, descriptors)],
                env=self._program.environment,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if kept else _standard_error(),
                stderr=self._errors if kept else None,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())

    def close(self) -> None:
        """End the process for good."""
        self.stop()
        self._marker.close()
        self._errors.close()

    def stop(self) -> None:
        """End the process, if one runs; it may be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, job: _Job) -> _Answer:
        """The worker's answer to a job; WorkerError where it dies or is silent for too long, and then it is ended."""
        self.send(job)
        return self.receive()

    def send(self, job: _Job) -> None:
        """Ask without waiting; the next that is received is the answer."""
        assert self._connection is not None
        data = self._encode(job)
        os.ftruncate(self._marker.fileno(), 0)
        try:
            self._connection.send_bytes(data)
        except OSError:
            raise self._death() from None

    def receive(self) -> _Answer:
        assert self._connection is not None
        try:
            self._wait(self._connection)
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None
        try:
            return self._decode(data)
        except ValueError as error:
            kernel = self._who_runs()
            self.stop()
            raise WorkerError(kernel, f"its process gave an answer that cannot be read: {error}") from error

    def _wait(self, connection: Connection) -> None:
        seen, since = self._mark(), time.monotonic()
        limits = self._program
        while not connection.poll(min(_POLL_SECONDS, limits.kernel_seconds)):
            if not self._wanted():
                self.stop()
                raise UnwantedError
            kernel = self._who_runs()
            seconds = limits.kernel_seconds if kernel else limits.own_seconds
            if self._mark() != seen:
                seen, since = self._mark(), time.monotonic()
            elif time.monotonic() - since > seconds:
                self.stop()
                raise WorkerError(kernel, f"it gave no result within {limits.kernel_seconds:g} s, and was ended")

    def _death(self) -> WorkerError:
        """What is known of a process that has hung up."""
        assert self._process is not None
        kernel = self._who_runs()
        try:
            code = self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its socket and goes on
            self._process.kill()
            code = self._process.wait()
        self.stop()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"it crashed its process with {name}" + " (out of memory?)" * (name == "SIGKILL")
        else:
            reason = f"it ended its process with exit code {code}"
        return WorkerError(kernel, reason, code, lines[-1] if lines else "")

    def _mark(self) -> bytes:
        return os.pread(self._marker.fileno(), 128, 0)

    def _who_runs(self) -> str:
        return self._mark().decode().strip("\0\n ").partition(" ")[2]


def _standard_error() -> int:
    """Of this process; that of a notebook is no file, and a worker's words are lost there."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


@contextmanager
def _signals_held() -> Iterator[None]:
    """Nothing stops us before we know the process that has just started, and it starts deaf: only we end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
