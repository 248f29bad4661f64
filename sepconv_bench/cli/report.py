"""report: draw what was measured again, several machines side by side, or asv's results over commits."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import Folder
from sepconv_bench.errors import InputError


@click.command()
@click.argument("folders", metavar="[DIR]...", type=Folder(), nargs=-1)
@click.option("--asv", "asv_results", type=Folder(), metavar="RESULTS", help="Of what asv has recorded, as .asv/results.")
@click.option(
    "--output",
    type=Folder(),
    metavar="DIR",
    help="Where a report of several DIRs or of asv's results goes.  [default: reports/machines, reports/history]",
)
def report(folders: tuple[Path, ...], asv_results: Path | None, output: Path | None) -> None:
    """Draw the report of the results in DIR again, that of several machines side by side, or of asv's results over commits.

    \b
    sepconv-bench report reports/intel-xeon-2-threads
    sepconv-bench report reports/here reports/there
    sepconv-bench report --asv .asv/results
    """
    if bool(folders) == (asv_results is not None):
        came = "both came" if folders else "neither came"
        raise InputError(f"report takes either the DIR of a run or --asv RESULTS; {came}")
    if len(folders) > 1:
        from sepconv_bench.report.machines import write_comparison
        from sepconv_bench.results.store import open_results

        with ExitStack() as stack:
            several = [stack.enter_context(open_results(folder)) for folder in folders]
            click.echo(f"report: {write_comparison(several, output or Path('reports') / 'machines')}")
    elif folders:
        from sepconv_bench.report.page import write_report
        from sepconv_bench.results.store import open_results

        if output is not None:
            raise InputError("--output goes with several DIRs or --asv; the report of a run lies beside its results")
        with open_results(folders[0]) as results:
            click.echo(f"report: {write_report(results, folders[0])}")
    elif asv_results is not None:
        from sepconv_bench.report.history import write_history
        from sepconv_bench.results import history

        found = history.read(asv_results)
        for line in found.unread:
            say(f"left out: {line}")
        click.echo(f"report: {write_history(found, output or Path('reports') / 'history')}")
