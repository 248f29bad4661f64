"""The Dask cluster as the run sees it: its scheduler, the workers that offer to measure, and Ctrl-C between two requests."""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from distributed import CancelledError, Client

from sepconv_bench.errors import InputError, Stopped

CELL = "cell"  # the resource that a Dask worker offers: one cell at a time
_CONNECT_SECONDS = 10

_stops: list[int] = []  # signals that have come while they were held


@contextmanager
def stops_held() -> Iterator[None]:
    """Within a call of Dask's Ctrl-C would leave half a request behind, and a client that never closes: it is obeyed between
    two of them, and but once."""
    kept = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                kept[number] = signal.signal(number, lambda number, frame: _stops.append(number))
    try:
        yield
        _obey_stops()
    finally:
        if not _stops:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _obey_stops() -> None:
    if _stops:
        raise Stopped


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler; InputError if none answers within seconds."""
    for name in ("distributed", "tornado.application"):  # what they would say is said here, in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r} ({first_line(error)}); `dask scheduler` starts one and says where"
        ) from error
    with client:
        yield client


def workers_of(client: Client) -> dict[str, dict]:
    """Every worker of the scheduler by its address; InputError where the scheduler has gone."""
    found: dict = {}
    _obey_stops()
    with suppress(OSError, TimeoutError, CancelledError):
        # Not `client.scheduler_info`: it answers from where the client itself notes, every 2 s, a cluster without its workers.
        if client.status == "running":
            found = client.sync(client.scheduler.identity, n_workers=-1)
    if client.status != "running" or "workers" not in found:
        raise InputError("the Dask scheduler was lost on the way; what had come back is kept, and --resume goes on")
    return found["workers"]


def offering(client: Client, scheduler: str) -> dict[str, dict]:
    """The workers that cells can go to, by address; InputError where there is none, or one cannot measure undisturbed."""
    start = f"`dask worker {scheduler} --nworkers 1 --nthreads 1 --resources {CELL}=1 --memory-limit 0`"
    found = {address: worker for address, worker in workers_of(client).items() if CELL in worker["resources"]}
    if not found:
        raise InputError(f"no worker of the scheduler at {scheduler} offers to measure; start one on each host: {start}")
    for address, worker in found.items():
        if reason := unfit(worker):
            raise InputError(f"the worker at {address} {reason}; start it as {start}")
    hosts = Counter(worker["host"] for worker in found.values())
    ip, count = hosts.most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} workers offer to measure on the host {ip}, and would disturb each other; leave one there")
    return found


def unfit(worker: dict) -> str:
    """Why a worker cannot have cells, or nothing."""
    if worker["resources"].get(CELL) != 1:
        return f"offers {worker['resources'].get(CELL, 0):g} cells at a time, where one would disturb the other"
    return "" if worker["nthreads"] == 1 else f"runs {worker['nthreads']} tasks at a time, which would disturb what is timed"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
