"""machine: the fingerprint and the ceilings."""

from __future__ import annotations

from typing import Any

import click

from sepconv_bench import gpu
from sepconv_bench.cli.options import device_option


@click.command()
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to measure with.  [default: physical cores]")
@device_option
@click.option("--doctor", is_flag=True, help="Say what makes measurements here worse than they need be, and what would help.")
def machine(threads: int | None, device: str, doctor: bool) -> None:
    """This machine's fingerprint and its ceilings: FMA peak, and copy bandwidth by footprint."""
    from sepconv_bench.measure.machine import allowed_threads

    if doctor:
        from sepconv_bench.measure.doctor import diagnose

        found = diagnose(allowed_threads(threads))
        for advice in found or ["nothing was found that would disturb measurements here"]:
            click.echo(advice)
        return

    import msgspec

    from sepconv_bench.run.kernel_process import measure_machine

    if device == "cuda":
        gpu.require_for_timing()
    fingerprint, ceilings = measure_machine(allowed_threads(threads), device)
    for name, value in msgspec.to_builtins(fingerprint).items():
        if value is not None:
            click.echo(f"{name:18}{_flat(value)}")
    click.echo(f"{'FMA peak':18}{ceilings.peak.value / 1e9:.1f} GFLOP/s, vectors of {ceilings.lanes} floats")
    for level in ceilings.levels:
        click.echo(f"{'copy':18}{level.footprint >> 10:>8} KiB {level.bandwidth.value / 1e9:8.1f} GB/s")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_flat, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
