"""What a command that measures shows while it runs, and says when it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from sepconv_bench.cli.messages import say
from sepconv_bench.errors import InputError, Stopped
from sepconv_bench.model.grids import Grid

INTERRUPTED = 130  # the exit code


@contextmanager
def progress() -> Iterator[Callable]:
    """A bar with the time left on a terminal, a line a step elsewhere. It draws only between cells: a bar that moves
    by itself would take time from the kernels."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(highlight=False)
    if not console.is_terminal:
        yield lambda step: click.echo(f"[{step.done}/{step.total}] {step.line}")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("cells", total=None)

        def advance(step: Any) -> None:
            bar.console.print(step.line, markup=False)
            bar.update(task, completed=step.done, total=step.total)
            bar.refresh()

        yield advance


@contextmanager
def stopped_cleanly(folders: Sequence[Path], grid: Grid) -> Iterator[None]:
    """When the user stops the command: say how far it came, and exit with 130."""
    from sepconv_bench.results import store

    try:
        yield
    except Stopped:
        held = []
        for folder in folders:
            there = set()
            with suppress(InputError), store.open_results(folder) as results:
                there = {shape for shape, _ in results.done()}.intersection(grid.shapes)
            held.append(f"{len(there)} of {len(grid.shapes)} cells are in {folder}")
        where = ", ".join(held) or "nothing was measured yet"
        say(f"stopped; {where}, --resume with the same options goes on")
        sys.exit(INTERRUPTED)
