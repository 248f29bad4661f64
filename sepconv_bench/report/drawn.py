"""A section's figures, drawn and written: as files next to the page, and as pictures within it."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from sepconv_bench.model.shapes import FIELDS, IDENTITY
from sepconv_bench.report.figures import saving
from sepconv_bench.report.figures.palette import SOFT
from sepconv_bench.report.figures.registry import ENTRIES
from sepconv_bench.report.plain import in_figure

FIGURES = "figures"  # the folder next to the page
_SMALL = 7.5  # points


@dataclass(frozen=True)
class DrawnFigure:
    """A figure on a page; `data` is the picture, `places` where its points are, by the rows that they stand for."""

    stem: str
    short: str
    heading: str
    caption: str
    data: str
    tall: bool
    intervals: bool
    places: Mapping[Hashable, tuple[float, float]]


def drawn(section: str, given: Mapping[str, Any], folder: Path | None = None, prefix: str = "") -> list[DrawnFigure]:
    """Draw a section's figures from the tables given, by name, signed with the `source` given. They are written into
    `folder`, too, if there is one; the file of an earlier report goes where there is nothing to draw. A figure says of which
    dtype it is where that is not float32, or not the only one of the `dtypes` given."""
    shown = []
    for entry in ENTRIES:
        if entry.section != section:
            continue
        needed = [given[name] for name in entry.needs]
        figure, stem = entry.draw(*needed), f"{prefix}{entry.stem}"
        if figure is None:
            if folder:
                for kind in saving.KINDS:
                    (folder / f"{stem}.{kind}").unlink(missing_ok=True)
            continue
        dtype = _dtype_to_say(needed[0], given.get("dtypes", ()))
        sign(
            figure,
            f"{given['source']}; in {dtype}" if dtype else str(given["source"]),
            entry.shown(needed[0]) if entry.shown else needed[0],
        )
        picture = saving.save(figure, folder / stem) if folder else saving.pictures(figure, ("svg",))["svg"]
        data = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        heading = entry.heading.format_map(given)
        places = entry.places(figure, *needed) if entry.places else {}
        caption = f"{entry.caption} In {dtype}." if dtype else entry.caption
        shown.append(DrawnFigure(entry.stem, entry.short, heading, caption, data, entry.tall, entry.intervals, places))
    return shown


def _dtype_to_say(table: object, dtypes: Iterable[str]) -> str:
    """The one dtype of a table, where readers would not take it for granted; `dtypes`: those of all results."""
    found = {*table["dtype"]} if isinstance(table, pd.DataFrame) and "dtype" in table else set()
    return found.pop() if len(found) == 1 and {*found, *dtypes} != {"f32"} else ""


def sign(figure: Figure, source: str, table: object) -> None:
    """Say under a figure what it is of: how many shapes, those of `table`, the machine and the day."""
    shapes = ""
    if isinstance(table, pd.DataFrame) and {*IDENTITY} <= {*table.columns} and "part" not in table:
        count, dtypes = len(table[[*FIELDS]].drop_duplicates()), table["dtype"].nunique()
        shapes = f"n = {count} shape{'s' * (count != 1)}{f' in {dtypes} dtypes' * (dtypes > 1)}; "
    words = f"{shapes}{in_figure(source)}"
    if not figure.legends:
        figure.supxlabel(words, x=0.01, ha="left", fontsize=_SMALL, color=SOFT)
        return
    # A legend that is outside of the panels has the place that a label of the figure would take: there it says so itself.
    legend = figure.legends[0]
    more = legend.get_title().get_text()
    legend.set_title("\n".join(filter(None, (more, words))), prop=FontProperties(size=_SMALL))
    legend.get_title().set_color(SOFT)
    legend.set_alignment("left")
