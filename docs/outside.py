"""What the site takes from outside docs/: the gallery of machines, made anew with each build from the results committed in
reports/, and links of pages to files there, which lead to the site's own pages of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.addnodes import pending_xref

from sepconv_bench.report.plain import in_markdown
from sepconv_bench.results import store, tables

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPORTS = Path(__file__).parents[1] / "reports"
GALLERY = "machines"
# The end of a link's target, without .md, and the page of the site that holds the same.
_PAGES = {
    "experiments/README": "experiments",
    "experiments/trust": "experiments-trust",
    "SECURITY": "security",
    "CONTRIBUTING": "contributing",
    "CHANGELOG": "changelog",
}
_INTRODUCTION = """# Gallery of machines

The results that are committed in `reports/`, each measured by one command. Gain, promise and shares of the peak are medians
over the shapes, of the fastest kernels of each side. The grades are those of the gains ([what they say](grades.md)).
`make report-commit` puts the results of your machine there.

"""


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _write_gallery)
    app.connect("doctree-read", _lead_inside)
    return {"parallel_read_safe": True}


def _lead_inside(app: Sphinx, document: nodes.document) -> None:
    """Links to Markdown files outside docs/ go to the pages of the site that hold them; others stay, and are errors."""
    for link in document.findall(pending_xref):
        target = str(link.get("reftarget", ""))
        if link.get("refdomain") != "doc":
            continue
        for end, page in _PAGES.items():
            if target.endswith(f"/{end}"):
                link["reftarget"] = page
        if found := re.search(r"/reports/([\w.-]+)/report$", target):
            link["reftarget"], link["reftargetid"] = GALLERY, found[1]
        if found := re.search(r"/docs/([\w-]+)$", target):
            link["reftarget"] = found[1]


def _write_gallery(app: Sphinx) -> None:
    page, text = Path(app.srcdir) / f"{GALLERY}.md", gallery()
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


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
