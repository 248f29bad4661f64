"""export: a table of the results."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sepconv_bench import files
from sepconv_bench.cli.options import File, folder_argument


@click.command()
@folder_argument
@click.option(
    "--table",
    type=click.Choice(["timings", "ratios", "why", "peers", "sums", "network", "layers", "samples"]),
    default="ratios",
    show_default=True,
)
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option("--output", type=File(), metavar="FILE", help="Into a file, not to standard output.")
def export(folder: Path | None, table: str, form: str, output: Path | None) -> None:
    """Write a table of the results in DIR: timings, ratios, why each is not what was promised, our kernels beside the peers,
    the sums over VGG-16 or Inception-V1 where every cell of their grids is there, MobileNet-V1's parts (network: each kernel's
    time, layers: side by side), or every sample behind the first five. DIR is the latest of this machine unless it is given."""
    from sepconv_bench.results import store, tables
    from sepconv_bench.run import folders

    with store.open_results(folders.to_read(folder)) as results:
        text = tables.written(tables.table(results, table), form)
    if output is None:
        sys.stdout.buffer.write(text)
    else:
        files.write(output, text)
