"""list: the kernels and the grids."""

from __future__ import annotations

import sys

import click

from sepconv_bench.cli.messages import print_json
from sepconv_bench.cli.options import json_option, plugin_option
from sepconv_bench.model.grids import GRIDS


@click.command("list")
@plugin_option
@json_option
def list_(plugins: tuple[str, ...], as_json: bool) -> None:
    """List the kernels and the grids.

    A kernel whose library is not installed says what to install.

    \b
    Examples:
      sepconv-bench list
      sepconv-bench list --plugin mykernels.py --json
    """
    from sepconv_bench.kernels import registry

    for plugin in plugins:
        registry.load_plugin(plugin)
    kernels = {}
    for name in registry.kernel_names(missing=True):
        kernel = registry.get_kernel(name)
        about = kernel.bind.__doc__ or sys.modules[kernel.bind.__module__].__doc__ or ""
        kernels[name] = kernel.missing or about.strip().partition("\n")[0]
    if as_json:
        there = {grid.name: {"cells": len(grid.shapes), "shows": grid.shows} for grid in GRIDS.values()}
        print_json({"kernels": kernels, "grids": there})
        return
    click.echo("kernels")
    for name, line in kernels.items():
        click.echo(f"  {name:34}{line}".rstrip())
    click.echo("grids")
    for grid in GRIDS.values():
        click.echo(f"  {grid.name:12}{len(grid.shapes):4} cells: {grid.shows}")
