"""report: draw results, several machines side by side, or what asv recorded over commits."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from sepconv_bench.cli.drawing import draw_report
from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import Folder
from sepconv_bench.errors import InputError


@click.command()
@click.argument("given", metavar="[DIR]...", type=Folder(), nargs=-1)
@click.option("--asv", "asv_results", type=Folder(), metavar="RESULTS", help="Draw what asv has recorded, as .asv/results.")
@click.option(
    "--output",
    type=Folder(),
    metavar="DIR",
    help="Where the report goes.  [default: DIR; of several DIRs results/machines, of asv's results results/history]",
)
def report(given: tuple[Path, ...], asv_results: Path | None, output: Path | None) -> None:
    """Draw the report of results.

    Of one DIR, of several machines side by side, or of asv's results over commits. Without DIR: the latest results of this
    machine in results/.

    \b
    Examples:
      sepconv-bench report reports/intel-xeon-2-threads
      sepconv-bench report reports/intel-xeon-2-threads reports/amd-epyc-2-threads --output results/both
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
        from sepconv_bench.results.store import open_results

        folder = given[0] if given else folders.own_to_read()
        with open_results(folder) as results:
            draw_report(results, output or folder)


def _draw_history(asv_results: Path, output: Path) -> None:
    from sepconv_bench.report.history import write_history
    from sepconv_bench.results import history

    found = history.read(asv_results)
    for line in found.unread:
        say(f"left out: {line}")
    click.echo(f"report: {write_history(found, output)}")
