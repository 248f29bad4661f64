"""All cells through all hosts: who has what, what has come back, and what a lost worker leaves to others."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from distributed import CancelledError, Client, KilledWorker, wait

from sepconv_bench.measure.records import Ceilings
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.store import Results
from sepconv_bench.run import sweep
from sepconv_bench.run.describe import Progress, describe_ceilings, describe_cell
from sepconv_bench.run.fleet import host as on_host
from sepconv_bench.run.fleet.cluster import CELL, connected, offering, stops_held, unfit, workers_of
from sepconv_bench.run.fleet.hosts import (
    Host,
    introduced,
    refusal,
    refuse_other_versions,
    refuse_unlike,
    refuse_untaken_by_a_host,
)
from sepconv_bench.run.fleet.records import CellDone, CellOrder, Order, decode, encode
from sepconv_bench.run.machines import refuse_other_caches, refuse_other_machine
from sepconv_bench.run.sweep import Settings

LOSSES = 3  # of workers in the middle of one cell, after which it is not tried again
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 30.0  # in which a lost worker may come back when no other can go on: Dask's nanny restarts one in a few
_FETCH_SECONDS = 10.0


@dataclass
class GridProgress:
    """A grid on its way into one results file, measured by one host or shared by several."""

    results: Results
    missing: deque[ConvShape]
    faults: Counter[str] = field(default_factory=Counter)
    losses: Counter[ConvShape] = field(default_factory=Counter)
    given_up: list[ConvShape] = field(default_factory=list)


def measure(
    scheduler: str,
    settings: Settings,
    threads: int | None,
    share: bool,
    opened: Callable[[str], Results],
    progress: Callable[[Progress], None],
) -> list[str]:
    """Measure the cells that the results do not hold yet on every host that offers to, or have alike hosts share them.

    `opened` gives the results by the machine's name, made unique by the host's where each has its own; it is called once all
    hosts have answered: InputError before that leaves everything as it was. Gives a line for each results file that lacks cells
    in the end, because a host was lost for good.
    """
    order = encode(Order.of(settings, threads))
    with stops_held(), connected(scheduler) as client:
        workers = offering(client, scheduler)
        total = len(settings.grid.shapes) * (1 if share else len(workers))
        progress(Progress(0, total, f"hosts that offer to measure: {len(workers)}; asking what they are"))
        hosts = introduced(client, workers, order)
        for host in hosts:
            progress(Progress(0, total, f"{host.name}: {host.machine.describe()}"))
        refuse_other_versions(hosts)
        if share:
            refuse_unlike(hosts)
        refuse_untaken_by_a_host(hosts, settings.grid.shapes)
        with ExitStack() as stack:
            grids: dict[str, GridProgress] = {}
            for host in hosts[:1] if share else hosts:
                results = stack.enter_context(opened(host.machine.machine + ("" if share else f"-{host.name}")))
                refuse_other_machine(results, host.machine)
                refuse_other_caches(results, settings.cold)
                missing = sweep.missing_shapes(settings.grid.shapes, host.kernels, results)
                grids[host.name] = GridProgress(results, deque(missing))
            if share:
                grids = {host.name: grids[hosts[0].name] for host in hosts}
            return _Coordinator(client, settings, order, hosts, grids, total, progress).through()


class _Coordinator:
    """All cells of all grids through all hosts."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        order: bytes,
        hosts: Sequence[Host],
        grids: Mapping[str, GridProgress],
        total: int,
        progress: Callable[[Progress], None],
    ) -> None:
        self._client, self._settings, self._order = client, replace(settings, plugins=()), order
        self._hosts, self._grids, self._total, self._progress = hosts, grids, total, progress
        self._active = time.monotonic()

    def through(self) -> list[str]:
        if not any(grid.missing for grid in self._grids.values()):
            self._log(f"all {self._total} cells are there already; nothing to measure")
        try:
            while self._goes_on():
                self._step()
        finally:
            # Ctrl-C, or an error: whoever still measures must stop.
            with suppress(OSError, TimeoutError, CancelledError):
                self._client.cancel([host.sent for host in self._hosts if host.sent])
        return self._lacking()

    @cached_property
    def _own_grids(self) -> list[GridProgress]:
        """Each grid once, however many hosts share it."""
        return list({id(grid): grid for grid in self._grids.values()}.values())

    def _goes_on(self) -> bool:
        if any(host.sent for host in self._hosts):
            self._active = time.monotonic()
            return True
        return any(grid.missing for grid in self._own_grids) and time.monotonic() < self._active + _GRACE_SECONDS

    def _step(self) -> None:
        there = workers_of(self._client)
        for host in self._hosts:
            if host.address not in there:
                self._lost(host, there)
            if host.address in there and not host.sent:
                self._send(host)
        sent = [host.sent for host in self._hosts if host.sent]
        if not sent:
            time.sleep(_POLL_SECONDS)
            return
        with suppress(TimeoutError, CancelledError):
            wait(sent, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
        for host in self._hosts:
            if host.sent and host.sent.done():
                self._take(host)

    def _send(self, host: Host) -> None:
        grid = self._grids[host.name]
        if not grid.missing:
            return
        limits: dict[str, Any] = {"workers": [host.address], "resources": {CELL: 1}, "pure": False}
        if host.run is None:
            host.shape = None
            host.sent = self._client.submit(on_host.ceilings, self._order, **limits)
            return
        host.shape = grid.missing.popleft()
        asked = encode(CellOrder(host.shape, host.kernels, dict(grid.faults)))
        host.sent = self._client.submit(on_host.cell, self._order, asked, **limits)

    def _take(self, host: Host) -> None:
        """Record what has come back; what can no longer be fetched is lost with its worker."""
        assert host.sent is not None
        try:
            came = host.sent.result(timeout=_FETCH_SECONDS)
        except TimeoutError:
            return
        except (KilledWorker, CancelledError):
            self._put_back(host)
            return
        except Exception as error:
            host.sent = None
            raise refusal(host.name, error) from error
        host.sent = None
        grid = self._grids[host.name]
        if host.shape is None:
            ceilings = decode(came, Ceilings)
            stored = sweep.run_settings(self._settings, host.kernels, host.machine.threads)
            host.run = grid.results.add_run(host.machine, stored, ceilings)
            self._log(f"{host.name}: {describe_ceilings(ceilings)}")
            return
        done = decode(came, CellDone)
        grid.faults.update(done.faults)
        grid.results.add_cell(host.run or 0, done.cell)
        run = next(run for run in grid.results.runs() if run.number == host.run)
        self._log(f"{host.name}: {describe_cell(Cell(done.cell, run))}")

    def _lost(self, host: Host, there: Mapping[str, dict]) -> None:
        """Put back what a lost worker had in hands, and look whether the host has another one by now."""
        if host.sent:
            self._client.cancel([host.sent])
            self._put_back(host)
        for address, worker in there.items():
            if worker["host"] == host.ip and not unfit(worker):
                host.address = address

    def _put_back(self, host: Host) -> None:
        grid, shape, host.sent = self._grids[host.name], host.shape, None
        if shape is None:
            self._log(f"{host.name}: its worker was lost")
            return
        grid.losses[shape] += 1
        if grid.losses[shape] < LOSSES:
            grid.missing.appendleft(shape)
            self._log(f"{host.name}: its worker was lost; {shape} is measured again")
        else:
            grid.given_up.append(shape)
            self._log(f"{host.name}: its worker was lost; {shape} has now lost {LOSSES}, and is left out")

    def _lacking(self) -> list[str]:
        lines = []
        for grid in self._own_grids:
            count = len(grid.missing) + len(grid.given_up)
            if count:
                names = [host.name for host in self._hosts if self._grids[host.name] is grid]
                lines.append(f"{' and '.join(names)}: {count} cells lost with the worker")
        return lines

    def _log(self, line: str) -> None:
        under_way = sum(host.shape is not None for host in self._hosts if host.sent)
        left = sum(len(grid.missing) + len(grid.given_up) for grid in self._own_grids) + under_way
        self._progress(Progress(self._total - left, self._total, line))
