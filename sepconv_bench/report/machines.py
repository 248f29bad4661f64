"""Machines side by side: on each shape that all have measured, what separable convolution buys there, and why."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepconv_bench.errors import ResultsError
from sepconv_bench.measure.records import Level
from sepconv_bench.model.shapes import AXES, ConvShape
from sepconv_bench.report import figures
from sepconv_bench.results.store import Results
from sepconv_bench.results.tables import ratios, timings

_SHAPE = [*AXES]
_TEMPLATE = "machines.html.j2"
_TOLD = (
    "A row a shape, a mark a machine: the measured speedup of the fastest kernels on a logarithmic axis, a black dash where"
    " 1/N + 1/D_K² promises it; then the share of its multiply-add peak that the standard and the separable kernel attain."
)


def write_comparison(found: Sequence[Results], folder: Path) -> Path:
    """Write index.html and its figure into `folder`; gives the page's path.

    ResultsError where the results have no pair on a shape in common, or `folder` cannot be written.
    """
    names = _names(found)
    table = side_by_side(found, names)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        figure = cells(table)
        assert figure is not None
        figures.save(figure, folder / "figures" / "machines")
        picture = base64.b64encode((folder / "figures" / "machines.svg").read_bytes()).decode()
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("sepconv_bench", "report"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = folder / "index.html"
        text = environment.get_template(_TEMPLATE).render(
            machines=names,
            verdict=verdict(table),
            picture=f"data:image/svg+xml;base64,{picture}",
            told=_TOLD,
            rows=_rows(table),
            facts=_facts(found),
        )
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


def side_by_side(found: Sequence[Results], names: Sequence[str]) -> pd.DataFrame:
    """One row a machine and a shape that all of them have: the fastest kernels' ratio, and both times in seconds.

    ResultsError where there is no such shape.
    """
    frames = []
    for results, name in zip(found, names, strict=True):
        pairs = ratios(results)
        best = pairs[pairs.best] if len(pairs) else pairs.reindex(columns=[*AXES, "standard_kernel", "separable_kernel"])
        # Where a shape was measured with several choices of kernels, the last one counts.
        best = best.drop_duplicates(_SHAPE, keep="last")
        times = timings(results)
        for side in ("standard", "separable") if len(best) else ():
            key = [*AXES, "run", "kernel"]
            seconds = times[[*key, "time_s"]].drop_duplicates(key, keep="last")
            seconds = seconds.rename(columns={"kernel": f"{side}_kernel", "time_s": f"{side}_s"})
            best = best.merge(seconds, on=[*AXES, "run", f"{side}_kernel"], how="left")
        frames.append(best.assign(machine=name))
    table = pd.concat(frames, ignore_index=True)
    everywhere = table.groupby(_SHAPE).machine.transform("nunique") == len(found)
    table = table[everywhere]
    if table.empty:
        raise ResultsError(f"{', '.join(str(results.path) for results in found)} have no pair of kernels on a shape in common")
    return table.sort_values(["theory_speedup", *AXES], kind="stable").reset_index(drop=True)


def verdict(table: pd.DataFrame) -> list[str]:
    """A sentence a machine, and one on how they differ; every number is over the shapes that all have."""
    shapes = table.groupby(_SHAPE).ngroups
    promised = table.drop_duplicates(_SHAPE).theory_speedup.median()
    sentences = [
        f"{shapes} shapes were measured on all {table.machine.nunique()} machines; 1/N + 1/D_K² promises"
        f" {promised:.1f} times in their median. Fastest kernels against fastest:"
    ]
    for machine, rows in table.groupby("machine", sort=False):
        kept = (rows.speedup / rows.theory_speedup).median()
        sentences.append(
            f"{machine}: separable is {rows.speedup.median():.1f} times as fast ({rows.speedup.min():.2g}x to"
            f" {rows.speedup.max():.2g}x), {kept:.0%} of the promise. The standard kernels reach"
            f" {rows.eta_standard.median():.0%} of its FMA peak, the separable ones {rows.eta_separable.median():.0%}."
        )
    times = table.pivot_table(index=_SHAPE, columns="machine", values="separable_s", sort=False)
    means = np.exp(times.map(np.log).mean()).sort_values()
    if len(means) > 1:
        told = ", ".join(f"{machine} {seconds / means.iloc[0]:.2f}" for machine, seconds in means.iloc[1:].items())
        sentences.append(
            f"Separable convolution itself is the fastest on {means.index[0]}; times of its time, geometric means: {told}."
        )
    spread = table.groupby(_SHAPE).speedup.agg(lambda speedups: speedups.max() / speedups.min())
    if spread.max() > 1:
        at = _told_shape(spread.index[int(spread.argmax())])
        sentences.append(f"They differ most at {at}: by a factor of {spread.max():.2f} in the speedup.")
    return sentences


@figures.styled
def cells(table: pd.DataFrame) -> Figure | None:
    """Speedup beside the promised one and both etas: a row a shape, a colour and a marker a machine."""
    if table.empty:
        return None
    shapes = table[_SHAPE].drop_duplicates().itertuples(index=False, name=None)
    heights = {shape: -number for number, shape in enumerate(shapes)}
    machines = list(dict.fromkeys(table.machine))
    figure, panels = plt.subplots(
        1, 3, figsize=(9.6, 1.9 + 0.25 * len(heights)), sharey=True, width_ratios=[2, 1, 1], squeeze=True
    )
    handles = []
    for number, machine in enumerate(machines):
        rows = table[table.machine == machine]
        # Beside each other within the row, for machines that are alike hide one another.
        middle = np.array([heights[shape] for shape in rows[_SHAPE].itertuples(index=False, name=None)])
        height = middle + 0.5 * ((len(machines) - 1) / 2 - number) / len(machines)
        colour, marker = figures.LOOKS[number % len(figures.LOOKS)]
        look = {"color": colour, "marker": marker, "s": 22, "linewidths": 0, "zorder": 4}
        handles.append(Line2D([], [], linestyle="", color=colour, marker=marker, label=machine))
        high = rows.speedup_hi.replace(np.inf, np.nan).fillna(rows.speedup)
        panels[0].hlines(height, rows.speedup_lo.replace(0, np.nan).fillna(rows.speedup), high, color=colour, linewidth=1.4)
        panels[0].scatter(rows.speedup, height, **look)
        for panel, side in zip(panels[1:], ("standard", "separable"), strict=True):
            panel.scatter(rows[f"eta_{side}"], height, **look)
    promised = table.drop_duplicates(_SHAPE)
    panels[0].scatter(promised.theory_speedup, list(heights.values()), marker="|", s=110, color="#222222", zorder=3)
    _dress(panels, [_told_shape(shape) for shape in heights], list(heights.values()))
    handles.append(Line2D([], [], linestyle="", color="#222222", marker="|", markersize=10, label="promised"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), columnspacing=1.4)
    figure.suptitle("Machines side by side", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _dress(panels: Sequence[Axes], labels: Sequence[str], heights: Sequence[float]) -> None:
    panels[0].set_xscale("log")
    figures.log_axis(panels[0].xaxis)
    panels[0].axvline(1, color="#999999", linewidth=0.9, zorder=1)
    panels[0].set_xlabel("speedup  $T_{\\mathrm{standard}}\\,/\\,T_{\\mathrm{separable}}$")
    panels[0].set_yticks(heights, labels)
    panels[0].set_ylim(min(heights) - 0.7, max(heights) + 0.7)
    for panel, side in zip(panels[1:], ("standard", "separable"), strict=True):
        panel.set_xlim(0, 1.05)
        panel.set_xlabel(f"$\\eta$, {side}")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")


def _names(found: Sequence[Results]) -> list[str]:
    """The folders' names, or their whole paths where two are called alike."""
    folders = [results.path.parent.resolve() for results in found]
    count = Counter(folder.name for folder in folders)
    twice = next((str(folder) for folder, times in Counter(folders).items() if times > 1), None)
    if twice:
        raise ResultsError(f"{twice} came twice; each machine is compared once")
    return [folder.name if count[folder.name] == 1 else str(folder) for folder in folders]


