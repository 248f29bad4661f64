"""What does not fit, a hundred thousand times and more: random calls, mutated files, random words at the door.

    python experiments/fuzz.py [--share 1.0] [--only results] [--seed 0]

Every target runs in a process of its own, which a crash of the interpreter ends and which is then started again after the
input that did it. An input passes where it is taken or refused with an InputError; anything else, a warning included, is
told with its seed. Readers of files get real files with bytes changed, moved, doubled and cut, and files that are whole
but for one value. With atheris installed the readers are then fuzzed once more, led by the coverage of their code.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sepconv_bench.errors import InputError

COUNTS = {
    "shapes": 22_000,
    "axes": 27_000,
    "calls": 25_000,
    "registry": 10_000,
    "plugins": 4_000,
    "results": 1_500,
    "values": 700,
    "asv": 10_000,
    "asv_report": 40,
    "report": 15,
    "weights": 16_000,
    "images": 16_000,
    "words": 6_000,
}
ODD = [
    *(0, 1, -1, 2, 3, 7, 1 << 31, (1 << 31) - 1, 1 << 63, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308),
    *(None, True, "", "3", "x" * 5000, "\0", "\ud800", "$\\frac{", "<script>", "_x", "\x1b[2J", "a.b", "cpu.standard.loops"),
    *(b"", b"\xff" * 9, [], [1], (), {}, {"a": 1}, object, lambda *_: None, np.float32(2), np.int64(5), np.arange(3), 1j, ...),
]
PLAIN = [value for value in ODD if value is None or isinstance(value, bool | int | float | str)]


# ---------------------------------------------------------------------------------------------- mutations


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Real bytes, changed here and there; or cut, doubled, moved."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(found) + 1)
        end = min(len(found), at + rng.choice((1, 1, 2, 4, 8, 100)))
        match rng.randrange(7):
            case 0:
                found[at:end] = rng.randbytes(end - at)
            case 1:
                found[at:end] = bytes([rng.choice((0, 255, 127, 128))]) * (end - at)
            case 2:
                del found[at:end]
            case 3:
                found[at:at] = rng.randbytes(end - at)
            case 4:
                found[at:at] = found[at:end]
            case 5 if found:
                where = min(at, len(found) - 1)
                found[where] ^= 1 << rng.randrange(8)
            case 6 if rng.random() < 0.1:
                del found[at:]
    return bytes(found)


def one_value_changed(stored: object, rng: random.Random) -> object:
    """A value of JSON somewhere in it becomes another, or goes."""
    if isinstance(stored, dict) and stored and rng.random() < 0.9:
        key = rng.choice(list(stored))
        if rng.random() < 0.1:
            return {name: value for name, value in stored.items() if name != key}
        return stored | {key: one_value_changed(stored[key], rng)}
    if isinstance(stored, list) and stored and rng.random() < 0.9:
        at = rng.randrange(len(stored))
        return [*stored[:at], one_value_changed(stored[at], rng), *stored[at + 1 :]]
    return rng.choice([*PLAIN, [], {}, [None], {"x": {}}])


# ---------------------------------------------------------------------------------------------- targets

Target = Callable[[random.Random], None]


def shapes() -> Target:
    from sepconv_bench import ConvShape
    from sepconv_bench.kernels.problem import Problem, arrays_bytes
    from sepconv_bench.model.operators import OPERATORS
    from sepconv_bench.model.shapes import PADDINGS, USUAL

    generator = np.random.default_rng(0)

    def one(rng: random.Random) -> None:
        small = rng.random() < 0.7
        sizes = [
            rng.choice(ODD) if rng.random() < 0.05 else rng.choice((1, 2, 3, 5) if small else (1, 1 << 20, (1 << 31) - 1))
            for _ in range(6)
        ]
        general: dict[str, object] = {}
        for name, usual in USUAL.items():
            if rng.random() < 0.3:
                general[name] = rng.choice(ODD) if rng.random() < 0.05 else rng.choice((usual, 1, 2, 3))
        shape, operator = ConvShape(*sizes, **general), rng.choice((*OPERATORS,) if rng.random() < 0.9 else ODD)
        if isinstance(operator, str) and operator in OPERATORS and 1 << 22 < arrays_bytes(operator, shape) < 1 << 44:
            return  # it might fit, and then it would be drawn
        if rng.random() < 0.3:
            shape = shape.with_padding(rng.choice((*PADDINGS, "1", "1,2", "0,1,0,1", (1, 0), *ODD)))
        Problem.draw(operator, shape, generator)

    return one


def axes() -> Target:
    from sepconv_bench.model.grids import SPELLED, get_grid, grid_from_axes

    letters = "0123456789,:x+ -.e" + "٣²\n\0_"

    def one(rng: random.Random) -> None:
        if rng.random() < 0.05:
            get_grid(rng.choice([value for value in ODD if isinstance(value, str)]))
        words = ("3,5,7", "16:512:x2", "14:56:+14", "1:300:+1")
        text = mutated(rng.choice(words).encode(), rng).decode(errors="replace")
        if rng.random() < 0.3:
            text = "".join(rng.choice(letters) for _ in range(rng.randrange(20)))
        grid_from_axes({rng.choice((*SPELLED, "padding")): text})

    return one


def calls() -> Target:
    from sepconv_bench import get_kernel

    kernels = [
        get_kernel(f"cpu.{o}.{v}") for o in ("standard", "depthwise", "pointwise", "separable") for v in ("loops", "numpy")
    ]
    dtypes = ("f4", "f4", "f4", "f4", "f4", "f8", "f2", ">f4", "i4", "c8", "O", "S3", "m8[s]", "?", "V7")

    def array(shape: tuple[int, ...], rng: random.Random) -> object:
        if rng.random() < 0.04:
            return rng.choice(ODD)
        shape = tuple(rng.choice((0, 1, 3)) if rng.random() < 0.03 else size for size in shape)
        if rng.random() < 0.05:
            shape = shape[1:] if rng.random() < 0.5 else (1, *shape)
        made = np.ones(shape, rng.choice(dtypes) if rng.random() < 0.1 else "f4")
        match rng.randrange(24):
            case 0 if made.ndim:
                made = made[::-1]
            case 1 if made.ndim > 1:
                made = made.swapaxes(0, 1)
            case 2:
                made = made.T
            case 3 if made.ndim:
                made = made[..., ::2]
            case 4 if 0 not in made.shape and made.ndim:
                made = np.broadcast_to(made[:1], (rng.choice((1, 2, 1 << 20, 1 << 33)), *made.shape[1:]))
            case 5 if made.dtype == np.float32 and made.nbytes > 8:
                made = made.reshape(-1).view(np.uint8)[1:-3].view(np.float32)
        if rng.random() < 0.1:
            made.flags.writeable = False
        return made

    def one(rng: random.Random) -> None:
        kernel = rng.choice(kernels)
        D_K, M, N, D = rng.choice((1, 2, 3)), rng.choice((1, 4)), rng.choice((1, 3, 4)), rng.choice((3, 5, 6))
        D_K_w, D_w = (size if rng.random() < 0.7 else rng.choice((1, 2, 4)) for size in (D_K, D))
        groups, multiplier = (rng.choice((1, 1, 1, 2, 4)) for _ in range(2))
        weights = {
            "standard": [(D_K, D_K_w, M // groups, N)],
            "depthwise": [(D_K, D_K_w, M * multiplier)],
            "pointwise": [(M, N)],
        }
        weights["separable"] = [*weights["depthwise"], (M * multiplier, N)]
        arrays = [array((D, D_w, M), rng), *(array(shape, rng) for shape in weights[kernel.operator.name])]
        if rng.random() < 0.03:
            arrays = arrays[: rng.randrange(len(arrays))] or [None]
        more: dict[str, object] = {"stride": rng.choice(ODD)} if rng.random() < 0.1 else {}
        own = {"standard": {"groups": groups}, "pointwise": {}}.get(kernel.operator.name, {"multiplier": multiplier})
        more |= own if rng.random() < 0.9 else {"groups": groups, "multiplier": multiplier}
        for name, good in (("padding", (1, "same", "same-torch", (1, 0), "0,1,0,1")), ("dilation", (1, 2, (1, 2)))):
            if rng.random() < 0.3:
                more[name] = rng.choice(good if rng.random() < 0.8 else ODD)
        if rng.random() < 0.2:
            more["out"] = array((D - D_K + 1, D_w - D_K_w + 1, N), rng)
        kernel(*arrays, **more)

    return one


def registry() -> Target:
    from sepconv_bench import get_kernel, kernel, kernel_names
    from sepconv_bench.kernels import registry

    def one(rng: random.Random) -> None:
        name = rng.choice((*ODD, "cpu.pointwise.mine", "cpu.standard._x", "cuda.separable.mine", "cpu.*.[", "cpu.standard."))
        match rng.randrange(5):
            case 0:
                get_kernel(name)
            case 1:
                kernel_names(operator=name, device=rng.choice((None, "cpu", name)))
            case 2:
                registry.select(name if isinstance(name, str) else [str(name)])
            case 3:
                registry.chosen(name if isinstance(name, str) else None, rng.choice(("cpu", "cuda")))
            case 4:
                before = dict(registry._kernels)
                try:
                    more = {key: rng.choice(ODD) for key in ("supports", "unpack", "needs") if rng.random() < 0.3}
                    kernel(name, **more)(rng.choice(ODD))
                    kernel_names()
                    kernel_names(missing=True)
                finally:
                    registry._kernels.clear()
                    registry._kernels.update(before)

    return one


PLUGIN = b"""import numpy as np
from sepconv_bench import kernel


