"""scan: a user's own model, layer by layer."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sepconv_bench import files
from sepconv_bench.cli.measuring import SECONDS, measure
from sepconv_bench.cli.options import File, Folder, Positive, device_option

if TYPE_CHECKING:
    from sepconv_bench.report.scanned import Scan

_PAGES = (".html", ".htm")


@click.command()
@click.argument("model")
@click.option("--input", "sizes", metavar="SIZES", help="Input sizes, as 1,3,224,224, where the model has none.")
@click.option("--from", "folder", type=Folder(), metavar="DIR", help="The results to use.  [default: this machine's latest]")
@device_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet", "markdown", "html"]),
    help="Print the table in this format instead of sentences; html: a page.",
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option(
    "--output",
    type=File(),
    metavar="FILE",
    help="Write the table into FILE, as CSV, or a page where it ends in .html, unless --format says else.",
)
@click.option(
    "--measure",
    "measured",
    is_flag=True,
    help="Measure its layers here first, identical ones once; goes on where it was stopped.",
)
@click.option(
    "--time-limit",
    type=Positive(0.01),
    default=SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Time for each layer, with --measure.",
)
def scan(
    model: str,
    sizes: str | None,
    folder: Path | None,
    device: str,
    form: str | None,
    output: Path | None,
    measured: bool,
    time_limit: float,
) -> None:
    """Say which layers of a model would gain from separable ones.

    With times from this machine: measured where its results hold the shape, else predicted.

    MODEL is an .onnx or .tflite file, a torch `module:function_or_class`, or the name of a network of torchvision or timm.

    \b
    Examples:
      sepconv-bench scan mymodel.onnx --input 1,3,224,224
      sepconv-bench scan mypackage.models:Net --from reports/intel-xeon-2-threads
      sepconv-bench scan mymodel.onnx --measure
      sepconv-bench scan resnet50 --output resnet50.csv
      sepconv-bench scan resnet50 --output resnet50.html
    """
    from sepconv_bench.api.scan import shapes_to_measure, told
    from sepconv_bench.network.readers import parse_sizes, read

    with redirect_stdout(sys.stderr):  # what the user's own code prints is no part of the table
        scanned = read(model, None if sizes is None else parse_sizes(sizes))

    def show(folder: Path | None) -> None:
        found = told(scanned, folder, device)
        if form is None:
            click.echo(str(found))
        if form is not None or output is not None:
            text = _written(found, form or ("html" if output is not None and output.suffix.lower() in _PAGES else "csv"))
            if output is None:
                sys.stdout.buffer.write(text)
            else:
                files.write(output, text)

    if measured:
        folder = measure(shapes_to_measure(scanned), folder, device, time_limit, show)
    show(folder)


def _written(found: Scan, form: str) -> bytes:
    from sepconv_bench.results.tables import written

    if form == "html":
        from sepconv_bench.report.scanned_page import scan_page  # matplotlib and all: not before there is something to draw

        return scan_page(found).encode()
    return found.markdown().encode() if form == "markdown" else written(found.table, form)
