"""Tables as people read them: the texts of some columns, as `results.columns` writes them; in Markdown and on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sepconv_bench.results.columns import Table

INTERVAL = "95% interval"


@dataclass(frozen=True)
class TextTable:
    """Headings, whether each stands over text (which is aligned to the left), and the rows."""

    headings: list[str]
    texts: list[bool]
    rows: list[list[str]]


def view(table: Table, frame: pd.DataFrame, names: Sequence[str | tuple[str, str]]) -> TextTable:
    """The columns of those names; two names are the ends of an interval."""
    headings, texts, columns = [], [], []
    for name in names:
        ends = [[table[end].text(value) for value in frame[end]] for end in ((name,) if isinstance(name, str) else name)]
        headings.append(table[name].heading if isinstance(name, str) else INTERVAL)
        texts.append(isinstance(name, str) and table[name].is_text)
        columns.append([" to ".join(both) for both in zip(*ends, strict=True)])
    return TextTable(headings, texts, [list(row) for row in zip(*columns, strict=True)])


def markdown_table(shown: TextTable) -> str:
    """Its cells as they are: what came from outside must have been through `plain.in_markdown`."""
    frame = pd.DataFrame(shown.rows, columns=shown.headings)
    align = ["left" if text else "right" for text in shown.texts]
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align) if shown.rows else ""


def terminal_table(shown: TextTable, heading: bool = True) -> str:
    """Columns aligned, a line a row."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=heading)
    for name, text in zip(shown.headings, shown.texts, strict=True):
        grid.add_column(Text(name), justify="left" if text else "right", no_wrap=True)
    for row in shown.rows:
        grid.add_row(*(Text(cell.replace("\n", "\\n")) for cell in row))
    written = io.StringIO()
    Console(file=written, width=_WIDEST, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


_WIDEST = 10_000  # letters of a line: a terminal wraps better than a table of its own accord
