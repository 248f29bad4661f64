"""Figures as files: PNG, SVG and PDF, the same bytes for the same results."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from sepconv_bench import files
from sepconv_bench.report.figures import palette
from sepconv_bench.report.figures.style import STYLE

# What each figure is written as, and what must not be in it for the same results to give the same bytes.
KINDS: dict[str, dict | None] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
CROWD = 2500  # marks in a figure


def save(figure: Figure, stem: Path) -> bytes:
    """Write the figure as PNG, SVG and PDF files, the same bytes for the same results, and close it; gives the SVG.

    InputError where they cannot be written.
    """
    drawn = pictures(figure, KINDS)
    for kind, picture in drawn.items():
        files.write(stem.with_name(f"{stem.name}.{kind}"), picture)
    return drawn["svg"]


def pictures(figure: Figure, kinds: Iterable[str]) -> dict[str, bytes]:
    """The figure in those of KINDS, the same bytes for the same results; closes it."""
    drawn = {}
    _draw_crowds_as_pictures(figure)
    with plt.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name in a script that the font has not
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # of a name that leaves no room
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=KINDS[kind])
            with plt.rc_context({"figure.constrained_layout.use": False}):
                figure.set_layout_engine(None)  # as it is now; to lay it out again takes as long as to draw it
            drawn[kind] = buffer.getvalue()
    if "svg" in drawn:
        drawn["svg"] = with_dark_colours(drawn["svg"])
    plt.close(figure)
    return drawn


def with_dark_colours(picture: bytes) -> bytes:
    """An SVG that shows the palette's dark colours where the reader's scheme is dark; whatever does not know of schemes shows
    the light ones."""
    head, tag, rest = picture.partition(b"<svg ")
    attributes, end, body = rest.partition(b">")
    return b"".join((head, tag, attributes, end, palette.dark_style().encode(), body))


def _draw_crowds_as_pictures(figure: Figure) -> None:
    """Thousands of marks make a heavy page that opens slowly: then they are pixels, and everything else stays as it is."""
    drawn = [marks for axes in figure.axes for marks in axes.collections]
    many = {marks: max(np.shape(marks.get_offsets())[0], len(marks.get_paths())) for marks in drawn}
    if sum(many.values()) > CROWD:
        for marks, count in many.items():
            marks.set_rasterized(count > 1)
