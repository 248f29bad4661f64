"""What a worker does beside its jobs, in whatever protocol: it answers until its parent hangs up, and does not outlive it.

Nothing but Python's own library is imported here: `revision_worker` loads this file into the process of an older revision.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def serve(descriptor: int, answer: Callable[[bytes], bytes]) -> None:
    """Answer each job that comes over the socket, until the parent hangs up."""
    die_with_parent()
    _obey_the_parent_only()
    connection = Connection(descriptor)
    while True:
        try:
            job = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(answer(job))


def die_with_parent() -> None:
    """A supervisor that is killed must not leave a worker behind, least of all one that loops for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Should memory run out, this process goes first and not the one that keeps the results.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _obey_the_parent_only() -> None:
    """A signal for all, as when the machine is shut down, is not for this process: the supervisor would take it for a crash of
    the kernel that runs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)  # and not SIG_IGN, which processes of the kernels would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
