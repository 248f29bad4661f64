"""A section's figures, drawn and written: as files beside the page, and as pictures within it."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from sepconv_bench.model.shapes import IDENTITY
from sepconv_bench.report.figures import saving
from sepconv_bench.report.figures.palette import SOFT
from sepconv_bench.report.figures.registry import ENTRIES
from sepconv_bench.report.plain import in_figure

FIGURES = "figures"  # the folder beside the page
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


def drawn(section: str, given: Mapping[str, object], folder: Path | None = None, prefix: str = "") -> list[DrawnFigure]:
    """Draw a section's figures from the tables given, by name, signed with the `source` given. They are written into
    `folder`, too, if there is one; the file of an earlier report goes where there is nothing to draw."""
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
        sign(figure, str(given["source"]), needed[0])
        picture = saving.save(figure, folder / stem) if folder else saving.pictures(figure, ("svg",))["svg"]
        data = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        heading = entry.heading.format_map(given)
        places = entry.places(figure, *needed) if entry.places else {}
        shown.append(DrawnFigure(entry.stem, entry.short, heading, entry.caption, data, entry.tall, entry.intervals, places))
    return shown


def sign(figure: Figure, source: str, table: object) -> None:
    """Say under a figure what it is of: how many shapes, the machine and the day."""
    shapes = ""
    if isinstance(table, pd.DataFrame) and {*IDENTITY} <= {*table.columns} and "part" not in table:
        count = len(table[[*IDENTITY]].drop_duplicates())
        shapes = f"n = {count} shape{'s' * (count != 1)}; "
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
