"""predict: times of shapes that were not measured."""

from __future__ import annotations

from pathlib import Path

import click

from sepconv_bench import files
from sepconv_bench.cli.messages import print_json
from sepconv_bench.cli.options import File, axis_options, device_option, folder_argument, json_option
from sepconv_bench.errors import InputError
from sepconv_bench.model.grids import NETWORK_GRIDS, grid_from_axes, network_shapes
from sepconv_bench.model.shapes import OPTIONAL_AXES


@click.command()
@folder_argument
@axis_options
@click.option(
    "--network", type=click.Choice(NETWORK_GRIDS), help="Predict the blocks of this network, one by one and together."
)
@click.option(
    "--csv",
    "layers_file",
    type=File(),
    metavar="FILE",
    help="Predict your own layers: columns D_K,M,N,D_G (or kernel_size,in_channels,out_channels,output_size) and, where they"
    f" are not as usual, {','.join((*OPTIONAL_AXES, 'dilation', 'padding', 'multiplier', 'groups'))}; 3x1 is rows x columns;"
    " input_size may come in the place of output_size; other columns are kept.",
)
@device_option
@click.option("--output", type=File(), metavar="FILE", help="Also write the table as CSV into FILE.")
@json_option
def predict(
    folder: Path | None,
    network: str | None,
    layers_file: Path | None,
    device: str,
    output: Path | None,
    as_json: bool,
    **axes: str | None,
) -> None:
    """Predict shapes that were not measured.

    From the shapes in DIR that were measured; without DIR, the latest results of this machine. Predicted is the fastest
    kernel of each side, with a 90 % interval. The last line says how far off predictions of measured shapes were.

    \b
    Examples:
      sepconv-bench predict --D_K 3 --M 64 --N 128 --D_G 56
      sepconv-bench predict reports/intel-xeon-2-threads --network mobilenet
      sepconv-bench predict --csv mylayers.csv --output predicted.csv
    """
    import pandas as pd

    from sepconv_bench.predict.layers import read_layers
    from sepconv_bench.predict.prediction import Model
    from sepconv_bench.report import predicted as words
    from sepconv_bench.results import store
    from sepconv_bench.results.tables import written
    from sepconv_bench.run import folders

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
    with store.open_results(folders.to_read(folder, device)) as results:
        model = Model(results.cells(), device)
    predicted = model.predict(shapes)
    predicted = pd.concat([more[[name for name in more if name not in predicted]], predicted], axis=1)
    total = model.total(shapes) if len(shapes) > 1 and not given else None
    if as_json:
        print_json(
            {
                "shapes": predicted.to_dict("records"),
                "total": None if total is None else total.to_dict("records")[0],
                "accuracy": model.accuracy,
            }
        )
    else:
        click.echo(words.describe_shapes(predicted))
        if total is not None:
            click.echo(words.describe_total(total, len(shapes)))
        click.echo(words.describe_accuracy(model.accuracy))
    if output is not None:
        files.write(output, written(predicted, "csv"))
