"""ladder: the table of rungs."""

from __future__ import annotations

from pathlib import Path

import click

from sepconv_bench import files
from sepconv_bench.cli.messages import print_json
from sepconv_bench.cli.options import File, folder_argument, json_option
from sepconv_bench.errors import InputError


@click.command()
@folder_argument
@click.option("--output", type=File(), metavar="FILE", help="Write the table into FILE, not to standard output.")
@click.option(
    "--into",
    type=File(),
    metavar="FILE",
    help="Replace what FILE has between its lines <!-- ladder --> and <!-- end of ladder -->.",
)
@json_option
def ladder(folder: Path | None, output: Path | None, into: Path | None, as_json: bool) -> None:
    """Print how fast each kernel is, as Markdown.

    GFLOP/s, share of the peak, and time vs each peer: medians over the shapes in DIR. Without DIR: the latest results of this
    machine.

    \b
    Examples:
      sepconv-bench ladder
      sepconv-bench ladder reports/intel-xeon-2-threads --into docs/kernels.md
    """
    from sepconv_bench.report import ladder as rungs
    from sepconv_bench.results.store import open_results
    from sepconv_bench.run import folders

    if sum((output is not None, into is not None, as_json)) > 1:
        raise InputError("ladder takes one of --output, --into and --json; several came")
    with open_results(folders.to_read(folder)) as results:
        table = rungs.ladder(results)
    if as_json:
        print_json(table)
    elif into is not None:
        rungs.write_between_markers(rungs.markdown(table), into)
    elif output is not None:
        files.write(output, rungs.markdown(table))
    else:
        click.echo(rungs.markdown(table), nl=False)
