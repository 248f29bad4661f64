"""The gallery of machines: a page made from the results that are committed in reports/."""

from __future__ import annotations

from pathlib import Path

from sepconv_bench.report.plain import in_markdown
from sepconv_bench.results import store, tables

REPORTS = Path(__file__).parents[1] / "reports"
_INTRODUCTION = """# Gallery of machines

The results that are committed in `reports/`, each measured by one command. Gain, promise and shares of the peak are medians
over the shapes, of the fastest kernels of each side. The grades are those of the gains ([what they say](grades.md)).
`make report-commit` puts the results of your machine there.

"""


def gallery(reports: Path = REPORTS) -> str:
    """The page: for each report its numbers, from the tables, its main figure, and what draws the whole of it."""
    return _INTRODUCTION + "\n".join(_section(path.parent) for path in sorted(reports.glob("*/results.sqlite")))


def _section(folder: Path) -> str:
    with store.open_results(folder) as results:
        machine = results.runs()[-1].machine
        pairs, parts = tables.ratios(results), tables.layers(results)
    best, whole = pairs[pairs.best], parts[parts.part == "whole"]
    lines = [f"## {folder.name}", "", in_markdown(f"{machine.describe()}, measured {machine.time[:10]}."), ""]
    if len(best):
        grades = ", ".join(f"{count} {grade}" for grade, count in best.grade.value_counts().sort_index().items())
        lines += [
            "| shapes | gain | promised | peak, standard | peak, separable | grades |",
            "|---:|---:|---:|---:|---:|---|",
            f"| {len(best)} | {best.speedup.median():.1f}x | {best.theory_speedup.median():.1f}x |"
            f" {best.eta_standard.median():.0%} | {best.eta_separable.median():.0%} | {grades} |",
            "",
        ]
    if len(whole):
        row = whole.iloc[-1]
        lines += [
            f"MobileNet-V1 (alpha {row.alpha:g}, {row.resolution} x {row.resolution}, batch {row.batch}) gains"
            f" {row.speedup:.2f}x vs its counterpart with standard convolutions; {row.theory_speedup:.2f}x were promised.",
            "",
        ]
    for figure in ("speedup", "network"):
        if (folder / "figures" / f"{figure}.png").exists():
            lines += [f"![{figure} of {folder.name}](../reports/{folder.name}/figures/{figure}.png)", ""]
    page = f'<a href="reports/{folder.name}/index.html">The whole report</a>'  # `make docs` draws it there
    return "\n".join([*lines, f"{page}, which `sepconv-bench report reports/{folder.name}` draws.", ""])
