"""run: measure shapes, as the command does, and load what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from sepconv_bench.api.load import Loaded
from sepconv_bench.measure.machine import allowed_threads
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import Grid, get_grid, in_dtypes
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.predict.layers import shapes_of
from sepconv_bench.results import store
from sepconv_bench.run import folders
from sepconv_bench.run.sweep import Settings, sweep

SLOW = ("loops", "parallel", "numpy")  # variants that are there to be learned from: nobody would use them for a layer


def run(
    grid: str | pd.DataFrame | Iterable[ConvShape],
    output: str | Path | None = None,
    *,
    kernels: str | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    target: float = Rules().target,
    seed: int = 0,
    device: str = "cpu",
    dtype: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Loaded:
    """Measure a grid by its name, the shapes of a table (columns as `Loaded.predict` takes them) or shapes, in pairs.

    `output`: a folder; cells that it holds already are left alone. By default a new one of today's under results/. `kernels`:
    patterns as 'cpu.*.tiled,cpu.*.torch'. `time_limit`: seconds a shape. `target`: half-width at which a ratio is known.
    `dtype`: one or several of them for all shapes, as 'f32,bf16', in place of their own.
    `progress` is called with a line a shape, `print` for one. InputError in one line where something does not fit.
    """
    chosen = _grid(grid) if dtype is None else in_dtypes(_grid(grid), dtype)
    settings = Settings(
        chosen,
        kernels,
        threads=allowed_threads(threads),
        rules=Rules(target, time_limit or chosen.cell_seconds),
        seed=seed,
        device=device,
    )

    def own() -> Path:
        return folders.new(folders.machine_name(device, settings.threads))

    with folders.held(None if output is None else Path(output), own) as folder:
        measure(settings, folder, progress or (lambda line: None))
    return Loaded(folder)


def measure(settings: Settings, folder: Path, told: Callable[[str], None]) -> None:
    """What the folder does not hold yet of a grid."""

    def opened() -> store.Results:
        return store.open_results(folder, write=True) if (folder / store.FILE_NAME).exists() else store.create(folder)

    sweep(settings, opened, lambda step: told(f"[{step.done}/{step.total}] {step.line}"))


def worth_timing(operators: Iterable[str], device: str) -> str:
    """The kernels of those operators that anybody would use for a layer, as patterns."""
    from sepconv_bench.kernels.registry import kernel_names

    names = [name for one in operators for name in kernel_names(one, device) if name.rpartition(".")[2] not in SLOW]
    return ",".join(names)


def _grid(asked: str | pd.DataFrame | Iterable[ConvShape]) -> Grid:
    if isinstance(asked, str):
        return get_grid(asked)
    shapes = shapes_of(asked) if isinstance(asked, pd.DataFrame) else list(asked)
    return Grid("custom", "shapes given from Python", tuple(dict.fromkeys(shapes)))
