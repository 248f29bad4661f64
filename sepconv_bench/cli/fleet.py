"""run --cluster: measure a grid on the hosts of a Dask cluster."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sepconv_bench.cli.drawing import draw_report, opened, report_grades
from sepconv_bench.cli.progress import progress, stopped_cleanly
from sepconv_bench.errors import InputError

if TYPE_CHECKING:
    from sepconv_bench.results.store import Results
    from sepconv_bench.run.sweep import Settings


def run_on_hosts(
    cluster: str, settings: Settings, threads: int | None, share: bool, output: Path | None, resume: bool, strict: bool
) -> None:
    """Measure on all hosts of a Dask cluster: with `share` into one folder, else each into its own, and compare them."""
    if importlib.util.find_spec("distributed") is None:
        raise InputError("--cluster needs dask.distributed; `pip install 'sepconv-bench[fleet]'` brings it")
    from sepconv_bench.results import store
    from sepconv_bench.run import folders
    from sepconv_bench.run.fleet.coordinator import measure

    above = folders.OWN if share else folders.OWN / "fleet"
    found_in: list[Path] = []
    with ExitStack() as claims:

        def claimed(name: str) -> Results:
            folder = output if share and output else (output or above) / name
            claims.enter_context(store.claimed(folder))
            found_in.append(folder)
            return opened(folder, resume)

        with stopped_cleanly(found_in, settings.grid.shapes), progress() as advance:
            lacking = measure(cluster, settings, threads, share, claimed, advance)
        with ExitStack() as reading:
            found = [reading.enter_context(store.open_results(folder)) for folder in found_in]
            held = [results for results in found if results.done()]
            for results in held:
                draw_report(results, results.path.parent)
            below = [report_grades(results, strict) for results in held]
            if len(held) > 1:
                from sepconv_bench.report.machines import write_comparison

                click.echo(f"report: {write_comparison(held, output or above)}")
    if lacking:
        raise InputError(f"{'; '.join(lacking)}; --resume with the same options goes on")
    if any(below) and strict:
        sys.exit(1)
