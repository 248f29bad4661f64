"""A user's own layers from a CSV file, as spreadsheets, pandas and people write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.model.shapes import AXES, OPTIONAL_AXES, ConvShape

_NEEDED = tuple(axis for axis in AXES if axis not in OPTIONAL_AXES)
# The other names of the axes, as networks are written down in torch and elsewhere.
NAMES = {"kernel_size": "D_K", "in_channels": "M", "out_channels": "N", "output_size": "D_G", "batch_size": "batch"}
_AXES = {name.casefold(): axis for name, axis in NAMES.items()} | {axis.casefold(): axis for axis in AXES}
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # that a file of that encoding begins with
_SEPARATORS = ",;\t"


def read_layers(path: Path) -> tuple[pd.DataFrame, list[ConvShape]]:
    """What a file says of each layer beside its sizes, and its shape.

    The first line names the columns: D_K, M, N, D_G and, where they are not 1, stride and batch, in either case, or by the
    names in NAMES. Fields lie between commas, semicolons or tabs; a line that begins with # is none, nor is one of empty
    fields; 3.0 is 3. InputError, with the line's number, where a size is none.
    """
    try:
        rows = [(number, fields) for number, fields in _rows(_text(path)) if any(fields)]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise InputError(f"{path} names no layer; its first line must name {','.join(_NEEDED)}")
    (_, header), *layers = rows
    columns = [_AXES.get(name.casefold(), name) for name in header]
    _refuse_header(path, header, columns)
    if not layers:
        raise InputError(f"{path} names no layer")
    shapes = []
    for number, fields in layers:
        if len(fields) > len(columns) and any(fields[len(columns) :]):
            raise InputError(f"line {number} of {path} has {len(fields)} fields; its first line names {len(columns)} columns")
        try:
            said = dict(zip(columns, fields, strict=False))
            sizes: dict[str, Any] = {axis: _size(said.get(axis, "")) for axis in AXES if said.get(axis) or axis in _NEEDED}
            shapes.append(ConvShape(**sizes))
        except ShapeError as error:
            raise InputError(f"line {number} of {path}: {error}") from error
    full = [[*fields, *[""] * len(columns)][: len(columns)] for _, fields in layers]
    table = pd.DataFrame(full, columns=columns)
    return table[[name for name in columns if name not in AXES]], shapes


def shapes_of(layers: pd.DataFrame) -> list[ConvShape]:
    """The shapes of a table's rows, whose columns are named as those of a file. InputError names the row, counted from 0."""
    columns = [_AXES.get(str(name).strip().casefold(), name) for name in layers.columns]
    _refuse_header("the table", [str(name) for name in layers.columns], columns)
    shapes = []
    axes = [(axis, columns.index(axis)) for axis in AXES if axis in columns]
    for number, row in enumerate(layers.itertuples(index=False)):
        try:
            shapes.append(ConvShape(**{axis: _size(str(row[place])) for axis, place in axes}))  # type: ignore[arg-type]
        except ShapeError as error:
            raise InputError(f"row {number} of the table: {error}") from error
    return shapes


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a CSV file in UTF-8 or UTF-16: {error.reason} at byte {error.start}") from error


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number of each line and its fields, without the spaces around them, between what separates those of the first line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]
    first = next((line for _, line in lines if line.strip()), "")
    reader = csv.reader([line for _, line in lines], delimiter=max(_SEPARATORS, key=first.count), skipinitialspace=True)
    for fields in reader:
        yield lines[reader.line_num - 1][0], [field.strip() for field in fields]


def _refuse_header(path: Path | str, header: list[str], columns: list[str]) -> None:
    if missing := [axis for axis in _NEEDED if axis not in columns]:
        others = {axis: name for name, axis in NAMES.items()}
        lacking = ", ".join(f"{axis} ({others[axis]})" for axis in missing)
        names = f"must name {','.join(_NEEDED)}, and may name {','.join(OPTIONAL_AXES)}"
        raise InputError(f"{path} lacks {lacking}; its first line {names}")
    for axis in AXES:
        if columns.count(axis) > 1:
            twice = " and ".join(name for name, column in zip(header, columns, strict=True) if column == axis)
            raise InputError(f"{path} names {axis} more than once: {twice}")


def _size(text: str) -> int | str:
    """A whole number as spreadsheets write it, 3, 3.0 or 3,0; what is none is left for the shape to refuse."""
    number = re.fullmatch(r"([0-9]{1,18})([.,]0*)?", text)
    return int(number[1]) if number else text
