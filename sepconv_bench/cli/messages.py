"""What a command says: notices of one line each on standard error, and JSON on standard output."""

from __future__ import annotations

from typing import Any

import click

PROGRAM = "sepconv-bench"


def one_line(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey: it may come out of somebody's file."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split()))


def say(message: str) -> None:
    """A line on standard error, under the program's name."""
    click.echo(f"{PROGRAM}: {one_line(message)}", err=True)


def print_json(value: Any) -> None:
    """A record, or lists and dicts of them, as indented JSON. NaN and infinity are null there: JSON has no word for them."""
    import msgspec

    written = msgspec.json.encode(value, enc_hook=lambda number: number.item())  # numpy's
    click.echo(msgspec.json.format(written, indent=1).decode())
