"""machine: the fingerprint and the ceilings."""

from __future__ import annotations

from typing import Any

import click

from sepconv_bench import gpu
from sepconv_bench.cli.messages import print_json
from sepconv_bench.cli.options import device_option, json_option


@click.command()
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to measure with.  [default: physical cores]")
@device_option
@click.option("--doctor", is_flag=True, help="Say what is good and what is bad here for measuring, and how to mend it.")
@json_option
def machine(threads: int | None, device: str, doctor: bool, as_json: bool) -> None:
    """Describe this machine, measure its peak.

    Ceilings are the multiply-add (FMA) peak, and the bandwidth of a copy by its footprint.

    \b
    Examples:
      sepconv-bench machine
      sepconv-bench machine --doctor
      sepconv-bench machine --device cuda --json
    """
    from sepconv_bench.measure.machine import allowed_threads

    if doctor:
        from sepconv_bench.measure.doctor import diagnose

        found = diagnose(allowed_threads(threads))
        if as_json:
            print_json(found)
            return
        for finding in found:
            click.echo(f"{'good' if finding.good else 'BAD '}  {finding.says}")
        good = sum(finding.good for finding in found)
        click.echo(f"{good} of {len(found)} are good for measuring")
        return

    import msgspec

    from sepconv_bench.run.kernel_process import measure_machine

    if device == "cuda":
        gpu.require_for_timing()
    fingerprint, ceilings = measure_machine(allowed_threads(threads), device)
    if as_json:
        print_json({"fingerprint": fingerprint, "ceilings": ceilings})
        return
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
