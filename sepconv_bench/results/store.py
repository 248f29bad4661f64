"""What was found: one SQLite file a report, every sample in it, and the cells as they are read from it.

Nothing derived is stored; `sepconv_bench.results.tables` computes it from the samples.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sepconv_bench.errors import ResultsError, ShapeError
from sepconv_bench.measure.noise import doubts
from sepconv_bench.measure.statistics import Estimate, estimate, ratio, within_rounds
from sepconv_bench.model import theory
from sepconv_bench.model.networks import PARTS, mobilenet_v1
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.pairing import Pair, pairs
from sepconv_bench.model.shapes import AXES, ConvShape
from sepconv_bench.results import form

FILE_NAME = "results.sqlite"
_APPLICATION = 0x5E9C04B0  # says in the file's header that it is ours
_VERSION = 2
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    machine TEXT NOT NULL,   -- JSON: the fingerprint
    settings TEXT NOT NULL,  -- JSON: grid, kernels, rules, seed
    ceilings TEXT NOT NULL   -- JSON: peak, bandwidth by footprint
);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id),
    D_K INTEGER NOT NULL, M INTEGER NOT NULL, N INTEGER NOT NULL, D_G INTEGER NOT NULL,
    stride INTEGER NOT NULL, batch INTEGER NOT NULL,
    network TEXT NOT NULL,   -- JSON: of a part of MobileNet-V1 the alpha, resolution and batch; else empty
    part TEXT NOT NULL,      -- conv, block1, ..., classifier, whole (its shape is that of conv); else empty
    kernels TEXT NOT NULL,   -- the names asked for, in order, with commas
    converged INTEGER NOT NULL,
    started REAL,            -- seconds since 1970
    seconds REAL,
    steal_s REAL,            -- CPU seconds that the hypervisor took meanwhile
    peak_flop INTEGER,       -- FLOP in one launch of ceiling.fma
    UNIQUE (D_K, M, N, D_G, stride, batch, network, part, kernels)
);
CREATE TABLE outcomes (
    cell INTEGER NOT NULL REFERENCES cells (id),
    kernel TEXT NOT NULL,
    status TEXT NOT NULL,    -- ok, unsupported, wrong, failed, slow
    reason TEXT NOT NULL,
    compile_s REAL, launches INTEGER, error REAL,
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
_PEAK = "ceiling.fma"
_STATUS = ("ok", "unsupported", "wrong", "failed", "slow")
_SQLITE_ERRORS = (sqlite3.Error, UnicodeError)  # the latter where a broken file's own words are told
_WAIT_SECONDS = 60.0  # for somebody who reads the file while a cell is to be written
_SHORTEST, _LONGEST = 1e-15, 1e15  # seconds that a launch may have taken
_LAST_DAY = 2.5e11  # seconds since 1970 that a calendar has a day for
_KERNEL = re.compile(rf"[a-z]+\.({'|'.join(OPERATORS)})\.[A-Za-z0-9_-]{{1,64}}")


def _kernel(value: object) -> bool:
    return isinstance(value, str) and _KERNEL.fullmatch(value) is not None


def _time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LAST_DAY


# What the tables and the report read of a run. Nothing else in it matters.
_ESTIMATE = (form.positive, form.real, form.real)
_RUN_FORMS = {
    "machine": {
        **dict.fromkeys(("machine", "cpu", "llvm_cpu", "system", "python", "threading_layer", "time"), form.text),
        **dict.fromkeys(("caches", "versions", "wait_policy"), form.texts_by_name),
        **dict.fromkeys(("memory_bytes", "threads"), form.whole),
        **{"logical_cpus": form.or_none(form.whole), "commit": form.or_none(form.text)},
        "blas": [{"internal_api": form.text, "version": form.or_none(form.text), "num_threads": form.number}],
    },
    "settings": {"grid": form.text, "kernels": list, "rules": {"target": form.positive, "seconds": form.positive}},
    "ceilings": {
        **{"peak": _ESTIMATE, "lanes": form.whole},
        "levels": [{"footprint": form.whole, "bytes_per_flop": form.positive, "bandwidth": _ESTIMATE}],
    },
}
_GPU_FORM = {
    **dict.fromkeys(("name", "compute_capability", "driver"), form.text),
    **{"multiprocessors": form.whole, "memory_bytes": form.whole},
}
_CELL_FORM = {
    "part": form.text,
    "started": form.or_none(_time),
    **dict.fromkeys(("seconds", "steal_s"), form.or_none(form.number)),
    "peak_flop": form.or_none(form.whole),
}
_OUTCOME_FORM = {
    **{"kernel": _kernel, "status": lambda value: value in _STATUS, "reason": form.text},
    **dict.fromkeys(("compile_s", "launches"), form.or_none(form.number)),
    "error": form.or_none(form.real),  # infinite where G was not written
}
NOTHING = Estimate(np.nan, np.nan, np.nan)


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

    def add_run(self, machine: dict, settings: dict, ceilings: dict) -> int:
        """Record under what conditions the cells that follow are measured; gives the run's number."""
        values = [json.dumps(part) for part in (machine, settings, ceilings)]
        with self._transaction():
            cursor = self._connection.execute("INSERT INTO runs (machine, settings, ceilings) VALUES (?, ?, ?)", values)
        return int(cursor.lastrowid or 0)

    def add_cell(
        self, run: int, kernels: Sequence[str], measured: dict, network: Mapping[str, float] | None = None, part: str = ""
    ) -> None:
        """Record one cell, all of it or nothing; a part of a network takes the place of what was recorded of it before.

        `measured` is the worker's answer, `network` alpha, resolution and batch.
        """
        columns = {
            "run": run,
            **measured["shape"],
            "network": json.dumps(network) if network else "",
            "part": part,
            "kernels": ",".join(kernels),
            **{name: measured.get(name) for name in ("converged", "started", "seconds", "steal_s", "peak_flop")},
        }
        with self._transaction():
            if network:
                self._drop(columns["network"], part)
            cursor = self._connection.execute(
                f"INSERT INTO cells ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", list(columns.values())
            )
            cell = cursor.lastrowid
            self._connection.executemany(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (cell, o["kernel"], o["status"], _whole_characters(o["reason"]), o["compile_s"], o["launches"], o["error"])
                    for o in measured["outcomes"]
                ],
            )
            self._connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?)",
                [
                    (cell, kernel, number, np.asarray(block, "<f8").tobytes())
                    for kernel, blocks in measured["samples"].items()
                    for number, block in enumerate(blocks)
                ],
            )

    def _drop(self, network: str, part: str) -> None:
        for (cell,) in self._rows("SELECT id FROM cells WHERE network = ? AND part = ?", network, part):
            for table, column in (("samples", "cell"), ("outcomes", "cell"), ("cells", "id")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (cell,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except _SQLITE_ERRORS as error:
            raise ResultsError(f"{self.path} cannot be written: {error}") from error

    # ---------------------------------------------------------------------------------------- reading

    def done(self) -> set[tuple[ConvShape, str]]:
        """The cells there are: shape, and the kernels asked for joined by commas."""
        rows = self._rows(f"SELECT {', '.join(AXES)}, kernels FROM cells WHERE network = ''")
        return {(self._shape(row[:-1]), row[-1]) for row in rows}

    def runs(self) -> list[dict]:
        """Machine, settings and ceilings of each run, oldest first."""
        runs = []
        for number, *texts in self._rows("SELECT id, machine, settings, ceilings FROM runs ORDER BY id"):
            run: dict = {"run": number}
            for (name, expected), stored in zip(_RUN_FORMS.items(), texts, strict=True):
                try:
                    run[name] = json.loads(stored)
                except (ValueError, TypeError, RecursionError) as error:
                    raise self._damaged(f"{name} of run {number} cannot be read: {error}") from error
                wrong = form.misfit(run[name], expected)
                if wrong:
                    raise self._damaged(f"{name} of run {number} is not what was written: {wrong}")
            if "gpu" in run["machine"] and form.misfit(run["machine"]["gpu"], _GPU_FORM):
                raise self._damaged(f"the gpu of run {number} is not what was written")
            if not run["ceilings"]["levels"]:
                raise self._damaged(f"ceilings of run {number} have no levels")
            runs.append(run)
        return runs

    def cells(self) -> list[Cell]:
        """Every cell of a grid with its samples, in the order in which they were measured."""
        return [cell for cell in self._all_cells() if not cell.facts["network"]]

    def parts(self) -> list[Cell]:
        """Every part of a network that was timed, as `cells`; their facts say of which `network`, and which `part`."""
        return [cell for cell in self._all_cells() if cell.facts["network"]]

    def _all_cells(self) -> list[Cell]:
        """What the file holds now; read anew where it was written to meanwhile, by whomever."""
        state = (self._rows("PRAGMA data_version"), self._connection.total_changes)
        if self._read[0] != state:
            self._read = (state, self._cells_read())
        return self._read[1]

    def _cells_read(self) -> list[Cell]:
        runs = {run["run"]: run for run in self.runs()}
        columns = ("id", "run", *AXES, "network", "part", "converged", "started", "seconds", "steal_s", "peak_flop")
        cells = {}
        for row in self._rows(f"SELECT {', '.join(columns)} FROM cells ORDER BY id"):
            values = dict(zip(columns, row, strict=True))
            number, shape = values.pop("id"), self._shape([values.pop(axis) for axis in AXES])
            wrong = form.misfit(values, _CELL_FORM) or ("" if values["run"] in runs else "run")
            if wrong:
                raise self._damaged(f"{wrong} of cell {number} is not what was written")
            run = runs[values["run"]]
            facts = {
                "machine": run["machine"]["machine"],
                "threads": run["machine"]["threads"],
                "target": run["settings"]["rules"]["target"],
                "levels": run["ceilings"]["levels"],
            }
            values["network"] = self._network(values["network"], values["part"])
            cells[number] = Cell(shape, values | facts)
        names = ("kernel", "status", "reason", "compile_s", "launches", "error")
        for cell, *told in self._rows("SELECT cell, kernel, status, reason, compile_s, launches, error FROM outcomes"):
            outcome = dict(zip(names, told, strict=True))
            wrong = form.misfit(outcome, _OUTCOME_FORM) or ("" if cell in cells else "cell")
            if wrong:
                raise self._damaged(f"{wrong} of an outcome in cell {cell} is not what was written")
            cells[cell].outcomes.append(outcome)
        for cell, kernel, block in self._rows("SELECT cell, kernel, seconds FROM samples ORDER BY cell, kernel, block"):
            named = cell in cells and (kernel == _PEAK or _kernel(kernel))
            if not named or not isinstance(block, bytes) or len(block) % 8:
                raise self._damaged(f"samples of {kernel!r} in cell {cell} are not what was written")
            cells[cell].samples.setdefault(kernel, []).append(np.frombuffer(block, "<f8"))
        for number, found in cells.items():
            wrong = found.misfit()
            if wrong:
                raise self._damaged(f"{wrong} in cell {number} are not what was written")
        return list(cells.values())

    def _shape(self, sizes: Sequence) -> ConvShape:
        try:
            return ConvShape(*sizes)
        except ShapeError as error:
            raise self._damaged(f"a cell's {error}") from error

    def _network(self, stored: object, part: str) -> dict | None:
        """Alpha, resolution and batch from their JSON; None of an empty text."""
        if stored == "":
            return None
        try:
            network = json.loads(stored)  # type: ignore[arg-type]
            if part in PARTS and set(network) == {"alpha", "resolution", "batch"}:
                mobilenet_v1(**network)
                return network
        except (ValueError, TypeError, RecursionError):
            pass
        raise self._damaged(f"the network {stored!r} or its part {part!r} is not one")

    def _damaged(self, what: str) -> ResultsError:
        return ResultsError(f"{self.path} is damaged: {what}")

    def _rows(self, query: str, *values: object) -> list[tuple]:
        try:
            return self._connection.execute(query, values).fetchall()
        except _SQLITE_ERRORS as error:
            raise ResultsError(f"{self.path} cannot be read: {error}") from error


def _whole_characters(text: str) -> str:
    """What a kernel's exception says may hold bytes of no encoding."""
    return text.encode(errors="backslashreplace").decode()


class Ceilings(NamedTuple):
    """What roofs in `theory` are made of: FLOP/s, and a function from a footprint in bytes to bytes/s."""

    peak: float
    bandwidth: Callable[[int], float]


def bandwidth(levels: Sequence[dict], peak: float, footprint: int) -> float:
    """Bytes/s, log-linear between the measured footprints; they were measured relative to a peak, and follow this one."""
    footprints, bytes_per_flop = zip(*((level["footprint"], level["bytes_per_flop"]) for level in levels), strict=True)
    return peak * float(np.exp(np.interp(np.log(footprint), np.log(footprints), np.log(bytes_per_flop))))


class Cell:
    """One shape and what the kernels compared on it did: outcomes, and samples by kernel, an array a block."""

    def __init__(self, shape: ConvShape, facts: dict) -> None:
        self.shape = shape
        self.facts = facts
        self.outcomes: list[dict] = []
        self.samples: dict[str, list[np.ndarray]] = {}

    def misfit(self) -> str:
        """Which samples cannot be, or "": all are seconds above zero, or NaN, as many for each kernel."""
        rounds = [list(map(len, blocks)) for blocks in self.samples.values()]
        for kernel, blocks in self.samples.items():
            for block in blocks:
                taken = block[~np.isnan(block)]
                if not ((taken > _SHORTEST) & (taken < _LONGEST)).all():
                    return f"samples of {kernel}"
        if any(each != rounds[0] for each in rounds):
            return "numbers of samples"
        return "samples of the peak" if _PEAK in self.samples and not self.facts["peak_flop"] else ""

    @cached_property
    def times(self) -> dict[str, Estimate]:
        """Seconds a launch of every kernel that was right."""
        right = (o["kernel"] for o in self.outcomes if o["status"] == "ok")
        return {name: estimate(self.samples[name]) for name in right if name in self.samples}

    @cached_property
    def compared(self) -> list[tuple[Pair, Estimate]]:
        """The pairs of its kernels, and of each T_separable / T_standard within the rounds."""
        seconds = {name: time.value for name, time in self.times.items()}
        chosen = pairs(seconds, [outcome["kernel"] for outcome in self.outcomes])
        return [(pair, ratio(self.samples[pair.separable], self.samples[pair.standard])) for pair in chosen]

    @cached_property
    def peak(self) -> float:
        """FLOP/s of the machine's best multiply-add loop, timed in the same rounds as the kernels; NaN if it was not."""
        blocks = self.samples.get(_PEAK)
        return self.facts["peak_flop"] / estimate(blocks).value if blocks else float("nan")

    def doubts(self, kernel: str, over: str = "ceiling.fma") -> str:
        """Signs of noise in the ratio of a kernel's times to another's, by default the peak's: names of
        `sepconv_bench.measure.noise`, with blanks between."""
        rounds = within_rounds(self.samples[kernel], self.samples[over]) if over in self.samples else self.samples[kernel]
        given = self.facts["threads"] * (self.facts["seconds"] or np.nan)
        stolen = (self.facts["steal_s"] or 0.0) / given
        return " ".join(doubts(rounds, estimate(rounds).half_width, self.facts["target"], stolen))

    def eta(self, kernel: str) -> float:
        """Attained multiplication rate over peak: FLOP/s over FLOP/s, a multiplication counting for two."""
        return self.gflops(kernel) * 1e9 / self.peak

    def roofline_s(self, kernel: str) -> float:
        """Seconds that a perfect kernel would need: the peak of these rounds, and the run's bandwidth relative to it."""
        _, operator, variant = kernel.split(".")
        return theory.roofline_time(operator, self.shape, *self.ceilings, fused=variant == "fused")

    def held_by_memory(self, kernel: str) -> tuple[str, ...]:
        """The passes of a kernel, as operators, for which memory bandwidth and not the peak is the roof."""
        _, operator, variant = kernel.split(".")
        return theory.held_by_memory(operator, self.shape, *self.ceilings, fused=variant == "fused")

    @property
    def ceilings(self) -> Ceilings:
        """FLOP/s of these rounds, and bytes/s by footprint in bytes."""
        return Ceilings(self.peak, partial(bandwidth, self.facts["levels"], self.peak))

    def gflops(self, kernel: str) -> float:
        """2 x multiplications / time, in 1e9 a second."""
        time = self.times.get(kernel, NOTHING).value
        return 2 * theory.multiplications(kernel.split(".")[1], self.shape) / time / 1e9


def told_machine(machine: dict) -> str:
    """What ran the kernels, in a few words, from a run's fingerprint."""
    return machine["cpu"] if "gpu" in machine else f"{machine['cpu']}, {machine['threads']} threads"


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
                connection.executescript(f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; {_SCHEMA}")
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
    if application != _APPLICATION:
        raise ResultsError(f"{path} is an SQLite file, but not one of sepconv-bench's results")
    if version != _VERSION:
        raise ResultsError(f"{path} has version {version} of the results; this sepconv-bench reads version {_VERSION}")
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
    except OSError as error:
        os.close(descriptor)
        raise ResultsError(f"another run is writing into {folder}; wait for it, or choose another --output") from error
    try:
        yield
    finally:
        os.close(descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()
