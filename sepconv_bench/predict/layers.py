"""A user's own layers from a CSV file, as spreadsheets, pandas and people write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.model.shapes import AXES, FIELDS, GENERAL, OPTIONAL_AXES, PADDING, SECOND_AXES, ConvShape

_NEEDED = tuple(axis for axis in AXES if axis not in OPTIONAL_AXES)
_OTHER = ("padding", "D_F")  # what a column may say beside the fields of a shape: D_F in the place of D_G
_KNOWN = (*FIELDS, *_OTHER)
# The other names of the axes, as networks are written down in torch and elsewhere.
NAMES = {
    **{"kernel_size": "D_K", "in_channels": "M", "out_channels": "N", "output_size": "D_G", "batch_size": "batch"},
    **{"input_size": "D_F", "depth_multiplier": "multiplier"},
}
_AXES = {name.casefold(): axis for name, axis in NAMES.items()} | {name.casefold(): name for name in _KNOWN}
_BOTH_AXES = {first: second for second, first in SECOND_AXES.items()} | {"D_F": "D_F_w"}
_BY = re.compile(r"(?<=[0-9.,])\s*[xX*\u00d7]\s*(?=[0-9])")  # as in 3x1
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # that a file of that encoding begins with
_SEPARATORS = ",;\t"


def read_layers(path: Path) -> tuple[pd.DataFrame, list[ConvShape]]:
    """What a file says of each layer beside its sizes, and its shape.

    The first line names the columns: D_K, M, N, D_G and, where they are not as usual, the other fields of a shape, in either
    case, or by the names in NAMES. D_K, D_G, stride and dilation may say both axes, as 3x1: rows and columns. D_F says the size
    of the input, in the place of D_G; padding is a word or a number as `ConvShape.with_padding` takes it, several with an x
    between them. Fields lie between commas, semicolons or tabs; a line that begins with # is none, nor is one of empty fields;
    3.0 is 3. InputError, with the line's number, where a size is none.
    """
    try:
        rows = [(number, fields) for number, fields in _rows(_text(path)) if any(fields)]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise InputError(f"{path} names no layer; its first line must name {','.join(_NEEDED)}")
    (_, header), *layers = rows
    columns = _columns(header)
    _refuse_header(path, header, columns)
    if not layers:
        raise InputError(f"{path} names no layer")
    shapes = []
    for number, fields in layers:
        if len(fields) > len(columns) and any(fields[len(columns) :]):
            raise InputError(f"line {number} of {path} has {len(fields)} fields; its first line names {len(columns)} columns")
        try:
            said = dict(zip(columns, fields, strict=False))
            shapes.append(_shape(said))
        except ShapeError as error:
            raise InputError(f"line {number} of {path}: {error}") from error
    used = {*_KNOWN} - {"D_F"} if "D_G" in columns else _KNOWN
    full = [[*fields, *[""] * len(columns)][: len(columns)] for _, fields in layers]
    table = pd.DataFrame(full, columns=columns)
    return table[[name for name in columns if name not in used]], shapes


def shapes_of(layers: pd.DataFrame) -> list[ConvShape]:
    """The shapes of a table's rows, whose columns are named as those of a file. InputError names the row, counted from 0."""
    header = [str(name) for name in layers.columns]
    columns = _columns(header)
    _refuse_header("the table", header, columns)
    shapes = []
    for number, row in enumerate(layers.itertuples(index=False)):
        fields = ("" if pd.isna(field) else str(field) for field in row)
        try:
            shapes.append(_shape(dict(zip(columns, fields, strict=True))))
        except ShapeError as error:
            raise InputError(f"row {number} of the table: {error}") from error
    return shapes


def _columns(header: Sequence[str]) -> list[str]:
    """What each column says; D_F nothing where D_G says it already."""
    columns = [_AXES.get(name.strip().casefold(), name) for name in header]
    if "D_G" in columns:
        columns = [name if column == "D_F" else column for name, column in zip(header, columns, strict=True)]
    return columns


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
    if missing := [axis for axis in _NEEDED if axis not in columns and not (axis == "D_G" and "D_F" in columns)]:
        others = {axis: name for name, axis in NAMES.items()}
        lacking = ", ".join(f"{axis} ({others[axis]})" for axis in missing)
        names = f"must name {','.join(_NEEDED)}, and may name {','.join((*OPTIONAL_AXES, *GENERAL, 'padding'))}"
        raise InputError(f"{path} lacks {lacking}; its first line {names}")
    for name in _KNOWN:
        if columns.count(name) > 1:
            twice = " and ".join(said for said, column in zip(header, columns, strict=True) if column == name)
            raise InputError(f"{path} names {name} more than once: {twice}")
    alike = {"padding": PADDING} | ({} if "D_G" in columns else {"D_F": ("D_G_w", *PADDING)})
    for one, other in ((one, other) for one, others in alike.items() for other in others):
        if one in columns and other in columns:
            raise InputError(f"{path} names both {one} and {other}; one of them says it")


def _shape(said: Mapping[str, str]) -> ConvShape:
    """Of the fields of a line, by column."""
    by_input = "D_F" in said and "D_G" not in said
    sizes: dict[str, Any] = {}
    for name in (*FIELDS, "D_F") if by_input else FIELDS:
        text, second = said.get(name, ""), _BOTH_AXES.get(name)
        parts = [_size(part) for part in _BY.split(text)]
        if len(parts) == 2 and second is not None:
            if said.get(second):
                raise ShapeError(f"{name} is {text} and {second} {said[second]}; one of them says the second axis")
            sizes[name], sizes[second] = parts
        elif text or name == "D_F" or (name in _NEEDED and not (by_input and name == "D_G")):
            sizes[name] = parts[0] if len(parts) == 1 else text
    text = said.get("padding", "")
    numbers = [_size(part) for part in _BY.split(text)]
    padding = text if any(isinstance(each, str) for each in numbers) else numbers
    if not by_input:
        shape = ConvShape(**sizes)
        return shape.with_padding(padding) if text else shape
    window, size, stride, dilation = (
        (first := sizes.get(name, 1), sizes.get(_BOTH_AXES[name], first)) for name in ("D_K", "D_F", "stride", "dilation")
    )
    more = {name: sizes[name] for name in ("multiplier", "groups", "batch") if name in sizes}
    return ConvShape.of_input(window, sizes["M"], sizes["N"], size, stride, padding if text else "valid", dilation, **more)


def _size(text: str) -> int | str:
    """A whole number as spreadsheets write it, 3, 3.0 or 3,0; what is none is left for the shape to refuse."""
    number = re.fullmatch(r"([0-9]{1,18})([.,]0*)?", text)
    return int(number[1]) if number else text
