"""explain: one layer, and where its time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepconv_bench.cli.measuring import SECONDS, measure
from sepconv_bench.cli.options import Folder, Positive, device_option
from sepconv_bench.errors import InputError

_NAMES = {"D_K": "--kernel-size", "M": "--in-channels", "N": "--out-channels", "D_G": "--output-size"}


@click.command()
@click.option("--D_K", "--kernel-size", "D_K", type=click.IntRange(1), help="Width of the window.")
@click.option("--M", "--in-channels", "M", type=click.IntRange(1), help="Channels that go in.")
@click.option("--N", "--out-channels", "N", type=click.IntRange(1), help="Channels that come out.")
@click.option("--D_G", "--output-size", "D_G", type=click.IntRange(1), help="Width of the output map.")
@click.option("--input-size", type=click.IntRange(1), help="Width of the input map, in place of --D_G; same padding.")
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch", "--batch-size", "batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--from", "folder", type=Folder(), metavar="DIR", help="The results to go by.  [default: this machine's latest]")
@click.option("--measure", "measured", is_flag=True, help="Measure the layer here first; the results go into DIR.")
@click.option(
    "--time-limit", type=Positive(0.01), default=SECONDS, show_default=True, metavar="SECONDS", help="With --measure."
)
@device_option
def explain(
    input_size: int | None, folder: Path | None, measured: bool, time_limit: float, device: str, **sizes: int | None
) -> None:
    """Explain one layer: what it should cost, and does here.

    Where the time goes, and what would help.

    \b
    Examples:
      sepconv-bench explain --D_K 3 --M 64 --N 128 --D_G 56
      sepconv-bench explain --in-channels 64 --out-channels 128 --kernel-size 3 --input-size 56
    """
    from sepconv_bench.model.shapes import ConvShape

    given = dict(sizes)
    if input_size is not None:
        if given["D_G"] is not None:
            raise InputError("--input-size came together with --D_G; one of them says how large the map is")
        given["D_G"] = -(-input_size // (given["stride"] or 1))
    if missing := [f"--{name} ({other})" for name, other in _NAMES.items() if given[name] is None]:
        raise InputError(f"explain lacks {', '.join(missing)}")
    said: dict[str, Any] = {name: size for name, size in given.items() if size is not None}
    shape = ConvShape(**said)

    def show(folder: Path | None) -> None:
        from sepconv_bench.api.explain import explain as explained

        click.echo(str(explained(shape, folder, device)))

    if measured:
        folder = measure([(("standard", "separable"), [shape])], folder, device, time_limit, show)
    show(folder)
