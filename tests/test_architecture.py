"""The documents about the code say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sepconv_bench"
DOCUMENTS = ("docs/architecture.md", "docs/extending.md", "docs/glossary.md", "CONTRIBUTING.md")


def test_the_rooms_of_the_page_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    held = [name.strip().removeprefix("sepconv_bench.") for layer in layers for name in layer.split("|")]
    table = (ROOT / "docs" / "architecture.md").read_text().split("## The way of a cell")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.M)
    shown = [name.removesuffix(".py") for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    assert ["__main__", *shown] == held
    there = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__", "__pycache__"}
    assert set(held) == there
    picture = (ROOT / "docs" / "architecture.svg").read_text()
    assert set(re.findall(r'class="name".*?>(\w+)<', picture)) - {"ground"} == {
        name for name in shown if (PACKAGE / name).is_dir()
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_page_that_is_named_is_there(document):
    text = (ROOT / document).read_text()
    below = (PACKAGE, ROOT, *(path for path in PACKAGE.rglob("*") if path.is_dir()), ROOT / "tests")
    named = set(re.findall(r"`([\w/]+\.(?:py|md|toml|svg))`", text)) | set(re.findall(r"`([\w/]+/)`", text))
    new = set(re.findall(r"`([\w/]+\.py)` \(new\)", text))
    assert sorted(name for name in named - new if not any((folder / name).exists() for folder in below)) == []
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", text)}
    assert sorted(link for link in links if not ((ROOT / document).parent / link).exists()) == []
