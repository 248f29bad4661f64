"""Options that several commands take, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import click

from sepconv_bench.errors import InputError
from sepconv_bench.model.grids import SPELLED, Grid, get_grid, grid_from_axes
from sepconv_bench.model.shapes import PADDINGS, SECOND_AXES


class Positive(click.FloatRange):
    """A float in a range, and finite: a range alone lets NaN and infinity through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Folder(click.Path):
    """A folder that need not exist yet; an empty name, which would mean here, is most likely an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the folder's name is empty.", param, ctx)
        return super().convert(value, param, ctx)


class File(click.Path):
    """A file to write or to read."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)


folder_argument = click.argument("folder", metavar="[DIR]", type=Folder(), required=False)  # `folders.to_read` knows which else
device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device that kernels run on."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads of every kernel.  [default: physical cores]"
)
output_option = click.option(
    "--output", type=Folder(), metavar="DIR", help="Where results and report go.  [default: results/<machine>-<date>]"
)
plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file that registers kernels; may be repeated."
)
threshold_option = click.option(
    "--threshold",
    type=Positive(0.0, 10),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Exit code 1 if something is slower by this share or more.",
)
verdicts_option = click.option("--output", type=File(), metavar="FILE", help="Also write the table as Markdown into FILE.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")


def kernel_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which kernels run, where, on how many threads, and how long one may be silent."""
    for option in (
        threads_option,
        click.option(
            "--timeout",
            type=Positive(0.1),
            default=60.0,
            show_default=True,
            metavar="SECONDS",
            help="Time after which a silent kernel is ended.",
        ),
        plugin_option,
        click.option(
            "--kernels",
            metavar="PATTERNS",
            help="Only these kernels, as 'cpu.*.parallel,cpu.*.numpy'.  [default: all of the device that are installed]",
        ),
        device_option,
    ):
        command = option(command)
    return command


_MEANINGS = {
    "D_K": "Kernel widths",
    "M": "Input channels",
    "N": "Output channels",
    "D_G": "Output widths",
    "stride": "Strides",
    "batch": "Images of a launch",
    "dilation": "Distance of a window's taps in pixels",
    "multiplier": "Depthwise output channels per input channel",
    "groups": "Groups of the standard convolution",
}


def axis_options(command: Callable[..., None]) -> Callable[..., None]:
    """--D_K, --M and all else that a shape may say: a grid of the user's own."""
    command = click.option(
        "--padding", metavar="PADDING", help=f"{', '.join(PADDINGS)}; or 1; or 1,2 (rows, columns); or top,bottom,left,right."
    )(command)
    for name in reversed(SPELLED):
        text = f"{_MEANINGS.get(name, name)}, as 3,5,7 or 16:512:x2 or 14:56:+14."
        if name in SECOND_AXES:
            text = f"The same along a row, where it differs from --{SECOND_AXES[name]}."
        command = click.option(f"--{name}", name, metavar="SIZES", help=text)(command)
    return command


def chosen_grid(name: str | None, axes: dict[str, str | None], default: str = "default") -> Grid:
    """The grid of that name, or the one that the axes span; InputError where both are given."""
    given = {axis: text for axis, text in axes.items() if text is not None}
    if given and name is not None:
        raise InputError(f"--grid {name} came together with --{' --'.join(given)}; a grid is either named or given by its axes")
    return grid_from_axes(given) if given else get_grid(name or default)
