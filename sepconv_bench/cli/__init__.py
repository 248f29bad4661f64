"""The door: sepconv-bench run | mobilenet | report | export | ladder | predict | ab | compare | check | list | machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import click

from sepconv_bench import files, gpu
from sepconv_bench.errors import InputError, Stopped
from sepconv_bench.measure.clocks import MOST_THREADS
from sepconv_bench.measure.sampler import Rules
from sepconv_bench.model.grids import GRIDS, NETWORK_GRIDS, Grid, get_grid, grid_from_axes, network_shapes
from sepconv_bench.model.shapes import AXES

PROGRAM = "sepconv-bench"
_INTERRUPTED = 130
_NUMBA_THREADS = "NUMBA_NUM_THREADS"
# Of ours, what is followed from revision to revision.
FASTEST = ("cpu.standard.tiled", "cpu.depthwise.tiled", "cpu.pointwise.tiled", "cpu.separable.fused")


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


folder_argument = click.argument("folder", metavar="DIR", type=Folder())


device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where kernels run."
)


def _kernel_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads of every kernel.  [default: physical cores]"),
        click.option(
            "--timeout",
            type=Positive(0.1),
            default=60.0,
            show_default=True,
            metavar="SECONDS",
            help="End a kernel that is silent for so long.",
        ),
        click.option(
            "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file that registers kernels; may be repeated."
        ),
        click.option(
            "--kernels",
            metavar="PATTERNS",
            help="Only these, as 'cpu.*.parallel,cpu.*.numpy'.  [default: all of the device that are installed]",
        ),
        device_option,
    ):
        command = option(command)
    return command


def _axis_options(command: Callable[..., None]) -> Callable[..., None]:
    for name in reversed(AXES):
        command = click.option(f"--{name}", name, metavar="SIZES", help="As 3,5,7 or 16:512:x2 or 14:56:+14.")(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name=PROGRAM)
def cli() -> None:
    """What does depthwise separable convolution really buy on this machine, beside the 1/N + 1/D_K^2 it promises?

    `run` measures a grid of shapes and draws the report; the other commands look at the pieces.
    """


@cli.command()
@click.option("--grid", "grid_name", metavar="NAME", help=f"One of {', '.join(GRIDS)}; see `list`.  [default: default]")
@_axis_options
@_kernel_options
@click.option(
    "--output",
    type=Folder(),
    metavar="DIR",
    help="Where results and report go.  [default: reports/<machine>]",
)
@click.option("--resume", is_flag=True, help="Measure only the cells that DIR does not hold yet.")
@click.option(
    "--target",
    type=Positive(0.0001, 1),
    default=Rules.target,
    show_default=True,
    metavar="SHARE",
    help="A cell is done when the 95 % intervals of its ratios are so narrow (half-width).",
)
@click.option("--time-limit", type=Positive(0.01), metavar="SECONDS", help="Or when so much time is up.  [default: the grid's]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the data and of the order in each round."
)
@click.option("--cold", is_flag=True, help="On a GPU: more than its L2 is written before each launch.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a ratio of the fastest kernels is in doubt.")
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
    **axes: str | None,
) -> None:
    """Measure a grid of shapes in pairs, and draw the report.

    \b
    sepconv-bench run                                     the default grid, about three minutes
    sepconv-bench run --grid smoke                        a few seconds: does it work?
    sepconv-bench run --D_K 3,5 --N 16:512:x2             a grid of your own
    sepconv-bench run --plugin mykernels.py               your kernels among ours
    sepconv-bench run --device cuda --grid gpu            on an NVIDIA GPU
    sepconv-bench run --cluster tcp://HOST:8786           on every host of a Dask cluster
    """
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.results import store
    from sepconv_bench.run.sweep import Settings, sweep

    if cold and device != "cuda":
        raise InputError("--cold goes with --device cuda")
    grid = _grid(grid_name, axes)
    rules = Rules(target, time_limit or grid.cell_seconds)
    settings = Settings(grid, kernels, plugins, threads or 1, rules, timeout, seed, device, cold)
    if cluster is not None:
        _run_on_hosts(cluster, settings, threads, each is False, output, resume, strict)
        return
    if each is not None:
        raise InputError(f"{'--each' if each else '--share'} goes with --cluster")
    if device == "cuda":
        gpu.require_for_timing()
    settings = replace(settings, threads=allowed_threads(threads))
    folder = output or Path("reports") / _machine_name(device, settings.threads)
    with store.claimed(folder):
        with _told_where_it_stopped([folder], grid), _progress() as tell:
            sweep(settings, lambda: _opened(folder, resume), tell)
        with store.open_results(folder) as results:
            _draw_report(results, folder)
            doubted = _told_doubts(results, strict)
    if doubted and strict:
        sys.exit(1)


def _draw_report(results: Any, folder: Path) -> None:
    from sepconv_bench.report.page import write_report  # matplotlib and all: not before there is something to draw

    click.echo(f"report: {write_report(results, folder)}")


def _told_doubts(results: Any, strict: bool) -> bool:
    """Say which ratios of the fastest kernels are in doubt, on standard error if that ends the run; whether there are any."""
    from sepconv_bench.report.page import told_doubts
    from sepconv_bench.results.tables import ratios

    pairs = ratios(results)
    doubted = told_doubts(pairs[pairs.best]) if len(pairs) else ""
    if doubted:
        click.echo(f"of the fastest kernels' {doubted}; `{PROGRAM} machine --doctor` says what may help", err=strict)
    return bool(doubted)


def _opened(folder: Path, resume: bool) -> Any:
    """The results in a folder, as they are if a run resumes; else new ones, and what was there is kept."""
    from sepconv_bench.results import store

    if resume and (folder / store.FILE_NAME).exists():
        return store.open_results(folder, write=True)
    kept = store.set_aside(folder)
    if kept:
        click.echo(f"the earlier results are kept as {kept}")
    return store.create(folder)


def _run_on_hosts(
    cluster: str, settings: Any, threads: int | None, share: bool, output: Path | None, resume: bool, strict: bool
) -> None:
    """Measure on all hosts of a Dask cluster: with `share` into one folder, else each into its own, and compare them."""
    if importlib.util.find_spec("distributed") is None:
        raise InputError("--cluster needs dask.distributed; `pip install 'sepconv-bench[fleet]'` brings it")
    from sepconv_bench.results import store
    from sepconv_bench.run import fleet

    above = Path("reports") if share else Path("reports") / "fleet"
    folders: list[Path] = []
    with ExitStack() as claims:

        def opened(name: str) -> store.Results:
            folder = output if share and output else (output or above) / name
            claims.enter_context(store.claimed(folder))
            folders.append(folder)
            return _opened(folder, resume)

        with _told_where_it_stopped(folders, settings.grid), _progress() as tell:
            lacking = fleet.measure(cluster, settings, threads, share, opened, tell)
        with ExitStack() as reading:
            found = [reading.enter_context(store.open_results(folder)) for folder in folders]
            held = [results for results in found if results.done()]
            for results in held:
                _draw_report(results, results.path.parent)
            doubted = [_told_doubts(results, strict) for results in held]
            if len(held) > 1:
                from sepconv_bench.report.machines import write_comparison

                click.echo(f"report: {write_comparison(held, output or above)}")
    if lacking:
        raise InputError(f"{'; '.join(lacking)}; --resume with the same options goes on")
    if any(doubted) and strict:
        sys.exit(1)


@cli.command()
@click.option("--alpha", default="1", show_default=True, metavar="WIDTHS", help="Width multipliers: of 0.25,0.5,0.75,1.")
@click.option("--resolution", default="224", show_default=True, metavar="SIZES", help="Of 128,160,192,224.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images at a time.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=".npz or .safetensors.  [default: random]",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A photograph: print the probability of each class, the likeliest first, and time nothing.",
)
@click.option(
    "--time-limit", type=Positive(0.01), default=8.0, show_default=True, metavar="SECONDS", help="For each part that is timed."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of every library.  [default: physical cores]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and of the order.")
@click.option("--output", type=Folder(), metavar="DIR", help="Where results and report go.  [default: reports/<machine>]")
@device_option
def mobilenet(
    alpha: str,
    resolution: str,
    batch: int,
    weights: Path | None,
    image: Path | None,
    time_limit: float,
    threads: int | None,
    seed: int,
    output: Path | None,
    device: str,
) -> None:
    """Time MobileNet-V1 beside its all-standard counterpart and beside other libraries, layer by layer and end to end.

    Several alphas or resolutions are timed end to end, and the largest layer by layer. What it finds is added to the results in
    DIR, in the place of what was there of the same network.

    \b
    sepconv-bench mobilenet                                        about four minutes
    sepconv-bench mobilenet --alpha 0.25,0.5,0.75,1 --resolution 128,160,192,224
    sepconv-bench mobilenet --image cat.jpg --weights mine.safetensors
    sepconv-bench mobilenet --device cuda                          on an NVIDIA GPU
    """
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.model.networks import ALPHAS, RESOLUTIONS
    from sepconv_bench.results import store
    from sepconv_bench.run.sweep import NetworkSettings, sweep_networks

    alphas, resolutions = _some_of("alpha", alpha, ALPHAS), _some_of("resolution", resolution, RESOLUTIONS)
    if device == "cuda":
        gpu.require_for_timing()
    if image is not None:
        _classify(image, alphas, resolutions, weights, seed, device)
        return
    if weights is not None and len(alphas) > 1:
        raise InputError(f"--weights are those of one alpha; --alpha is {alpha!r}")
    threads = allowed_threads(threads)
    rules = Rules(seconds=time_limit)
    settings = NetworkSettings(alphas, resolutions, batch, weights, threads, rules, seed=seed, device=device)
    folder = output or Path("reports") / _machine_name(device, threads)
    with store.claimed(folder):

        def opened() -> store.Results:
            return store.open_results(folder, write=True) if (folder / store.FILE_NAME).exists() else store.create(folder)

        with _progress() as tell:
            sweep_networks(settings, opened, tell)
        with store.open_results(folder) as results:
            _tell_layers(results)
            _draw_report(results, folder)


def _tell_layers(results: Any) -> None:
    from sepconv_bench.report.network import told_layers
    from sepconv_bench.results.tables import layers, network

    click.echo(told_layers(layers(results), network(results)))


def _machine_name(device: str, threads: int) -> str:
    if device == "cuda":
        from sepconv_bench.measure.cuda import fingerprint

        return fingerprint()["machine"]
    from sepconv_bench.measure.machine import machine_name

    return machine_name(threads)


def _some_of(name: str, text: str, there: Sequence[float]) -> tuple[Any, ...]:
    """Those of the numbers `there` that are listed, in order."""
    try:
        asked = {float(word) for word in text.split(",")}
    except ValueError:
        asked = set()
    if not asked or not asked <= set(there):
        raise InputError(f"--{name} is {text!r}; it takes one or more of {','.join(f'{value:g}' for value in there)}")
    return tuple(value for value in there if value in asked)


def _classify(
    image: Path, alphas: Sequence[float], resolutions: Sequence[int], weights: Path | None, seed: int, device: str
) -> None:
    from sepconv_bench.model.networks import mobilenet_v1
    from sepconv_bench.network import plan
    from sepconv_bench.network.image import read_image
    from sepconv_bench.network.weights import random_weights, read_weights

    if len(alphas) > 1 or len(resolutions) > 1:
        raise InputError("--image takes one alpha and one resolution")
    layers = mobilenet_v1(alphas[0], resolutions[0])
    picture = read_image(image, resolutions[0])
    given = read_weights(weights) if weights else random_weights(layers, seed)
    (probabilities,) = plan.Plan(layers, given, plan.device(device))(picture)
    if weights is None:
        click.echo(f"{PROGRAM}: the weights are random, and the probabilities mean nothing; --weights FILE", err=True)
    click.echo("class,probability")
    for number in probabilities.argsort()[::-1]:
        click.echo(f"{number},{probabilities[number]:.6g}")


@cli.command()
@click.argument("folders", metavar="[DIR]...", type=Folder(), nargs=-1)
@click.option("--asv", "asv_results", type=Folder(), metavar="RESULTS", help="Of what asv has recorded, as .asv/results.")
@click.option(
    "--output",
    type=Folder(),
    metavar="DIR",
    help="Where a report of several DIRs or of asv's results goes.  [default: reports/machines, reports/history]",
)
def report(folders: tuple[Path, ...], asv_results: Path | None, output: Path | None) -> None:
    """Draw the report of the results in DIR again, that of several machines side by side, or of asv's results over commits.

    \b
    sepconv-bench report reports/intel-xeon-2-threads
    sepconv-bench report reports/here reports/there
    sepconv-bench report --asv .asv/results
    """
    if bool(folders) == (asv_results is not None):
        came = "both came" if folders else "neither came"
        raise InputError(f"report takes either the DIR of a run or --asv RESULTS; {came}")
    if len(folders) > 1:
        from sepconv_bench.report.machines import write_comparison
        from sepconv_bench.results.store import open_results

        with ExitStack() as stack:
            several = [stack.enter_context(open_results(folder)) for folder in folders]
            click.echo(f"report: {write_comparison(several, output or Path('reports') / 'machines')}")
    elif folders:
        from sepconv_bench.report.page import write_report
        from sepconv_bench.results.store import open_results

        if output is not None:
            raise InputError("--output goes with several DIRs or --asv; the report of a run lies beside its results")
        with open_results(folders[0]) as results:
            click.echo(f"report: {write_report(results, folders[0])}")
    elif asv_results is not None:
        from sepconv_bench.report.history import write_history
        from sepconv_bench.results import history

        found = history.read(asv_results)
        for line in found.unread:
            click.echo(f"{PROGRAM}: left out: {_one_line(line)}", err=True)
        click.echo(f"report: {write_history(found, output or Path('reports') / 'history')}")


@cli.command()
@folder_argument
@click.option(
    "--table",
    type=click.Choice(["timings", "ratios", "why", "peers", "sums", "network", "layers", "samples"]),
    default="ratios",
    show_default=True,
)
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Into a file, not to standard output."
)
def export(folder: Path, table: str, form: str, output: Path | None) -> None:
    """Write a table of the results in DIR: timings, ratios, why each is not what was promised, our kernels beside the peers,
    the sums over VGG-16 or Inception-V1 where every cell of their grids is there, MobileNet-V1's parts (network: each kernel's
    time, layers: side by side), or every sample behind the first five."""
    from sepconv_bench.results import store, tables

    with store.open_results(folder) as results:
        text = tables.written(tables.table(results, table), form)
    if output is None:
        sys.stdout.buffer.write(text)
    else:
        files.write(output, text)


@cli.command()
@folder_argument
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Into a file, between its lines <!-- ladder --> and <!-- end of ladder -->, not to standard output.",
)
def ladder(folder: Path, into: Path | None) -> None:
    """The table of rungs from the results in DIR: GFLOP/s, share of the peak, beside each peer. In Markdown."""
    from sepconv_bench.report import ladder as rungs
    from sepconv_bench.results.store import open_results

    with open_results(folder) as results:
        table = rungs.ladder(results)
    if into is None:
        click.echo(table, nl=False)
    else:
        rungs.write_between_markers(table, into)


@cli.command()
@_kernel_options
def check(kernels: str | None, plugins: tuple[str, ...], threads: int | None, timeout: float, device: str) -> None:
    """Compare every kernel with the float64 reference on awkward shapes; exit 1 if one is wrong."""
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run.sweep import AWKWARD, Settings
    from sepconv_bench.run.sweep import check as checked

    settings = Settings(
        Grid("awkward", "", AWKWARD), kernels, plugins, allowed_threads(threads), timeout=timeout, device=device
    )
    verdicts: dict[str, list] = {}
    for verdict in checked(settings):
        verdicts.setdefault(verdict.kernel, []).append(verdict)
    wrong = 0
    for kernel, found in verdicts.items():
        bad = [verdict for verdict in found if verdict.status not in ("ok", "unsupported")]
        right = [verdict.error for verdict in found if verdict.status == "ok"]
        wrong += bool(bad)
        worst = f", worst error {max(right):.2f} of what float32 rounding explains" if right else ""
        click.echo(f"{'WRONG' if bad else 'right'}  {kernel}: {len(right)} of {len(AWKWARD)} shapes{worst}")
        for verdict in bad:
            click.echo(f"       {verdict.shape}: {verdict.reason}")
    click.echo(f"{len(verdicts) - wrong} kernels right, {wrong} wrong")
    if wrong:
        sys.exit(1)


@cli.command()
@click.argument("folder", metavar="[DIR]", type=Folder(), required=False)
@_axis_options
@click.option("--network", type=click.Choice(NETWORK_GRIDS), help="The blocks of a network, one by one and together.")
@click.option(
    "--csv",
    "layers_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Your own layers: columns D_K,M,N,D_G and, where they are not 1, stride,batch; others are kept.",
)
@device_option
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the table there, too, as CSV."
)
def predict(
    folder: Path | None,
    network: str | None,
    layers_file: Path | None,
    device: str,
    output: Path | None,
    **axes: str | None,
) -> None:
    """Times and speedup of shapes that were not measured, from the cells in DIR that were.  [default: reports/<machine>]

    Predicted is the fastest kernel of each side, with 90 % intervals, and with what cross-validation says of them.

    \b
    sepconv-bench predict --D_K 3 --M 64 --N 128 --D_G 56
    sepconv-bench predict reports/intel-xeon-2-threads --network mobilenet
    sepconv-bench predict --csv mylayers.csv --output predicted.csv
    """
    import pandas as pd

    from sepconv_bench.measure.machine import default_threads
    from sepconv_bench.predict.prediction import Model, read_layers
    from sepconv_bench.report import predicted as told
    from sepconv_bench.results import store
    from sepconv_bench.results.tables import written

    given = {axis: text for axis, text in axes.items() if text is not None}
    ways = [f"--{name}" for name in given] + ["--network"] * bool(network) + ["--csv"] * bool(layers_file)
    if bool(given) + bool(network) + bool(layers_file) != 1:
        came = f"{' '.join(ways)} came together" if ways else "none came"
        raise InputError(f"predict takes either sizes, as --D_K 3 --N 128, or --network, or --csv; {came}")
    more, shapes = pd.DataFrame(), list(grid_from_axes(given).shapes) if given else []
    if network is not None:
        shapes = list(network_shapes(network))
    elif layers_file is not None:
        more, shapes = read_layers(layers_file)
    with store.open_results(folder or Path("reports") / _machine_name(device, default_threads())) as results:
        model = Model(results.cells(), device)
    predicted = model.predict(shapes)
    predicted = pd.concat([more[[name for name in more if name not in predicted]], predicted], axis=1)
    click.echo(told.told_shapes(predicted))
    if len(shapes) > 1 and not given:
        click.echo(told.told_total(model.total(shapes), len(shapes)))
    click.echo(told.told_accuracy(model.accuracy))
    if output is not None:
        files.write(output, written(predicted, "csv"))


_threshold_option = click.option(
    "--threshold",
    type=Positive(0.0, 10),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Exit with 1 if anything is slower by so much.",
)
_markdown_option = click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the table as Markdown, too."
)


@cli.command()
@click.argument("base", metavar="BASE")
@click.argument("new", metavar="[NEW]", required=False)
@click.option("--grid", "grid_name", metavar="NAME", help=f"One of {', '.join(GRIDS)}.  [default: tracked]")
@_axis_options
@click.option("--kernels", metavar="PATTERNS", help="Only these.  [default: the fastest of ours of each operator]")
@click.option(
    "--time-limit",
    type=Positive(0.01),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="For each eight kernels on a shape.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of every kernel.  [default: physical cores]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the data and of the order.")
@_threshold_option
@_markdown_option
def ab(
    base: str,
    new: str | None,
    grid_name: str | None,
    kernels: str | None,
    time_limit: float,
    threads: int | None,
    seed: int,
    threshold: float,
    markdown: Path | None,
    **axes: str | None,
) -> None:
    """Compare two revisions of this repository: faster, slower, same, or ambiguous.

    BASE and NEW are branches, tags or commits; without NEW it is the checkout as it is, changes to tracked files and all.
    Each is built once, and kept. Exit code 1 if something is slower by the threshold or more, 2 if it could not be measured.

    \b
    sepconv-bench ab main                                   what have I done?
    sepconv-bench ab v1.0 main --threshold 0.03
    sepconv-bench ab main --kernels 'cpu.depthwise.*' --D_G 7:112:x2
    """
    import numpy as np

    from sepconv_bench.kernels.registry import select
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run import revision
    from sepconv_bench.run.ab import Benchmark, compare

    shapes = _grid(grid_name, axes, "tracked").shapes
    names = select(kernels or ",".join(FASTEST))
    checkout = revision.repository()
    sides = (revision.build(checkout, base, click.echo), revision.build(checkout, new, click.echo))
    benchmarks = [Benchmark(name, shape) for shape in shapes for name in names]
    rng = np.random.default_rng(seed)
    found = compare(*sides, benchmarks, allowed_threads(threads), time_limit, rng, click.echo)
    _tell_verdicts(found.verdicts, found.left_out, (sides[0].told, sides[1].told), threshold, markdown)


@cli.command("compare")
@click.argument("old", metavar="DIR_A", type=Folder())
@click.argument("new", metavar="DIR_B", type=Folder())
@_threshold_option
@_markdown_option
def compare_(old: Path, new: Path, threshold: float, markdown: Path | None) -> None:
    """Compare two results files, B beside A: the same verdicts and exit codes as `ab`."""
    from sepconv_bench.results import store
    from sepconv_bench.results.comparison import compare_files

    with store.open_results(old) as before, store.open_results(new) as after:
        found = compare_files(before, after)
    for what, then, now in found.differs:
        click.echo(f"{PROGRAM}: not the same {what}: {_one_line(f'{then} and {now}')}", err=True)
    _tell_verdicts(found.verdicts, found.left_out, (str(old), str(new)), threshold, markdown)


def _tell_verdicts(
    verdicts: list, left_out: dict[str, str], sides: tuple[str, str], threshold: float, markdown: Path | None
) -> None:
    from sepconv_bench.report import verdicts as told

    click.echo(told.text(verdicts, left_out))
    if markdown is not None:
        files.write(markdown, told.markdown(verdicts, left_out, *sides, threshold))
    if not verdicts:
        raise InputError("nothing could be compared")
    if told.regressions(verdicts, threshold):
        sys.exit(1)


@cli.command("list")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file that registers kernels; may be repeated."
)
def list_(plugins: tuple[str, ...]) -> None:
    """The kernels and the grids there are."""
    from sepconv_bench.kernels import registry

    for plugin in plugins:
        registry.load_plugin(plugin)
    click.echo("kernels")
    for name in registry.kernel_names(missing=True):
        kernel = registry.get_kernel(name)
        told = kernel.missing or str(kernel.bind.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"  {name:34}{told}".rstrip())
    click.echo("grids")
    for grid in GRIDS.values():
        click.echo(f"  {grid.name:12}{len(grid.shapes):4} cells: {grid.shows}")


@cli.command()
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to measure with.  [default: physical cores]")
@device_option
@click.option("--doctor", is_flag=True, help="Say what makes measurements here worse than they need be, and what would help.")
def machine(threads: int | None, device: str, doctor: bool) -> None:
    """This machine's fingerprint and its ceilings: FMA peak, and copy bandwidth by footprint."""
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run.sweep import ceilings

    if doctor:
        from sepconv_bench.measure.doctor import diagnose

        found = diagnose(allowed_threads(threads))
        for advice in found or ["nothing was found that would disturb measurements here"]:
            click.echo(advice)
        return

    if device == "cuda":
        gpu.require_for_timing()
    fingerprint, measured = ceilings(allowed_threads(threads), device)
    for name, value in fingerprint.items():
        click.echo(f"{name:18}{_flat(value)}")
    click.echo(f"{'FMA peak':18}{measured['peak'][0] / 1e9:.1f} GFLOP/s, vectors of {measured['lanes']} floats")
    for level in measured["levels"]:
        click.echo(f"{'copy':18}{level['footprint'] >> 10:>8} KiB {level['bandwidth'][0] / 1e9:8.1f} GB/s")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(part)}" for key, part in value.items())
    return ", ".join(_flat(part) for part in value) if isinstance(value, list) else str(value)


