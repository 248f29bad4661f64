"""What the site takes from outside docs/: the gallery of machines, made anew with each build from the results committed in
reports/, the tables of the results file, and links of pages to files there, which lead to the site's own pages of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from machines import gallery
from sphinx.addnodes import pending_xref

from sepconv_bench.results import schema

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GALLERY = "machines"
# The end of a link's target, without .md, and the page of the site that holds the same.
_PAGES = {
    "experiments/README": "experiments",
    "experiments/trust": "experiments-trust",
    "SECURITY": "security",
    "CONTRIBUTING": "contributing",
    "CHANGELOG": "changelog",
}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _write_pages)
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


def _write_pages(app: Sphinx) -> None:
    tables = f"{schema.SCHEMA.strip()}\nPRAGMA user_version = {schema.VERSION};\n"
    for name, text in ((f"{GALLERY}.md", gallery()), ("schema.sql", tables)):
        page = Path(app.srcdir) / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