def _told_shape(sizes: Iterable[Any]) -> str:
    return str(ConvShape(*map(int, sizes)))


def _rows(table: pd.DataFrame) -> list[dict]:
    rows = []
    for sizes, group in table.groupby(_SHAPE, sort=False):
        measured = [
            {
                "machine": row.machine,
                "speedup": f"{row.speedup:.2f}",
                "interval": f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f}",
                "converged": row.converged,
                "eta_standard": f"{row.eta_standard:.0%}",
                "eta_separable": f"{row.eta_separable:.0%}",
                "time": f"{row.separable_s * 1e6:,.1f}",
            }
            for _, row in group.iterrows()
        ]
        rows.append({"shape": _told_shape(sizes), "promised": f"{group.theory_speedup.iloc[0]:.2f}", "measured": measured})
    return rows


def _facts(found: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """What each machine is, a list in the order of the machines for each fact."""
    runs = [results.runs()[-1] for results in found]
    machines = [run.machine for run in runs]
    return [
        ("Machine", [machine.describe() for machine in machines]),
        ("LLVM says", [machine.llvm_cpu for machine in machines]),
        ("FMA peak", [f"{run.ceilings.peak.value / 1e9:.0f} GFLOP/s" for run in runs]),
        ("Copy, near and far", [_told_copies(run.ceilings.levels) for run in runs]),
        ("Caches", [", ".join(f"{level} {size}" for level, size in machine.caches.items()) for machine in machines]),
        ("System", [f"{machine.system}, Python {machine.python}" for machine in machines]),
        ("Versions", [", ".join(f"{name} {told}" for name, told in machine.versions.items()) for machine in machines]),
        ("Commit", [machine.commit or "not from a checkout" for machine in machines]),
        ("Measured", [machine.time for machine in machines]),
    ]


def _told_copies(levels: Sequence[Level]) -> str:
    return " and ".join(f"{level.bandwidth.value / 1e9:.0f} GB/s" for level in (levels[0], levels[-1]))
