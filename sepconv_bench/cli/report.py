"""report: draw what was measured again, several machines side by side, or asv's results over commits."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import Folder
from sepconv_bench.errors import InputError


@click.command()
@click.argument("given", metavar="[DIR]...", type=Folder(), nargs=-1)
@click.option("--asv", "asv_results", type=Folder(), metavar="RESULTS", help="Of what asv has recorded, as .asv/results.")
@click.option(
    "--output",
    type=Folder(),
    metavar="DIR",
    help="Where a report of several DIRs or of asv's results goes.  [default: results/machines, results/history]",
)
def report(given: tuple[Path, ...], asv_results: Path | None, output: Path | None) -> None:
    """Draw the report of the results in DIR again, that of several machines side by side, or of asv's results over commits.

    DIR is the latest of this machine in results/ unless it is given.

    \b
    sepconv-bench report reports/intel-xeon-2-threads
    sepconv-bench report reports/here reports/there
    sepconv-bench report --asv .asv/results
    """
    from sepconv_bench.run import folders

    if asv_results is not None:
        if given:
            raise InputError("report takes either the DIR of a run or --asv RESULTS; both came")
        _draw_history(asv_results, output or folders.OWN / "history")
    elif len(given) > 1:
        from sepconv_bench.report.machines import write_comparison
        from sepconv_bench.results.store import open_results

        with ExitStack() as stack:
            several = [stack.enter_context(open_results(folder)) for folder in given]
            click.echo(f"report: {write_comparison(several, output or folders.OWN / 'machines')}")
    else:
        if output is not None:
            raise InputError("--output goes with several DIRs or --asv; the report of a run lies beside its results")
        _draw_again(given[0] if given else folders.own_to_read())


def _draw_again(folder: Path) -> None:
    from sepconv_bench.report.page import write_report
    from sepconv_bench.results.store import open_results

    with open_results(folder) as results:
        click.echo(f"report: {write_report(results, folder)}")


def _draw_history(asv_results: Path, output: Path) -> None:
    from sepconv_bench.report.history import write_history
    from sepconv_bench.results import history

    found = history.read(asv_results)
    for line in found.unread:
        say(f"left out: {line}")
    click.echo(f"report: {write_history(found, output)}")
