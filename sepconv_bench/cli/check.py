"""check: every kernel against the reference."""

from __future__ import annotations

import sys

import click

from sepconv_bench.cli.options import kernel_options
from sepconv_bench.model.grids import Grid


@click.command()
@kernel_options
def check(kernels: str | None, plugins: tuple[str, ...], threads: int | None, timeout: float, device: str) -> None:
    """Compare every kernel with the float64 reference on awkward shapes; exit 1 if one is wrong."""
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run.sweep import AWKWARD, Settings
    from sepconv_bench.run.sweep import check as checked

    settings = Settings(
        Grid("awkward", "", AWKWARD), kernels, plugins, allowed_threads(threads), timeout=timeout, device=device
    )
    verdicts: dict[str, list] = {}
    for verdict in checked(settings):
        verdicts.setdefault(verdict.kernel, []).append(verdict)
    wrong = 0
    for kernel, found in verdicts.items():
        bad = [verdict for verdict in found if verdict.status not in ("ok", "unsupported")]
        right = [verdict.error for verdict in found if verdict.status == "ok"]
        wrong += bool(bad)
        worst = f", worst error {max(right):.2f} of what float32 rounding explains" if right else ""
        click.echo(f"{'WRONG' if bad else 'right'}  {kernel}: {len(right)} of {len(AWKWARD)} shapes{worst}")
        for verdict in bad:
            click.echo(f"       {verdict.shape}: {verdict.reason}")
    click.echo(f"{len(verdicts) - wrong} kernels right, {wrong} wrong")
    if wrong:
        sys.exit(1)
