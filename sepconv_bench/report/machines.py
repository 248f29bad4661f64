"""Machines side by side: on each shape that all have measured, what separable convolution buys there, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sepconv_bench import files
from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Level
from sepconv_bench.model.shapes import IDENTITY, ConvShape
from sepconv_bench.report.drawn import FIGURES, drawn
from sepconv_bench.report.templates import rendered
from sepconv_bench.report.view import view
from sepconv_bench.results import columns
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import ratios, timings

_SHAPE = [*IDENTITY]


def write_comparison(found: Sequence[Results], folder: Path) -> Path:
    """Write index.html and its figure into `folder`; gives the page's path.

    ResultsError where the results have no kernel on a shape in common, or `folder` cannot be written.
    """
    names = _names(found)
    table, times = side_by_side(found, names), kernels_side_by_side(found, names)
    if table.empty and times.empty:
        raise ResultsError(f"{', '.join(str(results.path) for results in found)} have no kernel on a shape in common")
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        page = folder / "index.html"
        text = rendered(
            "machines.html.j2",
            machines=names,
            verdict=[*describe_machines(table), *describe_kernels(times, names)],
            figures=[] if table.empty else drawn("machines", {"machines": table, "source": _source(found)}, folder / FIGURES),
            rows=_rows(table),
            times=_times(times, names),
            facts=_facts(found),
        )
        files.write(page, text)
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


def side_by_side(found: Sequence[Results], names: Sequence[str]) -> pd.DataFrame:
    """One row a machine and a shape that all of them have: the fastest kernels' ratio, and both times in seconds."""
    frames = []
    for results, name in zip(found, names, strict=True):
        pairs = ratios(results)
        best = pairs[pairs.best]
        times = timings(results)
        for side in ("standard", "separable"):
            key = [*IDENTITY, "run", "kernel"]
            seconds = times[[*key, "time_s"]].drop_duplicates(key, keep="last")
            seconds = seconds.rename(columns={"kernel": f"{side}_kernel", "time_s": f"{side}_s"})
            best = best.merge(seconds, on=[*IDENTITY, "run", f"{side}_kernel"], how="left")
        frames.append(best.assign(machine=name))
    table = pd.concat(frames, ignore_index=True)
    everywhere = table.groupby(_SHAPE).machine.transform("nunique") == len(found)
    return table[everywhere].sort_values(["theory_speedup", *IDENTITY], kind="stable").reset_index(drop=True)


def describe_machines(table: pd.DataFrame) -> list[str]:
    """A sentence a machine, and one on how they differ; every number is over the shapes that all have. None without one."""
    if table.empty:
        return []
    shapes = table.groupby(_SHAPE).ngroups
    promised = table.drop_duplicates(_SHAPE).theory_speedup.median()
    sentences = [
        f"{shapes} shapes were measured on all {table.machine.nunique()} machines; 1/N + 1/D_K² promises"
        f" {promised:.1f} times in their median. Fastest kernels against fastest, medians over these shapes:"
    ]
    for machine, rows in table.groupby("machine", sort=False):
        kept = (rows.speedup / rows.theory_speedup).median()
        sentences.append(
            f"{machine}: separable is {rows.speedup.median():.1f} times as fast ({rows.speedup.min():.2g}x to"
            f" {rows.speedup.max():.2g}x), {kept:.0%} of the promise (median of measured / promised). The standard kernels"
            f" reach {rows.eta_standard.median():.0%} of its FMA peak, the separable ones {rows.eta_separable.median():.0%}."
        )
    times = table.pivot_table(index=_SHAPE, columns="machine", values="separable_s", sort=False)
    means = np.exp(times.map(np.log).mean()).sort_values()
    if len(means) > 1:
        listed = ", ".join(f"{machine} {seconds / means.iloc[0]:.2f}" for machine, seconds in means.iloc[1:].items())
        sentences.append(
            f"Separable convolution itself is the fastest on {means.index[0]}; times of its time, geometric means: {listed}."
        )
    spread = table.groupby(_SHAPE).speedup.agg(lambda speedups: speedups.max() / speedups.min())
    if spread.max() > 1:
        at = _shape(spread.index[int(spread.argmax())])
        sentences.append(f"They differ most at {at}: by a factor of {spread.max():.2f} in the speedup.")
    return sentences


