"""One self-contained HTML page: the figures, what they say in words, the tables, and the machine."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sepconv_bench.errors import ResultsError
from sepconv_bench.report import figures
from sepconv_bench.report import network as networks
from sepconv_bench.results import Results, layers, network, ratios, timings

PAGE = "index.html"
FIGURES = "figures"
_TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class _Shown:
    """A figure on the page: file stem, heading, what it shows in words for those who cannot see it, and the picture."""

    stem: str
    heading: str
    told: str
    data: str


def write_report(results: Results, folder: Path) -> Path:
    """Write index.html and its figures as PNG and SVG files into `folder`; gives the page's path.

    ResultsError where the results hold no cell yet, or `folder` cannot be written.
    """
    runs, times, pairs = results.runs(), timings(results), ratios(results)
    steps, libraries = layers(results), network(results)
    if not runs or (times.empty and libraries.empty):
        raise ResultsError(f"{results.path} holds no measured cell yet; `sepconv-bench run --resume` goes on measuring")
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for old in (folder / FIGURES).glob("*.*"):
            old.unlink()
        shown = _drawn(_figures(times, pairs, runs[-1]["ceilings"]), folder / FIGURES)
        whole = _drawn(_network_figures(steps, libraries), folder / FIGURES)
        page = folder / PAGE
        page.write_text(_render(runs, times, pairs, shown, (steps, libraries, whole)), encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"the report cannot be written into {folder}: {error.strerror}") from error
    return page


_Figure = tuple[str, str, str, Callable[[], Figure | None]]  # stem, heading, in words, and who draws it


def _figures(times: pd.DataFrame, pairs: pd.DataFrame, ceilings: dict) -> list[_Figure]:
    return [
        (
            "speedup",
            "What it buys, and what it promises",
            "Measured speedup over the promised one, both on logarithmic axes, a point a shape, coloured by D_K; the line is"
            " the formula, the dash above or below a point what perfect kernels would reach on this machine.",
            lambda: figures.headline(pairs),
        ),
        (
            "rungs",
            "Like with like",
            "The same axes, one panel a rung of kernels: the standard and the separable kernel of a panel are written alike.",
            lambda: figures.rungs(pairs),
        ),
        *(
            (
                f"over_{axis}",
                f"Over {axis}",
                f"Speedup over {axis}, a panel a comparison; dashed lines are what the formula promises.",
                lambda axis=axis: figures.over(pairs, axis),
            )
            for axis in ("N", "D_K", "M", "D_G")
        ),
        (
            "roofline",
            "The roofline",
            "Each kernel's share of the machine's peak over its arithmetic intensity, under the roofs that the peak and the"
            " bandwidth of three memory levels set.",
            lambda: figures.roofline(times, ceilings),
        ),
    ]


def _network_figures(steps: pd.DataFrame, libraries: pd.DataFrame) -> list[_Figure]:
    return [
        (
            "network",
            "MobileNet-V1 end to end",
            "Time of MobileNet-V1 and of its all-standard counterpart, a pair of bars a library, with the speedup of each.",
            lambda: networks.end_to_end(steps, libraries),
        ),
        (
            "layers",
            "Layer by layer",
            "Our time of each step in both networks on a logarithmic axis, a dash where the fastest other library stands;"
            " below, the measured speedup of each block and the promised one.",
            lambda: networks.by_layer(steps),
        ),
        (
            "latency",
            "Latency against multiply-adds",
            "Time over multiply-adds, both on logarithmic axes, of MobileNet-V1 (filled) and its all-standard counterpart"
            " (open) over width multipliers and resolutions.",
            lambda: networks.latency(steps),
        ),
    ]


def _drawn(drawn: Sequence[_Figure], folder: Path) -> list[_Shown]:
    shown = []
    for stem, heading, told, draw in drawn:
        figure = draw()
        if figure is None:
            continue
        figures.save(figure, folder / stem)
        data = base64.b64encode((folder / f"{stem}.svg").read_bytes()).decode()
        shown.append(_Shown(stem, heading, told, f"data:image/svg+xml;base64,{data}"))
    return shown


def _render(
    runs: list[dict],
    times: pd.DataFrame,
    pairs: pd.DataFrame,
    shown: list[_Shown],
    network: tuple[pd.DataFrame, pd.DataFrame, list[_Shown]],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sepconv_bench", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    machine, (steps, libraries, network_figures) = runs[-1]["machine"], network
    return environment.get_template(_TEMPLATE).render(
        machine=machine,
        facts=_machine_facts(machine, runs),
        ceilings=runs[-1]["ceilings"],
        verdict=verdict(pairs),
        figures=shown,
        network={
            "verdict": networks.verdict(steps, libraries),
            "figures": network_figures,
            "columns": networks.COLUMNS,
            "rows": networks.rows_of(steps),
        },
        ratios=_ratio_rows(pairs),
        timings=_timing_rows(times),
        failures=[row for _, row in times[~times.status.isin(["ok", "unsupported"])].iterrows()],
        failed_parts=[row for _, row in libraries[~libraries.status.isin(["ok", "unsupported"])].iterrows()],
    )


def verdict(pairs: pd.DataFrame) -> list[str]:
    """What the numbers say, in sentences; every number is a median over shapes."""
    best = pairs[pairs.best] if len(pairs) else pairs
    if best.empty:
        return ["No standard kernel was timed beside a separable one, so there is no speedup to speak of."]
    kept = best.speedup / best.theory_speedup
    sentences = [
        f"Fastest against fastest, separable convolution is {best.speedup.median():.1f} times as fast as standard in the median"
        f" of {len(best)} shapes ({best.speedup.min():.2g}x to {best.speedup.max():.2g}x), where 1/N + 1/D_K² promises"
        f" {best.theory_speedup.median():.1f} times: {kept.median():.0%} of the promise.",
        f"Perfect kernels would reach {best.roofline_speedup.median():.1f} times on this machine:"
        f" memory bandwidth explains {_share_of_gap(best)}.",
        f"The rest is how well each side uses the machine: the standard kernels reach {best.eta_standard.median():.0%} of its"
        f" FMA peak, the separable ones {best.eta_separable.median():.0%}. Measured speedup = promised x eta(separable) /"
        " eta(standard), an identity: a slow standard kernel flatters separable convolution as much as a fast separable one.",
    ]
    slower = int((best.speedup_hi < 1).sum())
    if slower:
        sentences.append(f"On {slower} of {len(best)} shapes separable is the slower one, beyond its interval.")
    open_ones = int((~pairs.converged).sum())
    if open_ones:
        sentences.append(
            f"{open_ones} of {len(pairs)} ratios ran out of time before their interval was as narrow as asked: drawn open,"
            " and their intervals are stated all the same."
        )
    return sentences


def _share_of_gap(best: pd.DataFrame) -> str:
    gap: pd.Series = (best.theory_speedup / best.speedup).map(log)
    explained: pd.Series = (best.theory_speedup / best.roofline_speedup).map(log)
    if gap.median() < 0.05:
        return "nothing, for there is hardly a gap"
    share = float(np.clip((explained / gap)[gap > 0].median(), 0, 1))
    return f"{share:.0%} of the gap" if share >= 0.005 else "none of the gap"


def _machine_facts(machine: dict, runs: list[dict]) -> list[tuple[str, str]]:
    settings = runs[-1]["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    blas = ", ".join(f"{pool['internal_api']} {pool['version']} ({pool['num_threads']} threads)" for pool in machine["blas"])
    device = [("CPU", f"{machine['cpu']} (LLVM says {machine['llvm_cpu']})")]
    if "gpu" in machine:
        gpu = machine["gpu"]
        told = f"{gpu['name']}, {gpu['multiprocessors']} multiprocessors of compute capability {gpu['compute_capability']}"
        device = [("GPU", f"{told}, {gpu['memory_bytes'] / 2**30:.0f} GiB, driver {gpu['driver']}")]
    return [
        *device,
        (
            "Threads",
            f"{machine['threads']} of {machine['logical_cpus']} logical CPUs, Numba's {machine['threading_layer']} layer",
        ),
        ("Caches", ", ".join(f"{level} {size}" for level, size in machine["caches"].items()) or "unknown"),
        ("Memory", f"{machine['memory_bytes'] / 2**30:.0f} GiB"),
        ("Idle pools", ", ".join(f"{name}={value}" for name, value in machine["wait_policy"].items())),
        ("System", f"{machine['system']}, Python {machine['python']}"),
        ("Versions", versions),
        ("BLAS", blas or "unknown"),
        ("Commit", machine["commit"] or "not from a checkout"),
        (
            "Grid",
            f"{settings['grid']}; interval target ±{settings['rules']['target']:.1%}, "
            f"at most {settings['rules']['seconds']:g} s of sampling a cell",
        ),
        ("Measured", " and ".join(run["machine"]["time"] for run in runs)),
    ]


def _shape(row: pd.Series) -> dict[str, int]:
    return {name: int(row[name]) for name in ("D_K", "M", "N", "D_G", "stride", "batch")}


def _ratio_rows(pairs: pd.DataFrame) -> list[dict]:
    return [
        {
            **_shape(row),
            "standard": row.standard_kernel,
            "separable": row.separable_kernel,
            "best": row.best,
            "promised": f"{row.theory_speedup:.2f}",
            "roofline": f"{row.roofline_speedup:.2f}",
            "measured": f"{row.speedup:.2f}",
            "interval": f"{row.speedup_lo:.2f} to {row.speedup_hi:.2f}",
            "eta_standard": f"{row.eta_standard:.1%}",
            "eta_separable": f"{row.eta_separable:.1%}",
            "converged": row.converged,
        }
        for _, row in pairs.iterrows()
    ]


def _timing_rows(times: pd.DataFrame) -> list[dict]:
    return [
        {
            **_shape(row),
            "kernel": row.kernel,
            "time": f"{row.time_s * 1e6:,.1f}",
            "interval": f"{row.time_lo_s * 1e6:,.1f} to {row.time_hi_s * 1e6:,.1f}",
            "gflops": f"{row.gflops:.1f}",
            "eta": f"{row.eta:.1%}",
            "samples": int(row.samples),
            "compile": "" if np.isnan(row.compile_s) or not row.compile_s else f"{row.compile_s:.2f}",
        }
        for _, row in times[times.status == "ok"].iterrows()
    ]
