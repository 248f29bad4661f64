"""What the command says beside its output: one line each, on standard error."""

from __future__ import annotations

import click

PROGRAM = "sepconv-bench"


def one_line(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey: it may come out of somebody's file."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split()))


def say(message: str) -> None:
    """A line on standard error, under the program's name."""
    click.echo(f"{PROGRAM}: {one_line(message)}", err=True)