@kernel("cpu.separable.mine", needs=("numpy",))
def bind(problem):
    '''Mine.'''
    return lambda: np.copyto(problem.G, 0)
"""


def plugins() -> Target:
    from sepconv_bench.kernels import registry

    registry.kernel_names()
    folder = Path(tempfile.mkdtemp())

    def one(rng: random.Random) -> None:
        before = dict(registry._kernels)
        file = folder / rng.choice(("mine.py", "mine.py", "mine.txt", "nosuch.py"))
        if file.name != "nosuch.py":
            file.write_bytes(mutated(PLUGIN, rng))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                registry.load_plugin(file)
        except InputError:
            assert registry._kernels == before, "what failed has left a kernel behind"
            raise
        finally:
            registry._kernels.clear()
            registry._kernels.update(before)

    return one


def reads_results(data: bytes, folder: Path, report: bool = False) -> None:
    from sepconv_bench.report.ladder import ladder, markdown
    from sepconv_bench.report.page import write_report
    from sepconv_bench.results import store, tables

    (folder / store.FILE_NAME).write_bytes(data)
    (folder / f"{store.FILE_NAME}-journal").unlink(missing_ok=True)
    with store.open_results(folder) as results:
        results.done()
        for name in tables.TABLES:
            tables.written(tables.table(results, name), "csv")
        markdown(ladder(results))
        if report:
            write_report(results, folder)


def results_file() -> bytes:
    """Two small cells, measured for real, and a part of a network made out of one of them."""
    from sepconv_bench.measure.records import Rules
    from sepconv_bench.model.grids import Grid
    from sepconv_bench.model.shapes import ConvShape
    from sepconv_bench.results import store
    from sepconv_bench.run.sweep import Settings, sweep

    folder = Path(tempfile.mkdtemp())
    grid = Grid("custom", "", (ConvShape(3, 2, 2, 3), ConvShape(3, 2, 4, 3)))
    settings = Settings(grid, "cpu.*.numpy,cpu.*.loops", rules=Rules(0.5, 0.05))
    sweep(settings, lambda: store.create(folder), lambda step: None)
    with contextlib.closing(sqlite3.connect(folder / store.FILE_NAME)) as connection, connection:
        network = json.dumps({"alpha": 0.25, "resolution": 128, "batch": 1})
        connection.execute("UPDATE cells SET network = ?, part = 'block1' WHERE id = 2", [network])
    return (folder / store.FILE_NAME).read_bytes()


def results(report: bool = False) -> Target:
    data, folder = results_file(), Path(tempfile.mkdtemp())
    return lambda rng: reads_results(mutated(data, rng), folder, report)


def values(report: bool = False) -> Target:
    """The file is sound, and one value in it is another."""
    data, folder = results_file(), Path(tempfile.mkdtemp())
    file = folder / "made.sqlite"
    tables = {
        "runs": ("machine", "settings", "ceilings", "id"),
        "cells": (
            "run",
            "D_K",
            "M",
            "N",
            "D_G",
            "stride",
            "batch",
            "D_K_w",
            "dilation",
            "pad_top",
            "groups",
            "network",
            "part",
            "kernels",
            "started",
            "seconds",
            "peak_flop",
        ),
        "outcomes": ("cell", "kernel", "status", "reason", "compile_s", "launches", "error", "declared"),
        "samples": ("cell", "kernel", "block", "seconds"),
    }

    def one(rng: random.Random) -> None:
        file.write_bytes(data)
        table = rng.choice(list(tables))
        column = rng.choice(tables[table])
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.text_factory = bytes
            rows = connection.execute(
                f"SELECT rowid, {column} FROM {table}" if table != "samples" else f"SELECT 1, {column} FROM samples"
            ).fetchall()
            number, old = rng.choice(rows)
            if column in ("machine", "settings", "ceilings", "network", "declared") and old:
                new: object = json.dumps(one_value_changed(json.loads(old), rng))
            elif column == "seconds" and table == "samples":
                samples = np.frombuffer(old, "<f8").copy()
                samples[rng.randrange(len(samples))] = rng.choice((0.0, -1.0, np.nan, np.inf, 1e-320, 1e308))
                new = rng.choice((samples.tobytes(), old[:-8], old[:-1], old + old, b""))
            else:
                new = rng.choice(
                    [
                        value
                        for value in [*ODD, "cpu.standard.a|b", "conv", "whole"]
                        if isinstance(value, str | int | float | bytes | None)
                    ]
                )
                new = new if not isinstance(new, int) or abs(new) < 1 << 63 else 1 << 62
            where = (
                ""
                if table == "samples" and rng.random() < 0.3
                else f" WHERE rowid = {number}"
                if table != "samples"
                else " WHERE block = 0"
            )
            with contextlib.suppress(sqlite3.Error, UnicodeEncodeError), connection:
                connection.execute(f"UPDATE {table} SET {column} = ?{where}", [new])
        reads_results(file.read_bytes(), folder, report)

    return one


def asv_result() -> tuple[dict, dict]:
    names = ["params", "param_names", "version", "result", "stats_ci_99_a", "stats_ci_99_b", "samples", "number"]
    shape = "'D_K=3 M=32 N=64 D_G=112'"
    benchmarks = {"version": 2}
    columns, found = {}, {}
    for name, parameters in (
        ("ratio.Ratio.track_cost_ratio", [[shape], ["'tiled / tiled'", "'1/N + 1/D_K^2'"]]),
        ("standard.Standard.track_time", [[shape], ["'tiled'"]]),
        ("standard.Standard.track_peak_over_attained", [[shape], ["'tiled'"]]),
    ):
        count = len(parameters[1])
        columns[name] = {"param_names": ["shape", "pair"], "unit": "s", "name": name}
        found[name] = [
            parameters,
            ["shape", "pair"],
            "1",
            [0.2] * count,
            [0.1] * count,
            [0.3] * count,
            [[0.2, 0.21]] * count,
            [1] * count,
        ]
    stored = {
        **{"version": 2, "commit_hash": "a" * 40, "env_name": "virtualenv-py3.11", "date": 1_700_000_000_000, "python": "3.11"},
        **{
            "params": {"machine": "here", "cpu": "x"},
            "requirements": {"numba": "0.68"},
            "result_columns": names,
            "results": found,
        },
    }
    return benchmarks | columns, stored


def asv(report: bool = False) -> Target:
    from sepconv_bench.report.history import write_history
    from sepconv_bench.results import history

    benchmarks, stored = asv_result()
    folder = Path(tempfile.mkdtemp())
    (folder / "here").mkdir()

    def one(rng: random.Random) -> None:
        parts = [benchmarks, stored, stored | {"commit_hash": "b" * 40, "date": 1_700_000_100_000}]
        which = rng.randrange(3)
        texts = [json.dumps(part).encode() for part in parts]
        texts[which] = (
            mutated(texts[which], rng) if rng.random() < 0.4 else json.dumps(one_value_changed(parts[which], rng)).encode()
        )
        for name, text in zip(("benchmarks.json", "here/a.json", "here/b.json"), texts, strict=True):
            (folder / name).write_bytes(text)
        found = history.read(folder)
        if report:
            write_history(found, folder / "out")

    return one


def weights_files() -> dict[str, bytes]:
    from safetensors.numpy import save

    arrays = {"conv.weight": np.ones((8, 3, 3, 3), np.float32), "conv.bias": np.ones(8, np.float32)}
    made = {"safetensors": save(arrays)}
    for kind, write in (("npz", np.savez), ("compressed.npz", np.savez_compressed)):
        buffer = io.BytesIO()
        write(buffer, **arrays)
        made[kind] = buffer.getvalue()
    return made


def reads_weights(data: bytes, file: Path) -> None:
    from sepconv_bench.model.networks import mobilenet_v1
    from sepconv_bench.network.weights import folded, read_weights

    file.write_bytes(data)
    folded(read_weights(file), "conv", mobilenet_v1(0.25, 128)[0])


def weights() -> Target:
    files, folder = weights_files(), Path(tempfile.mkdtemp())

    def one(rng: random.Random) -> None:
        kind, data = rng.choice(list(files.items()))
        reads_weights(mutated(data, rng), folder / f"w.{kind}")

    return one


def pictures() -> dict[str, bytes]:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    made = {}
    for kind in ("png", "jpeg", "webp", "tiff", "bmp", "gif", "ppm"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        made[kind] = buffer.getvalue()
    return made


def images() -> Target:
    from sepconv_bench.network.image import read_image

    files, folder = pictures(), Path(tempfile.mkdtemp())

    def one(rng: random.Random) -> None:
        file = folder / "picture"
        file.write_bytes(mutated(rng.choice(list(files.values())), rng))
        read_image(file, 128)

    return one


class Measuring(Exception):  # noqa: N818
    """The words would have measured something."""


def words() -> Target:
    """The door, up to the point where something would be measured or built."""
    from sepconv_bench import cli
    from sepconv_bench.run import ab, checking, kernel_process, network_sweep, revision, sweep

    def stop(*_: object, **__: object) -> None:
        raise Measuring

    for module, name in (
        (sweep, "sweep"),
        (network_sweep, "sweep_networks"),
        (checking, "check"),
        (kernel_process, "measure_machine"),
        (revision, "build"),
        (ab, "compare"),
    ):
        setattr(module, name, stop)
    options = {
        "run": (
            *(
                "--grid",
                "--D_K",
                "--M",
                "--N",
                "--D_G",
                "--stride",
                "--batch",
                "--dilation",
                "--padding",
                "--groups",
                "--threads",
                "--timeout",
                "--plugin",
                "--kernels",
            ),
            *("--device", "--output", "--resume", "--target", "--time-limit", "--seed", "--cold"),
        ),
        "mobilenet": (
            *("--alpha", "--resolution", "--batch", "--weights", "--image", "--time-limit", "--threads", "--seed", "--output"),
        ),
        "report": ("--asv", "--output"),
        "export": ("--table", "--format", "--json", "--output"),
        "ladder": ("--into", "--output", "--json"),
        "check": ("--kernels", "--plugin", "--threads", "--timeout", "--device", "--json"),
        "ab": ("--grid", "--kernels", "--time-limit", "--threads", "--seed", "--threshold", "--output", "--json", "--M"),
        "compare": ("--threshold", "--output", "--json", "--across-machines"),
        "list": ("--plugin", "--json"),
        "machine": ("--threads", "--device", "--json"),
    }
    good = ("smoke", "3,5", "16:64:x2", "2", "1", "0.5", "cpu", "cpu.*.numpy", "samples", "csv", "out", "0.25", "128", "HEAD")
    odd = (
        "",
        "-1",
        "0",
        "nan",
        "inf",
        "1e999",
        "9" * 30,
        "\udcff",
        "\x1b[2J",
        "x" * 300,
        "../..",
        "/dev/null",
        "/proc/1/mem",
        "--",
        "-x",
        "out\n",
    )
    os.chdir(tempfile.mkdtemp())

    def one(rng: random.Random) -> None:
        command = rng.choice([*options, "nosuch"])
        line = [command]
        for option in rng.choices(options.get(command, ("--help",)), k=rng.randrange(4)):
            line += [option, rng.choice(good if rng.random() < 0.6 else odd)]
        line += [rng.choice((*good, *odd)) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        out, errors = io.StringIO(), io.StringIO()
        code: object = 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                cli.main(line)
        except SystemExit as ended:
            code = ended.code
        except Measuring:
            return
        assert code in (0, 1, 2), (line, code)
        if code == 2:
            told = errors.getvalue()
            assert told.startswith("sepconv-bench: "), (line, told)
            assert told.count("\n") == 1, (line, told)
            assert told.strip().isprintable(), (line, told)
            raise InputError(told)

    return one


TARGETS: dict[str, Callable[[], Target]] = {
    "shapes": shapes,
    "axes": axes,
    "calls": calls,
    "registry": registry,
    "plugins": plugins,
    "results": results,
    "values": values,
    "asv": asv,
    "asv_report": lambda: asv(report=True),
    "report": lambda: values(report=True),
    "weights": weights,
    "images": images,
    "words": words,
}
READERS = {"results": results_file, "weights": lambda: weights_files()["npz"], "images": lambda: pictures()["webp"]}


# ---------------------------------------------------------------------------------------------- running them


def fuzz(name: str, first: int, count: int, seed: int) -> None:
    """In a process of its own: numbers of inputs, what became of them, a line of JSON at the end."""
    one = TARGETS[name]()
    warnings.simplefilter("error")
    outcomes: Counter[str] = Counter()
    odd: dict[str, str] = {}
    progress = Path(os.environ["FUZZ_PROGRESS"])
    for number in range(first, first + count):
        progress.write_text(str(number))
        try:
            one(random.Random(f"{seed} {name} {number}"))
            outcomes["taken"] += 1
        except InputError as refused:
            outcomes["refused"] += 1
            if "\0" in str(refused):
                odd["a NUL in a message"] = str(number)
        except BaseException as error:
            outcomes["fault"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__}: {str(error)[:200]!r} at {Path(last.filename).name}:{last.lineno}"
            odd.setdefault(f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", f"input {number}: {where}")
    print(json.dumps([outcomes, odd]), file=sys.__stdout__)


def driven(name: str, count: int, seed: int) -> tuple[Counter[str], dict[str, str], float]:
    outcomes: Counter[str] = Counter()
    odd: dict[str, str] = {}
    start, first = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        while first < count:
            command = [sys.executable, __file__, "--one", name, str(first), str(count - first), "--seed", str(seed)]
            environment = os.environ | {"FUZZ_PROGRESS": str(progress), "TMPDIR": folder, "NUMBA_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found, seen = json.loads(done.stdout.splitlines()[-1])
                outcomes.update(found)
                odd |= seen
                break
            at = int(progress.read_text()) if progress.exists() else first
            outcomes["crash"] += 1
            odd[f"crash {done.returncode}"] = f"input {at}: {done.stderr[-300:]}"
            first = at + 1
    return outcomes, odd, time.monotonic() - start


def led_by_coverage(name: str, runs: int) -> str:
    """The same reader under atheris, from a real file on: its last words, or why it was not run."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        command = [sys.executable, __file__, "--atheris", name, str(corpus), f"-runs={runs}", "-max_len=65536"]
        done = subprocess.run(command, env=os.environ | {"TMPDIR": folder}, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("Done ") or "Error" in line]
        return f"exit code {done.returncode}, {lines[-1] if lines else done.stderr[-200:]}"


