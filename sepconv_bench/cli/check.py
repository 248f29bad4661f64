"""check: every kernel against the reference."""

from __future__ import annotations

import sys

import click

from sepconv_bench.cli.messages import print_json
from sepconv_bench.cli.options import json_option, kernel_options


@click.command()
@kernel_options
@json_option
def check(
    kernels: str | None, plugins: tuple[str, ...], threads: int | None, timeout: float, device: str, as_json: bool
) -> None:
    """Check every kernel against a float64 reference.

    The shapes are awkward ones; nothing is timed. Exit code 1 if a kernel is wrong, crashes or hangs.

    \b
    Examples:
      sepconv-bench check
      sepconv-bench check --kernels 'cpu.*.tiled,cpu.*.fused'
      sepconv-bench check --plugin mykernels.py --kernels cpu.separable.einsum
    """
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run import checking
    from sepconv_bench.run.kernel_process import WorkerSettings

    settings = WorkerSettings(allowed_threads(threads), kernels, plugins, timeout, device)
    checked: dict[str, list[checking.CheckResult]] = {}
    for one in checking.check(settings):
        checked.setdefault(one.outcome.kernel.name, []).append(one)
    summaries = [checking.summarize(kernel, found) for kernel, found in checked.items()]
    wrong = sum(bool(summary.wrong) for summary in summaries)
    if as_json:
        print_json(summaries)
    else:
        for summary in summaries:
            worst = "" if summary.worst_error is None else f", worst error {summary.worst_error:.2f} of what rounding explains"
            click.echo(
                f"{'WRONG' if summary.wrong else 'right'}  {summary.kernel}: {summary.right} of {summary.shapes} shapes{worst}"
            )
            for shape, reason in summary.wrong.items():
                click.echo(f"       {shape}: {reason}")
        click.echo(f"{len(summaries) - wrong} kernels right, {wrong} wrong")
    if wrong:
        sys.exit(1)
