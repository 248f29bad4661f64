"""list: the kernels and the grids."""

from __future__ import annotations

import click

from sepconv_bench.cli.options import plugin_option
from sepconv_bench.model.grids import GRIDS


@click.command("list")
@plugin_option
def list_(plugins: tuple[str, ...]) -> None:
    """The kernels and the grids there are."""
    from sepconv_bench.kernels import registry

    for plugin in plugins:
        registry.load_plugin(plugin)
    click.echo("kernels")
    for name in registry.kernel_names(missing=True):
        kernel = registry.get_kernel(name)
        line = kernel.missing or str(kernel.bind.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"  {name:34}{line}".rstrip())
    click.echo("grids")
    for grid in GRIDS.values():
        click.echo(f"  {grid.name:12}{len(grid.shapes):4} cells: {grid.shows}")
