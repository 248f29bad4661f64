"""What was found: one SQLite file a report, every sample in it, and the cells as they are read from it.

Nothing derived is stored; `sepconv_bench.results.tables` computes it from the samples. Of a file nothing is taken on trust:
what is read becomes a record, or the file is damaged.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Ceilings, Fingerprint
from sepconv_bench.model.declaration import Declaration
from sepconv_bench.model.shapes import IDENTITY, ConvShape
from sepconv_bench.results import schema
from sepconv_bench.results.between import Between
from sepconv_bench.results.cell import Cell
from sepconv_bench.results.records import CellMeasured, NetworkPart, Outcome, Run, RunSettings

FILE_NAME = "results.sqlite"
_SQLITE_ERRORS = (sqlite3.Error, UnicodeError)  # the latter where a broken file's own words are in the message
_WAIT_SECONDS = 60.0  # for somebody who reads the file while a cell is to be written
_RECORDS: Mapping[str, type] = {"machine": Fingerprint, "settings": RunSettings, "ceilings": Ceilings}
_FACTS = ("converged", "started", "seconds", "steal_s", "peak_flop")
_T = TypeVar("_T")


class Results:
    """A results file, open. Use `create` or `open_results`, and close it, or use it in a `with`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._read: tuple[object, list[Cell]] = (None, [])

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    # ---------------------------------------------------------------------------------------- writing

    def add_run(self, machine: Fingerprint, settings: RunSettings, ceilings: Ceilings) -> int:
        """Record under what conditions the cells that follow are measured; gives the run's number."""
        values = [_json(record) for record in (machine, settings, ceilings)]
        with self._transaction():
            cursor = self._connection.execute("INSERT INTO runs (machine, settings, ceilings) VALUES (?, ?, ?)", values)
        return int(cursor.lastrowid or 0)

    def add_cell(self, run: int, measured: CellMeasured) -> None:
        """Record one cell, all of it or nothing; it takes the place of what was recorded of it before, of a part of a network
        also by other kernels."""
        network, part = _stored_network(measured.network)
        columns = {
            "run": run,
            **{name: getattr(measured.shape, name) for name in IDENTITY},
            **{"network": network, "part": part, "kernels": ",".join(measured.kernels)},
            **{name: getattr(measured, name) for name in _FACTS},
            "processes": json.dumps(measured.visits) if measured.visits else "",
        }
        with self._transaction():
            key = ("network", "part") if measured.network is not None else (*IDENTITY, "network", "part", "kernels")
            self._drop({name: columns[name] for name in key})
            cursor = self._connection.execute(
                f"INSERT INTO cells ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", list(columns.values())
            )
            cell = cursor.lastrowid
            self._connection.executemany(
                "INSERT INTO outcomes (cell, kernel, status, reason, compile_s, launches, error, declared)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(cell, *_stored_outcome(outcome)) for outcome in measured.outcomes],
            )
            self._connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?)",
                [
                    (cell, kernel, number, block)
                    for kernel, blocks in measured.samples.items()
                    for number, block in enumerate(blocks)
                ],
            )

    def _drop(self, key: Mapping[str, object]) -> None:
        where = " AND ".join(f"{name} = ?" for name in key)
        for (cell,) in self._rows(f"SELECT id FROM cells WHERE {where}", *key.values()):
            for table, column in (("samples", "cell"), ("outcomes", "cell"), ("cells", "id")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (cell,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. A file of an earlier version becomes one of this version first."""
        try:
            with self._connection:
                if (version := self._version()) != schema.VERSION:
                    self._connection.execute("BEGIN IMMEDIATE")
                    schema.migrate(self._connection, version)
                yield
        except _SQLITE_ERRORS as error:
            raise ResultsError(f"{self.path} cannot be written: {error}") from error

    def _version(self) -> int:
        return int(self._rows("PRAGMA user_version")[0][0])

    # ---------------------------------------------------------------------------------------- reading

    def _selected(self, *columns: str) -> str:
        return schema.selected(columns, self._version())

    def done(self) -> set[tuple[ConvShape, str]]:
        """The cells there are: shape, and the kernels asked for joined by commas."""
        rows = self._rows(f"SELECT {self._selected(*IDENTITY, 'kernels')} FROM cells WHERE network = ''")
        return {(self._shape(row[:-1]), row[-1]) for row in rows}

    def visits(self) -> dict[tuple[ConvShape, str], int]:
        """By cell as in `done`, how often it was visited; 0 where that was not recorded."""
        rows = self._rows(f"SELECT {self._selected(*IDENTITY, 'kernels', 'processes')} FROM cells WHERE network = ''")
        return {(self._shape(row[:-2]), row[-2]): len(self._visits(row[-1])) for row in rows}

    def parts_done(self) -> set[NetworkPart]:
        """The parts of networks that there are."""
        rows = self._rows(f"SELECT DISTINCT {self._selected('network', 'part')} FROM cells WHERE network != ''")
        return {part for row in rows if (part := self._network(*row)) is not None}

    def _visits(self, text: object) -> tuple[int, ...]:
        return () if text == "" else self._record(text, tuple[int, ...], "processes")

    def runs(self) -> list[Run]:
        """Machine, settings and ceilings of each run, oldest first."""
        runs = []
        for number, *texts in self._rows("SELECT id, machine, settings, ceilings FROM runs ORDER BY id"):
            parts: dict[str, Any] = {
                name: self._record(text, of, f"{name} of run {number}")
                for (name, of), text in zip(_RECORDS.items(), texts, strict=True)
            }
            runs.append(Run(number, **parts))
        return runs

    def cells(self) -> list[Cell]:
        """Every cell of a grid with its samples, in the order in which they were measured."""
        return [cell for cell in self._all_cells() if cell.network is None]

    def parts(self) -> list[Cell]:
        """Every part of a network that was timed, as `cells`; `network` says which."""
        return [cell for cell in self._all_cells() if cell.network is not None]

    def _all_cells(self) -> list[Cell]:
        """What the file holds now; read anew where it was written to meanwhile, by whomever."""
        state = (self._rows("PRAGMA data_version"), self._connection.total_changes)
        if self._read[0] != state:
            self._read = (state, self._cells_read())
        return self._read[1]

    def _cells_read(self) -> list[Cell]:
        runs = {run.number: run for run in self.runs()}
        outcomes, samples = self._outcomes_read(), self._samples_read()
        columns = ("id", "run", *IDENTITY, "network", "part", *_FACTS, "processes")
        cells: list[Cell] = []
        between = Between(cells)
        for row in self._rows(f"SELECT {self._selected(*columns)} FROM cells ORDER BY id"):
            values = dict(zip(columns, row, strict=True))
            number = values.pop("id")
            if values["run"] not in runs:
                raise self._damaged(f"run of cell {number} is not what was written")
            record: dict[str, Any] = {name: values[name] for name in _FACTS} | {
                "shape": self._shape([values[name] for name in IDENTITY]),
                "network": self._network(values["network"], values["part"]),
                "converged": bool(values["converged"]),
                "visits": self._visits(values["processes"]),
            }
            taken = samples.pop(number, {})
            whole = {
                "outcomes": tuple(outcomes.pop(number, ())),
                "samples": {name: tuple(each) for name, each in taken.items()},
            }
            measured = self._converted(record | whole, CellMeasured, f"cell {number}")
            cell = Cell(measured, runs[values["run"]], between)
            if misfit := cell.misfit():
                raise self._damaged(f"{misfit} in cell {number} are not what was written")
            cells.append(cell)
        for whose, left in (("an outcome", outcomes), ("samples", samples)):
            if left:
                raise self._damaged(f"{whose} of cell {next(iter(left))!r}, which is not there, cannot be")
        return cells

    def _outcomes_read(self) -> dict[object, list[Outcome]]:
        names = ("status", "reason", "compile_s", "launches", "error")
        found: dict[object, list[Outcome]] = {}
        declarations: dict[tuple, Declaration] = {}  # a few kernels, and thousands of cells
        columns = self._selected("cell", "kernel", "declared", *names)
        for cell, kernel, text, *rest in self._rows(f"SELECT {columns} FROM outcomes"):
            if (kernel, text) not in declarations:
                declarations[kernel, text] = self._declaration(kernel, text)
            stored = dict(zip(names, rest, strict=True)) | {"kernel": declarations[kernel, text]}
            outcome = self._converted(stored, Outcome, f"an outcome in cell {cell}")
            found.setdefault(cell, []).append(outcome)
        return found

    def _declaration(self, kernel: object, text: object) -> Declaration:
        declared = None
        if text == "":
            declared = schema.declared_in_version_2(kernel) if isinstance(kernel, str) else None
        else:
            declared = self._record(text, Declaration, f"what {kernel!r} declared")
        if declared is None or declared.name != kernel:
            raise self._damaged(f"kernel {kernel!r} is not what was written")
        return declared

    def _samples_read(self) -> dict[object, dict[str, list[bytes]]]:
        found: dict[object, dict[str, list[bytes]]] = {}
        for cell, kernel, block in self._rows("SELECT cell, kernel, seconds FROM samples ORDER BY cell, kernel, block"):
            if not isinstance(kernel, str) or not isinstance(block, bytes) or len(block) % 8:
                raise self._damaged(f"samples of {kernel!r} in cell {cell} are not what was written")
            found.setdefault(cell, {}).setdefault(kernel, []).append(block)
        return found

    def _shape(self, values: Any) -> ConvShape:
        """From the columns of IDENTITY, in order."""
        *sizes, dtype = values
        try:
            return ConvShape(*sizes, dtype=dtype)
        except ValueError as error:
            raise self._damaged(f"a cell's {error}") from error

    def _network(self, stored: object, part: object) -> NetworkPart | None:
        """Alpha, resolution and batch from their JSON; None of an empty text."""
        if stored == "":
            return None
        what = f"the network {stored!r} or its part {part!r}"
        network = self._record(stored, dict[str, Any], what)
        return self._converted({**network, "part": part}, NetworkPart, what)

    def _record(self, text: object, of: type[_T], what: str) -> _T:
        """A record from its JSON."""
        try:
            stored = json.loads(text)  # type: ignore[arg-type]  # which may hold infinities, as msgspec's may not
            json.dumps(stored, ensure_ascii=False).encode()  # half a character, as JSON may spell it, is no text
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"{what} cannot be read: {error}") from error
        return self._converted(stored, of, what)

    def _converted(self, stored: Any, of: type[_T], what: str) -> _T:
        try:
            return msgspec.convert(stored, of)
        except (ValueError, TypeError) as error:  # msgspec's own, and those of what a record checks by itself
            raise self._damaged(f"{what} is not what was written: {error}") from error

    def _damaged(self, what: str) -> ResultsError:
        return ResultsError(f"{self.path} is damaged: {what}")

    def _rows(self, query: str, *values: object) -> list[tuple]:
        try:
            return self._connection.execute(query, values).fetchall()
        except _SQLITE_ERRORS as error:
            raise ResultsError(f"{self.path} cannot be read: {error}") from error


def _json(record: Any) -> str:
    return json.dumps(msgspec.to_builtins(record))  # not msgspec's own, which would write an infinity as null


def _stored_network(part: NetworkPart | None) -> tuple[str, str]:
    if part is None:
        return "", ""
    return json.dumps({"alpha": part.alpha, "resolution": part.resolution, "batch": part.batch}), part.part


def _stored_outcome(outcome: Outcome) -> tuple:
    named = (outcome.kernel.name, outcome.status, _whole_characters(outcome.reason))
    return (*named, outcome.compile_s, outcome.launches, outcome.error, _json(outcome.kernel))


def _whole_characters(text: str) -> str:
    """What a kernel's exception says may hold bytes of no encoding."""
    return text.encode(errors="backslashreplace").decode()


# ---------------------------------------------------------------------------------------- files


def set_aside(folder: Path) -> Path | None:
    """Give an earlier results file in `folder` a name with its time, so that nothing is lost; gives the new name."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    # Of a run that was killed while it wrote there is a journal: SQLite makes the file whole while both have their names.
    with suppress(*_SQLITE_ERRORS), closing(_connected(path, "rw")) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S")
    names = (path.with_name(f"results-{stamp}{more}.sqlite") for more in ("", *(f"-{count}" for count in range(2, 10_000))))
    kept = next(name for name in names if not name.exists())
    try:
        path.rename(kept)
        if _journal(path).exists():  # it could not be used; it belongs to the file all the same, and to no other
            _journal(path).rename(_journal(kept))
    except OSError as error:
        raise ResultsError(f"{path} cannot be renamed to {kept.name}: {error.strerror}") from error
    return kept


def _journal(path: Path) -> Path:
    """Where SQLite keeps what a transaction overwrites until it is over."""
    return path.with_name(f"{path.name}-journal")


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=_WAIT_SECONDS, uri=True)


def create(folder: Path) -> Results:
    """A new results file in `folder`, open for writing; ResultsError where one is there or it cannot be made."""
    path = folder / FILE_NAME
    if path.exists():
        raise ResultsError(f"{path} is there already; it is not overwritten")
    # Made whole under another name first: a file that is killed half made must not look like results.
    unfinished = path.with_suffix(".new")
    try:
        for left in (unfinished, _journal(unfinished), _journal(path)):
            left.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.executescript(
                    f"PRAGMA application_id = {schema.APPLICATION}; PRAGMA user_version = {schema.VERSION}; {schema.SCHEMA}"
                )
            unfinished.rename(path)
        finally:
            for left in (unfinished, _journal(unfinished)):
                left.unlink(missing_ok=True)
    except (*_SQLITE_ERRORS, OSError) as error:
        raise ResultsError(f"{path} cannot be written: {error}") from error
    return open_results(folder, write=True)


def open_results(folder: Path, write: bool = False) -> Results:
    """The results file in `folder`; ResultsError if there is none, it is damaged, or another version's."""
    path = folder / FILE_NAME
    if folder.is_file():
        raise ResultsError(f"{folder} is a file; results are read by the name of the folder that holds {FILE_NAME}")
    if not path.is_file():
        raise ResultsError(f"there is no {FILE_NAME} in {folder}; `sepconv-bench run --output {folder}` writes one")
    # A run that was killed while it wrote has left a journal, by which SQLite makes the file whole: no reader may do that.
    unfinished = _journal(path).exists()
    try:
        connection = _connected(path, "rw" if write or unfinished else "ro")
        try:
            _require_ours(path, connection)
        except BaseException:
            connection.close()
            raise
    except _SQLITE_ERRORS as error:
        left = f"; a run that was killed has left {_journal(path).name}, and {folder} must be writable once" * unfinished
        raise ResultsError(f"{path} is not a results file that can be read: {error}{left}") from error
    return Results(path, connection)


def _require_ours(path: Path, connection: sqlite3.Connection) -> None:
    application, version, sound, strange = (
        connection.execute(question).fetchone()[0]
        for question in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "PRAGMA quick_check(1)",
            "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'",
        )
    )
    if application != schema.APPLICATION:
        raise ResultsError(f"{path} is an SQLite file, but not one of sepconv-bench's results")
    if version not in schema.READABLE:
        known = " and ".join(map(str, schema.READABLE))
        raise ResultsError(f"{path} has version {version} of the results; this sepconv-bench reads versions {known}")
    if sound != "ok":
        raise ResultsError(f"{path} is damaged: {sound}")
    if strange:
        raise ResultsError(f"{path} is damaged: it holds more than tables")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second run into it; ResultsError if it is held or cannot be used.

    The folder is made if need be, and taken away again if nothing has come into it.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be used for results: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ResultsError(f"another run is writing into {folder}; wait for it, or choose another --output") from error
    except OSError as error:  # a network's file system without locks; SQLite could not write there either
        os.close(descriptor)
        raise ResultsError(f"{folder} cannot be locked: {error.strerror}; choose an --output on a local disk") from error
    try:
        yield
    finally:
        os.close(descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()
