"""A section's figures, drawn and written: as files beside the page, and as pictures within it."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sepconv_bench.report.figures import saving
from sepconv_bench.report.figures.registry import ENTRIES

FIGURES = "figures"  # the folder beside the page


@dataclass(frozen=True)
class DrawnFigure:
    """A figure on a page; `data` is the picture, `places` where its points are, by the rows that they stand for."""

    stem: str
    heading: str
    caption: str
    data: str
    tall: bool
    intervals: bool
    places: Mapping[Hashable, tuple[float, float]]


def drawn(section: str, given: Mapping[str, object], folder: Path, prefix: str = "") -> list[DrawnFigure]:
    """Draw a section's figures from the tables given, by name, and write them into `folder`; the file of an earlier report goes
    where there is nothing to draw."""
    shown = []
    for entry in ENTRIES:
        if entry.section != section:
            continue
        needed = [given[name] for name in entry.needs]
        figure, stem = entry.draw(*needed), f"{prefix}{entry.stem}"
        if figure is None:
            for kind in saving.KINDS:
                (folder / f"{stem}.{kind}").unlink(missing_ok=True)
            continue
        picture = saving.save(figure, folder / stem)
        data = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
        heading = entry.heading.format_map(given)
        places = entry.places(figure, *needed) if entry.places else {}
        shown.append(DrawnFigure(entry.stem, heading, entry.caption, data, entry.tall, entry.intervals, places))
    return shown
