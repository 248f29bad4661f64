"""The results file: its tables, and how those of earlier versions become today's.

Version 6 stores a shape's dtype; before, all were float32. Version 5 stores all else that a shape may say; before, all were
square, valid and undilated. Version 4 stores from which process each block came. Version 3 stores with each outcome what its
kernel declared. Version 2 stored its name alone; what the kernels of that time were is known, and `declared_in_version_2` says
it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from sepconv_bench.model.declaration import OURS, USER, Declaration
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.shapes import IDENTITY, USUAL

APPLICATION = 0x5E9C04B0  # says in the file's header that it is ours
VERSION = 6
READABLE = (2, 3, 4, 5, 6)
_CELLS = f"""(
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    D_K INTEGER NOT NULL, M INTEGER NOT NULL, N INTEGER NOT NULL, D_G INTEGER NOT NULL,
    stride INTEGER NOT NULL, batch INTEGER NOT NULL,
    -- what else a shape says: 0 of a second axis is "as the first"
    {", ".join(f"{name} INTEGER NOT NULL DEFAULT {usual}" for name, usual in USUAL.items())},
    dtype TEXT NOT NULL DEFAULT 'f32',  -- f32, tf32, bf16, fp16
    network TEXT NOT NULL,   -- JSON: of a part of MobileNet-V1 the alpha, resolution and batch; else empty
    part TEXT NOT NULL,      -- conv, block1, ..., classifier, whole (its shape is that of conv); else empty
    kernels TEXT NOT NULL,   -- the names asked for, in order, with commas
    converged INTEGER NOT NULL,
    started REAL,            -- seconds since 1970
    seconds REAL,
    steal_s REAL,            -- CPU seconds that the hypervisor took meanwhile
    peak_flop INTEGER,       -- FLOP in one launch of ceiling.fma
    processes TEXT NOT NULL, -- JSON: how many of the blocks, in order, come from each visit; empty where it is not known
    UNIQUE ({", ".join(IDENTITY)}, network, part, kernels)
)"""
SCHEMA = f"""
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    machine TEXT NOT NULL,   -- JSON: the fingerprint
    settings TEXT NOT NULL,  -- JSON: grid, kernels, rules, seed
    ceilings TEXT NOT NULL   -- JSON: peak, bandwidth by footprint
);
CREATE TABLE cells {_CELLS};
CREATE TABLE outcomes (
    cell INTEGER NOT NULL REFERENCES cells (id),
    kernel TEXT NOT NULL,
    status TEXT NOT NULL,    -- ok, unsupported, wrong, failed, slow
    reason TEXT NOT NULL,
    compile_s REAL, launches INTEGER, error REAL,
    declared TEXT NOT NULL,  -- JSON: what the kernel says of itself
    PRIMARY KEY (cell, kernel)
);
CREATE TABLE samples (
    cell INTEGER NOT NULL REFERENCES cells (id),
    kernel TEXT NOT NULL,    -- ceiling.fma among them
    block INTEGER NOT NULL,
    seconds BLOB NOT NULL,   -- float64, little endian: seconds a launch by round, NaN where it sat out
    PRIMARY KEY (cell, kernel, block)
) WITHOUT ROWID;             -- the key is not stored twice
"""

_NAME = re.compile(r"([a-z]+)\.([a-z]+)\.([A-Za-z0-9_-]{1,64})")
_LIBRARIES: Mapping[str, str] = MappingProxyType({"numpy": "numpy", "torch": "torch", "onnxruntime": "onnxruntime"})
_OURS = ("loops", "parallel", "tiled", "fused", "plan")

# Columns that came later: the version that brought them, and what an earlier file has in their place.
_LATER: Mapping[str, tuple[int, str]] = MappingProxyType(
    {"declared": (3, "''"), "processes": (4, "''"), "dtype": (6, "'f32'")}
    | {name: (5, str(usual)) for name, usual in USUAL.items()}
)


def selected(columns: Sequence[str], version: int) -> str:
    """These columns as SELECT takes them from a file of that version."""
    since = {column: _LATER.get(column, (0, "")) for column in columns}
    return ", ".join(column if version >= first else value for column, (first, value) in since.items())


def declared_in_version_2(name: str) -> Declaration | None:
    """What a kernel of version 2 of the results would have declared; None where it is no kernel's name.

    There the variants of a peer began with its library's name, and fused was the only kernel of one pass.
    """
    parts = _NAME.fullmatch(name)
    if parts is None or parts[2] not in OPERATORS:
        return None
    device, operator, variant = parts.groups()
    library = _LIBRARIES.get(variant.partition("-")[0]) or (OURS if variant in _OURS else USER)
    facts: dict[str, object] = {"device": device, "operator": operator, "variant": variant, "library": library}
    facts |= {"passes": OPERATORS[operator].passes, "like": variant}
    if operator == "separable" and variant == "fused":
        facts |= {"passes": (operator,), "like": "tiled"}
    if library == "numpy" and operator == "standard":
        facts["algorithm"] = "im2col"
    elif library not in (OURS, USER, "numpy"):
        facts["algorithm"] = "chosen"
    return msgspec.convert(facts, Declaration)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Make a file of that version one of today's, within the transaction that is open; nothing in it is lost."""
    if version < 3:
        connection.execute("ALTER TABLE outcomes ADD COLUMN declared TEXT NOT NULL DEFAULT ''")
        for (name,) in connection.execute("SELECT DISTINCT kernel FROM outcomes").fetchall():
            declared = declared_in_version_2(name)
            if declared is not None:
                text = msgspec.json.encode(declared).decode()
                connection.execute("UPDATE outcomes SET declared = ? WHERE kernel = ?", (text, name))
    if version < 4:
        connection.execute("ALTER TABLE cells ADD COLUMN processes TEXT NOT NULL DEFAULT ''")
    # What makes a cell one of a kind is more than it was, which only a new table can say.
    names = ", ".join(name for _, name, *_ in connection.execute("PRAGMA table_info(cells)"))
    connection.execute(f"CREATE TABLE cells_new {_CELLS}")
    connection.execute(f"INSERT INTO cells_new ({names}) SELECT {names} FROM cells")
    connection.execute("DROP TABLE cells")
    connection.execute("ALTER TABLE cells_new RENAME TO cells")
    connection.execute(f"PRAGMA user_version = {VERSION}")