def kernels_side_by_side(found: Sequence[Results], names: Sequence[str]) -> pd.DataFrame:
    """One row a kernel and shape that all of them have timed; of each its seconds and its share of the peak, by name."""
    frames = []
    for results, name in zip(found, names, strict=True):
        right = timings(results)
        right = right[right.status == "ok"].drop_duplicates([*IDENTITY, "kernel"], keep="last")
        frames.append(right.set_index(["operator", "kernel", *IDENTITY])[["time_s", "eta"]].add_suffix(f" {name}"))
    return pd.concat(frames, axis=1, join="inner").sort_index(kind="stable")


def describe_kernels(times: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """How much longer our and others' kernels take on each of the others than on the first, by the share of the peak that was
    timed in the same rounds; a sentence each."""
    sentences = []
    for name in names[1:]:
        longer = times[f"eta {names[0]}"] / times[f"eta {name}"]
        parts = [f"{operator} {rows.median():.2f}" for operator, rows in longer.groupby(level="operator") if rows.notna().any()]
        if parts:
            sentences.append(
                f"{name} beside {names[0]}, times as long in the median over kernels and shapes, by the peak of the"
                f" same rounds: {', '.join(parts)}."
            )
    return sentences


def _times(times: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """The rows of `kernels_side_by_side` as texts: kernel, shape, then of each its time and its share of the peak."""
    seconds, eta = columns.TIMINGS["time_s"], columns.TIMINGS["eta"]
    rows = times.reset_index()
    shown = [list(rows.kernel), [_shape(sizes) for sizes in rows[_SHAPE].itertuples(index=False)]]
    for name in names:
        shown += [[seconds.text(value) for value in rows[f"time_s {name}"]], [eta.text(value) for value in rows[f"eta {name}"]]]
    return [list(row) for row in zip(*shown, strict=True)]


def _names(found: Sequence[Results]) -> list[str]:
    """The folders' names, or their whole paths where two are called alike."""
    folders = [results.path.parent.resolve() for results in found]
    count = Counter(folder.name for folder in folders)
    twice = next((str(folder) for folder, times in Counter(folders).items() if times > 1), None)
    if twice:
        raise ResultsError(f"{twice} came twice; each machine is compared once")
    return [folder.name if count[folder.name] == 1 else str(folder) for folder in folders]


def _shape(sizes: Iterable[Any]) -> str:
    return str(ConvShape.of_row(dict(zip(_SHAPE, sizes, strict=True))))


def _source(found: Sequence[Results]) -> str:
    return "measured " + " and ".join(results.runs()[-1].machine.time[:10] for results in found)


def _rows(table: pd.DataFrame) -> list[dict]:
    rows = []
    for sizes, group in table.groupby(_SHAPE, sort=False):
        shown = view(
            columns.RATIOS,
            group,
            ("machine", "speedup", ("speedup_lo", "speedup_hi"), "eta_standard", "eta_separable", "grade"),
        )
        times = [columns.TIMINGS["time_s"].text(seconds) for seconds in group.separable_s]
        measured = [{"cells": cells, "time": time} for cells, time in zip(shown.rows, times, strict=True)]
        rows.append({"shape": _shape(sizes), "promised": f"{group.theory_speedup.iloc[0]:.2f}", "measured": measured})
    return rows


def _facts(found: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """What each machine is, a list in the order of the machines for each fact."""
    runs = [results.runs()[-1] for results in found]
    machines = [run.machine for run in runs]
    return [
        ("Machine", [machine.describe() for machine in machines]),
        ("LLVM says", [machine.llvm_cpu for machine in machines]),
        ("Launches find their data", ["in memory" if run.settings.cold else "in the caches" for run in runs]),
        ("FMA peak", [f"{run.ceilings.peak.value / 1e9:.0f} GFLOP/s" for run in runs]),
        ("Copy, near and far", [_copies(run.ceilings.levels) for run in runs]),
        ("Caches", [", ".join(f"{level} {size}" for level, size in machine.caches.items()) for machine in machines]),
        ("System", [f"{machine.system}, Python {machine.python}" for machine in machines]),
        ("Versions", [", ".join(f"{name} {version}" for name, version in machine.versions.items()) for machine in machines]),
        ("Commit", [machine.commit or "not from a checkout" for machine in machines]),
        ("Measured", [machine.time for machine in machines]),
    ]


def _copies(levels: Sequence[Level]) -> str:
    return " and ".join(f"{level.bandwidth.value / 1e9:.0f} GB/s" for level in (levels[0], levels[-1]))
