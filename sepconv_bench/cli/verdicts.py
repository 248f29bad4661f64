"""How `ab` and `compare` end: the verdicts, in words or as JSON, and as an exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sepconv_bench import files
from sepconv_bench.cli.messages import print_json
from sepconv_bench.errors import InputError


def end_with_verdicts(
    verdicts: list, left_out: dict[str, str], sides: tuple[str, str], threshold: float, output: Path | None, as_json: bool
) -> None:
    """Print them; exit code 1 where something is slower by the threshold, InputError where nothing was compared."""
    from sepconv_bench.report import verdicts as words

    if as_json:
        print_json({"verdicts": verdicts, "not_compared": left_out})
    else:
        click.echo(words.text(verdicts, left_out))
    if output is not None:
        files.write(output, words.markdown(verdicts, left_out, *sides, threshold))
    if not verdicts:
        raise InputError("nothing could be compared")
    if words.regressions(verdicts, threshold):
        sys.exit(1)
