"""What scan and explain measure before they speak: shapes of somebody's layers, added to this machine's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sepconv_bench.cli.drawing import opened
from sepconv_bench.cli.progress import progress, stopped_cleanly
from sepconv_bench.errors import InputError
from sepconv_bench.measure.records import Rules
from sepconv_bench.model.grids import Grid
from sepconv_bench.model.shapes import ConvShape

SECONDS = 5.0  # a shape


def measure(
    wanted: Sequence[tuple[Sequence[str], Sequence[ConvShape]]],
    folder: Path | None,
    device: str,
    seconds: float,
    show: Callable[[Path], None],
) -> Path:
    """Measure shapes with the kernels of some operators each; what the folder holds is left alone. Gives the folder: the one
    named, else the latest of this machine and commit. When it is stopped, `show` what is there."""
    from sepconv_bench import gpu
    from sepconv_bench.api.run import worth_timing
    from sepconv_bench.measure.machine import allowed_threads
    from sepconv_bench.run import folders
    from sepconv_bench.run.sweep import Settings, sweep

    if device == "cuda":
        gpu.require_for_timing()
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    threads = allowed_threads(None)

    def own() -> Path:
        return folders.of_this_commit(folders.machine_name(device, threads))

    asked = {shape for _, shapes in wanted for shape in shapes}
    with folders.held(folder, own) as held:
        for operators, shapes in wanted:
            grid = Grid("custom", "the layers of a model", tuple(dict.fromkeys(shapes)), seconds)
            settings = Settings(
                grid, worth_timing(operators, device), threads=threads, rules=Rules(seconds=seconds), device=device
            )
            if grid.shapes:
                with stopped_cleanly([held], asked, show, by_itself=True), progress() as advance:
                    sweep(settings, lambda: opened(held, resume=True), advance)
        return held
