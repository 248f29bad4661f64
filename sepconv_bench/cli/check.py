"""check: every kernel against the reference."""

from __future__ import annotations

import sys

import click

from sepconv_bench.cli.options import kernel_options


@click.command()
@kernel_options
def check(kernels: str | None, plugins: tuple[str, ...], threads: int | None, timeout: float, device: str) -> None:
    """Compare every kernel with the float64 reference on awkward shapes; exit 1 if one is wrong."""
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run import checking
    from sepconv_bench.run.kernel_process import WorkerSettings

    settings = WorkerSettings(allowed_threads(threads), kernels, plugins, timeout, device)
    checked: dict[str, list[checking.CheckResult]] = {}
    for one in checking.check(settings):
        checked.setdefault(one.outcome.kernel.name, []).append(one)
    wrong = 0
    for kernel, found in checked.items():
        bad = [one for one in found if one.outcome.status not in ("ok", "unsupported")]
        right = [one.outcome.error or 0.0 for one in found if one.outcome.status == "ok"]
        wrong += bool(bad)
        worst = f", worst error {max(right):.2f} of what float32 rounding explains" if right else ""
        click.echo(f"{'WRONG' if bad else 'right'}  {kernel}: {len(right)} of {len(checking.AWKWARD)} shapes{worst}")
        for one in bad:
            click.echo(f"       {one.shape}: {one.outcome.reason}")
    click.echo(f"{len(checked) - wrong} kernels right, {wrong} wrong")
    if wrong:
        sys.exit(1)
