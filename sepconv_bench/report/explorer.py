"""The explorer of a page: predictions of the machine's model over a grid of sizes, which sliders walk through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import mode
from typing import Any

import numpy as np

from sepconv_bench.errors import ResultsError
from sepconv_bench.model.shapes import OPTIONAL_AXES, ConvShape
from sepconv_bench.predict.prediction import CONFIDENCE, Model
from sepconv_bench.report.figures.palette import EITHER, STANDARD
from sepconv_bench.results.cell import Cell

_SLIDERS = ("D_K", "M", "N", "D_G")
_MOST_CELLS = 150  # that a model is fitted to for a page: its cost is their cube
_MOST_STEPS = 8  # of a slider
_NEUTRAL = "#7b818c"  # of lines and letters, on a light ground and on a dark one


@dataclass(frozen=True)
class Explorer:
    """What a page needs: the positions of the sliders, the numbers at each, the plot, and the library that draws it."""

    sliders: dict[str, list[int]]
    devices: list[str]
    given: str
    accuracy: list[str]
    library: str


def explorer(cells: Sequence[Cell]) -> Explorer | None:
    """Of each device with cells enough for a model; None where there is none."""
    timed = [cell for cell in cells if np.isfinite(cell.peak)]
    if not timed:
        return None
    sliders = {axis: _steps(axis, sorted({int(getattr(cell.shape, axis)) for cell in timed})) for axis in _SLIDERS}
    usual = {axis: mode(getattr(cell.shape, axis) for cell in timed) for axis in OPTIONAL_AXES}
    shapes = [ConvShape(*sizes, **usual) for sizes in product(*sliders.values())]
    devices, accuracy = {}, []
    chosen = timed[:: -(-len(timed) // _MOST_CELLS)]
    for device in dict.fromkeys(kernel.device for cell in timed for kernel in cell.declared.values()):
        try:
            model = Model(chosen, device)
        except ResultsError:
            continue  # too few cells
        devices[device] = _predictions(model, shapes)
        known = model.accuracy
        accuracy.append(
            f"{device}: fitted to {known.cells} measured shapes. Each predicted from the others, the speedup was off by"
            f" {known.median_error:.1%} (median), and {known.covered:.0%} were within their {CONFIDENCE:.0%} interval."
        )
    if not devices:
        return None
    given = {"sliders": sliders, "usual": usual, "confidence": CONFIDENCE, "devices": devices, "plot": _plot(devices)}
    # As text within a page: "</script>" must not end it.
    text = json.dumps(given, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return Explorer(sliders, [*devices], text, accuracy, _library())


def _steps(axis: str, found: Sequence[int]) -> list[int]:
    """Positions of a slider, within what was measured: the values themselves, or powers of two between the ends of channels."""
    if axis in ("M", "N") and found[-1] > found[0]:
        powers = [2**power for power in range(31) if found[0] <= 2**power <= found[-1]]
        found = powers if len(powers) > 1 else found
    if len(found) > _MOST_STEPS:
        found = [found[number] for number in np.linspace(0, len(found) - 1, _MOST_STEPS).round().astype(int)]
    return list(found)


def _predictions(model: Model, shapes: Sequence[ConvShape]) -> dict[str, Any]:
    predicted, factors = model.predict(shapes), model.factors(shapes)
    columns = {name: _short(predicted[name]) for name in ("theory_speedup", "speedup", "speedup_lo", "speedup_hi")}
    columns |= {name: _short([asdict(each)[name] for each in factors]) for name in asdict(factors[0])}
    return columns | {"measured": {name: _short(values) for name, values in model.measured().items()}}


def _short(values: Sequence[float] | Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _plot(devices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Bokeh's plot as JSON: the line of the formula, the measured shapes, and the one that is asked for."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import BasicTickFormatter, ColumnDataSource, Range1d
    from bokeh.models.annotations import Whisker
    from bokeh.plotting import figure

    values = [
        value for one in devices.values() for name in ("theory_speedup", "speedup_lo", "speedup_hi") for value in one[name]
    ]
    low, high = min(values) / 1.15, max(values) * 1.15
    plot = figure(
        x_axis_type="log", y_axis_type="log", x_range=Range1d(low, high), y_range=Range1d(low, high), height=420,
        sizing_mode="stretch_width",
        toolbar_location=None, tools="", x_axis_label="promised speedup", y_axis_label="predicted and measured speedup",
        background_fill_color=None, border_fill_color=None, outline_line_color=None,
    )  # fmt: skip
    for axis in plot.axis:
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _NEUTRAL
        axis.major_label_text_color = axis.axis_label_text_color = _NEUTRAL
        axis.axis_label_text_font_style = "normal"
        axis.formatter = BasicTickFormatter(use_scientific=False)
    plot.grid.grid_line_color, plot.grid.grid_line_alpha = _NEUTRAL, 0.2
    plot.line([low, high], [low, high], line_color=_NEUTRAL, line_width=1.5, legend_label="as promised")
    empty: dict[str, Any] = {"x": [], "y": []}
    measured = ColumnDataSource(empty, name="measured")
    plot.scatter("x", "y", source=measured, size=7, color=STANDARD, alpha=0.5, legend_label="measured shapes")
    asked = ColumnDataSource({**empty, "low": [], "high": []}, name="asked")
    whisker: dict[str, Any] = {
        "base": "x",
        "lower": "low",
        "upper": "high",
        "source": asked,
        "line_width": 2.5,
        "line_color": EITHER,
    }
    plot.add_layout(Whisker(**whisker))
    plot.scatter("x", "y", source=asked, size=10, color=EITHER, line_color="#ffffff", legend_label="your shape, predicted")
    plot.legend.location, plot.legend.label_text_color = "top_left", _NEUTRAL
    plot.legend.background_fill_alpha = plot.legend.border_line_alpha = 0
    # Bokeh counts its models over the process: from one here, for the same results to give the same page.
    item = json.dumps(json_item(plot, ID("explorer-plot")))
    names: dict[str, str] = {}
    return json.loads(
        re.sub(r'"(p\d+|[0-9a-f-]{36})"', lambda found: f'"{names.setdefault(found[1], f"m{len(names)}")}"', item)
    )


def _library() -> str:
    """The text of Bokeh's script, to stand in the page itself."""
    found = find_spec("bokeh")
    assert found is not None
    assert found.submodule_search_locations is not None
    path = Path(found.submodule_search_locations[0], "server", "static", "js", "bokeh.min.js")
    return path.read_text(encoding="utf-8")
