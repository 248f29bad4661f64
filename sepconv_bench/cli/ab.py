"""ab: two revisions of the repository."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from sepconv_bench.cli.options import (
    Positive,
    axis_options,
    chosen_grid,
    json_option,
    threads_option,
    threshold_option,
    verdicts_option,
)
from sepconv_bench.cli.verdicts import end_with_verdicts
from sepconv_bench.model.grids import GRIDS

# Of ours, what is followed from revision to revision.
DEFAULT_AB_KERNELS = ("cpu.standard.tiled", "cpu.depthwise.tiled", "cpu.pointwise.tiled", "cpu.separable.fused")


@click.command()
@click.argument("base", metavar="BASE")
@click.argument("new", metavar="[NEW]", required=False)
@click.option("--grid", "grid_name", metavar="NAME", help=f"One of {', '.join(GRIDS)}.  [default: tracked]")
@axis_options
@click.option("--kernels", metavar="PATTERNS", help="Only these kernels.  [default: the fastest of ours of each operator]")
@click.option(
    "--time-limit",
    type=Positive(0.01),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for every eight kernels on a shape.",
)
@threads_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the data and of the order.")
@threshold_option
@verdicts_option
@json_option
def ab(
    base: str,
    new: str | None,
    grid_name: str | None,
    kernels: str | None,
    time_limit: float,
    threads: int | None,
    seed: int,
    threshold: float,
    output: Path | None,
    as_json: bool,
    **axes: str | None,
) -> None:
    """Compare the speed of two revisions.

    BASE and NEW are branches, tags or commits of this repository. Without NEW, the checkout as it is, with its uncommitted
    changes to tracked files. Each revision is built once and kept. Each kernel on each shape is slower, faster, same or
    ambiguous. Exit code 1: something is slower by the threshold or more; 2: nothing could be compared.

    \b
    Examples:
      sepconv-bench ab main                              what did my changes do?
      sepconv-bench ab v1.0 main --threshold 0.03
      sepconv-bench ab main --kernels 'cpu.depthwise.*' --D_G 7:112:x2
    """
    import numpy as np

    from sepconv_bench.kernels.registry import select
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run import revision
    from sepconv_bench.run.ab import Benchmark, compare

    shapes = chosen_grid(grid_name, axes, "tracked").shapes
    names = select(kernels or ",".join(DEFAULT_AB_KERNELS))
    checkout = revision.repository()
    tell = partial(click.echo, err=as_json)
    sides = (revision.build(checkout, base, tell), revision.build(checkout, new, tell))
    benchmarks = [Benchmark(name, shape) for shape in shapes for name in names]
    rng = np.random.default_rng(seed)
    found = compare(*sides, benchmarks, allowed_threads(threads), time_limit, rng, tell)
    end_with_verdicts(found.verdicts, found.left_out, (sides[0].label, sides[1].label), threshold, output, as_json)
