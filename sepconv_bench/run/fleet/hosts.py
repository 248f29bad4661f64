"""The hosts of a run: what each says it is, and whether their cells belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, wait
from msgspec.structs import replace

from sepconv_bench.errors import InputError
from sepconv_bench.measure.machine import commit, own_version
from sepconv_bench.measure.records import Fingerprint
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.run.fleet import host as on_host
from sepconv_bench.run.fleet.cluster import CELL, first_line, workers_of
from sepconv_bench.run.fleet.records import Introduction, decode
from sepconv_bench.run.machines import differences
from sepconv_bench.run.sweep import refuse_untaken

_POLL_SECONDS = 1.0


@dataclass
class Host:
    """A host, its Dask worker's address, and what it does now: `sent` is under way, of `shape`, or of the ceilings if None."""

    name: str
    ip: str
    address: str
    machine: Fingerprint
    kernels: tuple[Declaration, ...]
    run: int | None = None
    sent: Future | None = None
    shape: ConvShape | None = None


def introduced(client: Client, workers: Mapping[str, dict], order: bytes) -> list[Host]:
    """What each host is. A worker that was given a name names its host; else it is the host's own name."""
    limits = {"resources": {CELL: 1}, "pure": False}
    asked = {address: client.submit(on_host.introduce, order, workers=[address], **limits) for address in workers}
    hosts = []
    for address, future in asked.items():
        given = workers[address]["name"]
        while not future.done():
            with suppress(TimeoutError):
                wait([future], timeout=_POLL_SECONDS)
            if address not in workers_of(client):
                raise InputError(f"the worker {given} was lost before it had said what its host is")
        try:
            one = decode(future.result(), Introduction)
        except Exception as error:
            raise refusal(str(given), error) from error
        name = one.host if given == address else str(given)
        hosts.append(Host(name, workers[address]["host"], address, replace(one.machine, host=name), one.kernels))
    name, count = Counter(host.name for host in hosts).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} hosts are called {name}; give their workers a --name each")
    return sorted(hosts, key=lambda host: host.name)


def refuse_other_versions(hosts: Sequence[Host]) -> None:
    """InputError where a host runs another sepconv-bench than this one."""
    ours = (own_version(), commit())
    for host in hosts:
        theirs = (host.machine.versions.get("sepconv-bench"), host.machine.commit)
        if theirs != ours:
            versions = [
                f"{version or 'that is not installed'} ({of or 'not from a checkout'})" for version, of in (theirs, ours)
            ]
            raise InputError(
                f"{host.name} runs sepconv-bench {versions[0]}, and this is {versions[1]}; install the same on all hosts"
            )


def refuse_unlike(hosts: Sequence[Host]) -> None:
    """InputError where two hosts are not so alike that their cells belong into one grid."""
    first = hosts[0]
    for host in hosts[1:]:
        found: list[tuple[str, Any, Any]] = [*differences(first.machine, host.machine)]
        if host.kernels != first.kernels:
            names = [{kernel.name for kernel in one.kernels} for one in (first, host)]
            first_only, host_only = (", ".join(sorted(one)) or "none" for one in (names[0] - names[1], names[1] - names[0]))
            found.append(("kernels of its own", first_only, host_only))
        for what, one, other in found:
            raise InputError(
                f"--share needs hosts that are alike: {first.name} has {what} {one}, {host.name} has {other};"
                " --each measures the grid on every host"
            )


def refuse_untaken_by_a_host(hosts: Sequence[Host], shapes: Sequence[ConvShape]) -> None:
    """InputError where a host has no kernel that takes a dtype of the shapes."""
    for host in hosts:
        try:
            refuse_untaken(shapes, host.kernels)
        except InputError as error:
            raise refusal(host.name, error) from error


def refusal(name: str, error: Exception) -> InputError:
    """What a host has refused, or cannot do."""
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"
    return InputError(f"{name}: {text}")
