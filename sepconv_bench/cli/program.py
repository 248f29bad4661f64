"""The command `sepconv-bench`: its group, and what holds for every command alike (signals, streams, errors in one line)."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib import metadata

import click

from sepconv_bench.cli.ab import ab
from sepconv_bench.cli.check import check
from sepconv_bench.cli.compare import compare
from sepconv_bench.cli.explain import explain
from sepconv_bench.cli.export import export
from sepconv_bench.cli.ladder import ladder
from sepconv_bench.cli.list import list_
from sepconv_bench.cli.machine import machine
from sepconv_bench.cli.messages import PROGRAM, say
from sepconv_bench.cli.mobilenet import mobilenet
from sepconv_bench.cli.predict import predict
from sepconv_bench.cli.progress import INTERRUPTED
from sepconv_bench.cli.report import report
from sepconv_bench.cli.run import run
from sepconv_bench.cli.scan import scan
from sepconv_bench.errors import InputError, Stopped
from sepconv_bench.measure.clocks import MOST_THREADS

_NUMBA_THREADS = "NUMBA_NUM_THREADS"


def _version() -> str:
    """A checkout may be on the path and not be installed."""
    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(_version())
@click.pass_context
def cli(context: click.Context) -> None:
    """What does depthwise separable convolution gain on this machine, vs the 1/N + 1/D_K^2 that the arithmetic promises?

    `run` measures a grid of shapes and draws the report. `COMMAND --help` shows examples.

    \b
    Examples:
      sepconv-bench run --grid smoke
      sepconv-bench predict --D_K 3 --M 64 --N 128 --D_G 56
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (run, mobilenet, report, export, ladder, check, predict, scan, explain, ab, compare, list_, machine):
    cli.add_command(_command)


def _stop(number: int, frame: object) -> None:
    """Once: what must still be done before the end takes a moment, and is not to be cut short."""
    for each in _STOPS:
        signal.signal(each, lambda number, frame: None)  # of SIG_IGN Python complains where one is on its way already
    raise Stopped


_STOPS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Wrong input ends in one line on standard error and exit code 2."""
    _open_streams()
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell does for what it starts in the background
            signal.signal(number, _stop)
    try:
        # Of the notebook that started us, whose backend this Python may not have. What is drawn here goes into files.
        os.environ.pop("MPLBACKEND", None)
        _refuse_thread_count(os.environ.get(_NUMBA_THREADS, "1"))
        words = sys.argv[1:] if arguments is None else arguments
        cli.main(words, prog_name=PROGRAM, standalone_mode=False, obj=words)
        sys.stdout.flush()
    except click.ClickException as error:
        _refuse(error.format_message())
    except InputError as error:
        _refuse(str(error))
    except (click.Abort, KeyboardInterrupt, Stopped):
        say("stopped")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except MemoryError as error:
        _refuse(f"out of memory: {error}".rstrip(": "))
    except OSError as error:  # of what is not ours to foresee: a full disk under standard output, a folder that has gone
        _let_go_of_standard_output()
        _refuse(f"{error.filename or 'standard output'}: {error.strerror or error}")


def _refuse_thread_count(text: str) -> None:
    """Numba takes any: of a word it warns in eight lines, and of a hundred thousand threads it starts what it can."""
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_THREADS:
        raise InputError(f"{_NUMBA_THREADS} is {text!r}; it must be a whole number from 1 to {MOST_THREADS}, or not set")


def _open_streams() -> None:
    """A stream that is closed leads nowhere, and so does what is written to it. A name that is not UTF-8 can be written."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stand-in's
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _let_go_of_standard_output() -> None:
    """What it still holds cannot be written; Python would try once more at its end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _refuse(message: str) -> None:
    say(message)
    sys.exit(2)