def _grid(name: str | None, axes: dict[str, str | None], default: str = "default") -> Grid:
    given = {axis: text for axis, text in axes.items() if text is not None}
    if given and name is not None:
        raise InputError(f"--grid {name} came together with --{' --'.join(given)}; a grid is either named or given by its axes")
    return grid_from_axes(given) if given else get_grid(name or default)


@contextmanager
def _progress() -> Iterator[Callable]:
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

        def tell(step: Any) -> None:
            bar.console.print(step.line, markup=False)
            bar.update(task, completed=step.done, total=step.total)
            bar.refresh()

        yield tell


@contextmanager
def _told_where_it_stopped(folders: Sequence[Path], grid: Grid) -> Iterator[None]:
    from sepconv_bench.results import store

    try:
        yield
    except Stopped:
        told = []
        for folder in folders:
            there = set()
            with suppress(InputError), store.open_results(folder) as results:
                there = {shape for shape, _ in results.done()}.intersection(grid.shapes)
            told.append(f"{len(there)} of {len(grid.shapes)} cells are in {folder}")
        where = ", ".join(told) or "nothing was measured yet"
        click.echo(f"{PROGRAM}: stopped; {where}, --resume with the same options goes on", err=True)
        sys.exit(_INTERRUPTED)


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
        _refuse_thread_count(os.environ.get(_NUMBA_THREADS, "1"))
        cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        _refuse(error.format_message())
    except InputError as error:
        _refuse(str(error))
    except (click.Abort, KeyboardInterrupt, Stopped):
        click.echo(f"{PROGRAM}: stopped", err=True)
        sys.exit(_INTERRUPTED)
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
    """A stream that is closed leads nowhere, and so does what is written to it. A name that is not UTF-8 can be told."""
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
    click.echo(f"{PROGRAM}: {_one_line(message)}", err=True)
    sys.exit(2)


def _one_line(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey: it may come out of somebody's file."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split()))
