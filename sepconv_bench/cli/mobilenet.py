"""mobilenet: time a whole network, or classify an image with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from sepconv_bench import gpu
from sepconv_bench.cli.drawing import draw_report
from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import File, Positive, device_option, output_option
from sepconv_bench.cli.progress import progress, stopped_cleanly
from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Fingerprint, Rules


@click.command()
@click.option("--alpha", default="1", show_default=True, metavar="WIDTHS", help="Width multipliers, of 0.25,0.5,0.75,1.")
@click.option(
    "--resolution", default="224", show_default=True, metavar="SIZES", help="Widths of the input image, of 128,160,192,224."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images of a launch.")
@click.option(
    "--weights",
    type=File(),
    metavar="FILE",
    help="Weights, .npz or .safetensors.  [default: random]",
)
@click.option(
    "--image",
    type=File(),
    metavar="FILE",
    help="Classify a photograph: print the probability of each class, and time nothing.",
)
@click.option(
    "--time-limit",
    type=Positive(0.01),
    default=8.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for each part of the network.",
)
@click.option("--resume", is_flag=True, help="Measure only the parts that DIR does not hold yet.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of every library.  [default: physical cores]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the weights and of the order.")
@output_option
@device_option
def mobilenet(
    alpha: str,
    resolution: str,
    batch: int,
    weights: Path | None,
    image: Path | None,
    time_limit: float,
    resume: bool,
    threads: int | None,
    seed: int,
    output: Path | None,
    device: str,
) -> None:
    """Time MobileNet-V1 and its counterpart.

    The counterpart has standard convolutions only. Both are timed layer by layer and end to end, on our kernels and on other
    libraries. Of several alphas or resolutions, all are timed end to end and the largest layer by layer. The result is added
    to the results in DIR, and replaces what was there of the same network. Without --output, DIR is the latest of this
    machine and commit.

    \b
    Examples:
      sepconv-bench mobilenet                                    about four minutes
      sepconv-bench mobilenet --alpha 0.25,0.5,0.75,1 --resolution 128,160,192,224
      sepconv-bench mobilenet --image cat.jpg --weights mine.safetensors
      sepconv-bench mobilenet --device cuda                      on an NVIDIA GPU
    """
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.model.networks import ALPHAS, RESOLUTIONS
    from sepconv_bench.results import store
    from sepconv_bench.run import folders
    from sepconv_bench.run.network_sweep import NetworkSettings, sweep_networks

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
    with ExitStack() as claims:
        into = [claims.enter_context(folders.held(output))] if output else []

        def opened(machine: Fingerprint) -> store.Results:
            if not into:
                into.append(claims.enter_context(folders.held(None, partial(folders.that_goes_on, machine))))
            (folder,) = into
            return store.open_results(folder, write=True) if (folder / store.FILE_NAME).exists() else store.create(folder)

        with stopped_cleanly(into, settings.parts, _show, "parts"), progress() as advance:
            sweep_networks(settings, opened, advance, resume)
        _show(*into)


def _show(folder: Path) -> None:
    """Print the layers, and draw the report."""
    from sepconv_bench.report.network import describe_layers
    from sepconv_bench.results import store
    from sepconv_bench.results.tables import layers, network

    with store.open_results(folder) as results:
        click.echo(describe_layers(layers(results), network(results)))
        draw_report(results, folder)


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
        say("the weights are random, and the probabilities mean nothing; --weights FILE")
    click.echo("class,probability")
    for number in probabilities.argsort()[::-1]:
        click.echo(f"{number},{probabilities[number]:.6g}")
