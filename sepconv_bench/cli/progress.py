"""What a command that measures shows while it runs, and says when it is stopped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sepconv_bench.cli.drawing import draw
from sepconv_bench.cli.messages import PROGRAM, say
from sepconv_bench.errors import InputError, Stopped

if TYPE_CHECKING:
    from sepconv_bench.model.shapes import ConvShape
    from sepconv_bench.results.records import NetworkPart

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
def stopped_cleanly(
    folders: Sequence[Path],
    asked: Collection[ConvShape | NetworkPart],
    show: Callable[[Path], None] = draw,
    what: str = "cells",
    by_itself: bool = False,
) -> Iterator[None]:
    """When the user stops the command: say how many of the cells, or whatever they are called, are there, and what goes on;
    `show` what there is of them in a folder; and exit with 130.

    `by_itself`: the same command goes on, without --resume.

    The reports of several hosts would take a minute to draw; `report` does it when they are asked for.
    """
    try:
        yield
    except Stopped:
        held = {folder: _there(folder, asked) for folder in folders}
        told = [f"{cells} of {len(asked)} {what} are in {folder}" for folder, cells in held.items()]
        words: list[str] = click.get_current_context().obj
        again = shlex.join([PROGRAM, *words, *([] if by_itself or "--resume" in words else ["--resume"])])
        say(f"stopped; {', '.join(told) or 'nothing was measured yet'}; `{again}` goes on")
        if len(folders) == 1 and held[folders[0]]:
            with suppress(InputError):  # a scan cannot predict from a few shapes
                show(folders[0])
        sys.exit(INTERRUPTED)


def _there(folder: Path, asked: Collection[ConvShape | NetworkPart]) -> int:
    """How many of what was asked for the results in a folder hold, if there are any."""
    from sepconv_bench.results import store

    with suppress(InputError), store.open_results(folder) as results:
        return len({*(shape for shape, _ in results.done()), *results.parts_done()}.intersection(asked))
    return 0