def under_atheris(name: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["sepconv_bench", "PIL", "numpy.lib"]):
        from sepconv_bench.network import (
            image,
            weights,  # noqa: F401
        )
    data, folder = READERS[name](), Path(tempfile.mkdtemp())
    (Path(arguments[0]) / "real").write_bytes(data)

    def one(given: bytes) -> None:
        with contextlib.suppress(InputError):
            if name == "results":
                reads_results(given, folder)
            elif name == "weights":
                reads_weights(given, folder / "w.npz")
            else:
                (folder / "picture").write_bytes(given)
                image.read_image(folder / "picture", 128)

    atheris.Setup([name, *arguments], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs in COUNTS")
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", nargs=3)
    parser.add_argument("--coverage", type=int, default=0, metavar="RUNS", help="with atheris, of each reader")
    if sys.argv[1:2] == ["--atheris"]:
        under_atheris(sys.argv[2], sys.argv[3:])
    given = parser.parse_args()
    if given.one:
        fuzz(given.one[0], int(given.one[1]), int(given.one[2]), given.seed)
        return
    total: Counter[str] = Counter()
    print("| target | inputs | taken | refused in one line | faults | crashes | seconds |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, count in COUNTS.items():
        if given.only in (None, name):
            outcomes, odd, seconds = driven(name, max(1, int(count * given.share)), given.seed)
            total.update(outcomes)
            counts = [outcomes[what] for what in ("taken", "refused", "fault", "crash")]
            print(
                f"| {name} | {sum(counts):,} | " + " | ".join(f"{each:,}" for each in counts) + f" | {seconds:.0f} |",
                flush=True,
            )
            for line in odd.values():
                print(f"  {line}", flush=True)
    print(
        f"| all | {total.total():,} | "
        + " | ".join(f"{total[what]:,}" for what in ("taken", "refused", "fault", "crash"))
        + " | |"
    )
    if given.coverage:
        for name in READERS:
            print(f"atheris, {name}: {led_by_coverage(name, given.coverage)}", flush=True)
    sys.exit(bool(total["fault"] + total["crash"]))


if __name__ == "__main__":
    main()
