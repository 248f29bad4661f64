"""From results to a report, and what a command says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sepconv_bench.cli.messages import PROGRAM

if TYPE_CHECKING:
    from sepconv_bench.results.store import Results


def draw_report(results: Results, folder: Path) -> None:
    """Write the report into the folder and say where it is."""
    from sepconv_bench.report.page import write_report  # matplotlib and all: not before there is something to draw

    click.echo(f"report: {write_report(results, folder)}")


def draw(folder: Path) -> None:
    """`draw_report` of the results in a folder."""
    from sepconv_bench.results import store

    with store.open_results(folder) as results:
        draw_report(results, folder)


def report_grades(results: Results, strict: bool) -> bool:
    """Say which grades the ratios of the fastest kernels have where not all are A, on standard error if that ends the run;
    whether any is below."""
    from sepconv_bench.report.sentences import describe_grades
    from sepconv_bench.results.tables import ratios

    pairs = ratios(results)
    best = pairs[pairs.best]
    below = bool((best.grade != "A").any())
    if below:
        told = f"the fastest kernels: {describe_grades(best)}; `{PROGRAM} machine --doctor` says what may help"
        click.echo(told, err=strict)
    return below


def opened(folder: Path, resume: bool) -> Results:
    """The results in a folder, as they are if a run resumes; else new ones, and what was there is kept."""
    from sepconv_bench.results import store

    if resume and (folder / store.FILE_NAME).exists():
        return store.open_results(folder, write=True)
    kept = store.set_aside(folder)
    if kept:
        click.echo(f"the earlier results are kept as {kept}")
    return store.create(folder)
