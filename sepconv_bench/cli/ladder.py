"""ladder: the table of rungs, in Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from sepconv_bench.cli.options import File, folder_argument


@click.command()
@folder_argument
@click.option(
    "--into",
    type=File(),
    metavar="FILE",
    help="Into a file, between its lines <!-- ladder --> and <!-- end of ladder -->, not to standard output.",
)
def ladder(folder: Path | None, into: Path | None) -> None:
    """The table of rungs from the results in DIR: GFLOP/s, share of the peak, beside each peer. In Markdown.

    DIR is the latest of this machine unless it is given."""
    from sepconv_bench.report import ladder as rungs
    from sepconv_bench.results.store import open_results
    from sepconv_bench.run import folders

    with open_results(folders.to_read(folder)) as results:
        table = rungs.ladder(results)
    if into is None:
        click.echo(table, nl=False)
    else:
        rungs.write_between_markers(table, into)
