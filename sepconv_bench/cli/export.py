"""export: a table of the results."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sepconv_bench import files
from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import File, folder_argument

# Why a table of valid results may have no row.
_EMPTY = {
    "timings": "no cell of the grid was measured",
    "ratios": "no standard and separable kernel were timed on the same shape",
    "why": "no standard and separable kernel were timed on the same shape",
    "peers": "no kernel of ours was timed with another library's",
    "sums": "it needs every shape of `run --grid vgg16` or `run --grid inception`",
    "network": "`mobilenet` measures it",
    "layers": "`mobilenet` measures it",
    "samples": "no cell of the grid was measured",
}


@click.command()
@folder_argument
@click.option("--table", type=click.Choice([*_EMPTY]), default="ratios", show_default=True)
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option("--output", type=File(), metavar="FILE", help="Write into FILE, not to standard output.")
def export(folder: Path | None, table: str, form: str, output: Path | None) -> None:
    """Write a table of the results in DIR.

    Without DIR: the latest results of this machine.

    \b
    timings   one row for each kernel and shape: time, GFLOP/s, share of the peak
    ratios    one row for each pair of kernels and shape: speedup vs theory
    why       the same rows: the factors between promise and measurement
    peers     our kernels vs each other library
    sums      VGG-16 and Inception-V1, added up
    network   MobileNet-V1: one row for each kernel and part
    layers    MobileNet-V1: one row for each part, both networks side by side
    samples   every sample behind timings, ratios, why, peers and sums

    \b
    Examples:
      sepconv-bench export
      sepconv-bench export reports/intel-xeon-2-threads --table why --json
      sepconv-bench export --table samples --format parquet --output samples.parquet
    """
    from sepconv_bench.results import store, tables
    from sepconv_bench.run import folders

    with store.open_results(folders.to_read(folder)) as results:
        frame = tables.table(results, table)
        text = tables.written(frame, form)
        if frame.empty:
            say(f"the table {table} of {results.path} is empty: {_EMPTY[table]}")
    if output is None:
        sys.stdout.buffer.write(text)
    else:
        files.write(output, text)
