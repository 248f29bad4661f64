"""How Sphinx builds the site: `make docs`. Nothing is fetched: fonts, styles, scripts and the search index are in the site."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tutorial")]

project = "sepconv-bench"
author = "the authors of sepconv-bench"
release = importlib.metadata.version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx_click",
    "sphinx_gallery.gen_gallery",
    "outside",
]
exclude_patterns = ["_build", "tutorial"]
smartquotes = False  # they make a dash of the two hyphens of an option
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures that the site has no page of

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

sphinx_gallery_conf = {
    "examples_dirs": "tutorial",
    "gallery_dirs": "steps",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"/\d_",
    "ignore_pattern": r"pairs\.py",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "min_reported_time": 1e9,
    "write_computation_times": False,
}

html_theme = "furo"
html_title = project
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    app.connect("sphinx-click-process-description", _examples_as_code)


def _examples_as_code(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """The examples of a command's help, which sphinx-click sets as prose."""
    starts = [number for number, line in enumerate(lines) if line.strip("| ") == "Examples:"]
    if starts:
        examples = str(context.command.help).partition("Examples:\n")[2].rstrip().splitlines()
        lines[starts[0] :] = ["Examples::", "", *(f"    {line.strip()}" for line in examples), ""]
