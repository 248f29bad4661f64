"""run: measure a grid of shapes, here or on the hosts of a cluster, and draw the report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from sepconv_bench import gpu
from sepconv_bench.cli.drawing import draw_report, opened, report_grades
from sepconv_bench.cli.options import Positive, axis_options, chosen_grid, kernel_options, output_option
from sepconv_bench.cli.progress import progress, stopped_cleanly
from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import GRIDS, in_dtypes


@click.command()
@click.option("--grid", "grid_name", metavar="NAME", help=f"One of {', '.join(GRIDS)}; see `list`.  [default: default]")
@axis_options
@click.option(
    "--dtype",
    default="f32",
    show_default=True,
    metavar="DTYPES",
    help="What factors are rounded to, and maps stored as: f32,tf32,bf16,fp16; sums are float32. All but f32 need a GPU.",
)
@kernel_options
@output_option
@click.option("--resume", is_flag=True, help="Measure only the shapes that DIR does not hold yet.")
@click.option(
    "--target",
    type=Positive(0.0001, 1),
    default=Rules().target,
    show_default=True,
    metavar="SHARE",
    help="Half-width of the 95 % intervals at which a shape is done.",
)
@click.option(
    "--time-limit", type=Positive(0.01), metavar="SECONDS", help="Time after which a shape is done, too.  [default: the grid's]"
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the data and of the order in each round."
)
@click.option("--cold", is_flag=True, help="Each launch finds its map and weights outside the caches.")
@click.option("--strict", is_flag=True, help="Exit code 1 if a ratio of the fastest kernels has a grade below A.")
@click.option(
    "--cluster", metavar="URL", help="Measure on the hosts of a Dask scheduler, as tcp://HOST:8786; see docs/fleet.md."
)
@click.option(
    "--each/--share", "each", default=None, help="Every host measures the whole grid, or alike hosts share it.  [default: each]"
)
def run(
    grid_name: str | None,
    output: Path | None,
    resume: bool,
    target: float,
    time_limit: float | None,
    seed: int,
    cold: bool,
    strict: bool,
    cluster: str | None,
    each: bool | None,
    kernels: str | None,
    plugins: tuple[str, ...],
    threads: int | None,
    timeout: float,
    device: str,
    dtype: str,
    **axes: str | None,
) -> None:
    """Measure a grid of shapes, draw the report.

    D_K is the kernel width (kernel_size), M the input channels (in_channels), N the output channels (out_channels), D_G the
    width of the output map. Every combination of the sizes given is measured.

    \b
    Examples:
      sepconv-bench run                              the default grid, about three minutes
      sepconv-bench run --grid smoke                 does it work? Under a minute
      sepconv-bench run --D_K 3,5 --N 16:512:x2      a grid of your own
      sepconv-bench run --cold                       the same with cold caches, into a folder of its own
      sepconv-bench run --plugin mykernels.py        your kernels among ours
      sepconv-bench run --device cuda --grid gpu --dtype f32,bf16    on an NVIDIA GPU, and on its tensor cores
    """
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.results import store
    from sepconv_bench.run import folders
    from sepconv_bench.run.sweep import Settings, sweep

    grid = in_dtypes(chosen_grid(grid_name, axes), dtype)
    rules = Rules(target, time_limit or grid.cell_seconds)
    settings = Settings(grid, kernels, plugins, threads or 1, rules, timeout, seed, device, cold)
    if cluster is not None:
        from sepconv_bench.cli.fleet import run_on_hosts

        run_on_hosts(cluster, settings, threads, each is False, output, resume, strict)
        return
    if each is not None:
        raise InputError(f"{'--each' if each else '--share'} goes with --cluster")
    if device == "cuda":
        gpu.require_for_timing()
    settings = replace(settings, threads=allowed_threads(threads))

    def own() -> Path:
        return folders.to_write(folders.machine_name(device, settings.threads, cold), resume)

    with folders.held(output, own) as folder:
        with stopped_cleanly([folder], grid.shapes), progress() as advance:
            sweep(settings, lambda: opened(folder, resume), advance)
        with store.open_results(folder) as results:
            draw_report(results, folder)
            below = report_grades(results, strict)
    if below and strict:
        sys.exit(1)
