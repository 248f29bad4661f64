"""compare: two results files."""

from __future__ import annotations

from pathlib import Path

import click

from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import Folder, markdown_option, threshold_option
from sepconv_bench.cli.verdicts import end_with_verdicts


@click.command()
@click.argument("old", metavar="DIR_A", type=Folder())
@click.argument("new", metavar="DIR_B", type=Folder())
@threshold_option
@markdown_option
def compare(old: Path, new: Path, threshold: float, markdown: Path | None) -> None:
    """Compare two results files, B beside A: the same verdicts and exit codes as `ab`."""
    from sepconv_bench.results import store
    from sepconv_bench.results.comparison import compare_files

    with store.open_results(old) as before, store.open_results(new) as after:
        found = compare_files(before, after)
    for what, then, now in found.differs:
        say(f"not the same {what}: {then} and {now}")
    end_with_verdicts(found.verdicts, found.left_out, (str(old), str(new)), threshold, markdown)
