"""README and docs say what is so: their links lead somewhere, their commands are understood, their code runs, and the numbers
that they quote are those of the committed results."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pandas as pd
import pytest

from sepconv_bench.cli.program import cli
from sepconv_bench.results import store, tables

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
PAGES += [path for path in sorted(DOCS.glob("*.md")) if path.name != "machines.md"]
PAGES += sorted((ROOT / "experiments").glob("*.md"))
GENERATED = ("steps/",)  # by the docs build, from docs/tutorial


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if target.startswith(GENERATED):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^(?:[\w -]+ <)?([\w/-]+)>?$", (DOCS / "index.md").read_text(), re.M)
    assert set(listed) >= {path.stem for path in DOCS.glob("*.md")} - {"index"}


def commands(page: Path) -> list[str]:
    """The command lines of ours that a page shows, without comments."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S))
    lines = re.findall(r"^(?:\$ |- run: |\s+run: |\.venv/bin/)?(sepconv-bench [^\n]*)", blocks, re.M)
    inline = re.findall(r"(?<!`)`(sepconv-bench [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line.partition(" #")[0].strip() for line in [*lines, *inline]]


TODAYS = [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name != "experiments"]
SHOWN = [(page.name, line) for page in TODAYS for line in commands(page)]


def assert_understood(page: str, command: str) -> None:
    _, *words = shlex.split(command.replace("--table NAME", "--table ratios"))
    if not words or words == ["-h"]:
        return
    assert words[0] in cli.commands, f"{page} shows {command!r}"
    try:
        cli.commands[words[0]].make_context(words[0], words[1:])
    except click.exceptions.Exit:
        pass  # --help
    except click.ClickException as error:
        raise AssertionError(f"{page} shows {command!r}: {error.format_message()}") from error


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_every_command_that_is_shown_is_understood(page, command):
    assert_understood(page, command)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_measures_a_gpu_with_options_that_there_are():
    told = subprocess.run(["make", "--dry-run", "gpu-report"], cwd=ROOT, capture_output=True, text=True, check=True)
    runs = re.findall(r"/(sepconv-bench [^\n&\"]+)", told.stdout)
    assert len(runs) == 2
    for command in runs:
        assert_understood("Makefile", command)
        assert "--resume --output results/gpu-report" in command


def test_commands_are_found():
    assert len(SHOWN) > 40
    assert ("README.md", "sepconv-bench ab main") in SHOWN


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 110


def test_the_readmes_code_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_reference_give_what_they_show():
    blocks = re.findall(r"```\{doctest\}\n(.*?)```", (DOCS / "api.md").read_text(), re.S)
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, "api.md", None, 0)
    assert len(test.examples) >= 6
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("step", sorted((DOCS / "tutorial").glob("[0-9]_*.py")), ids=lambda path: path.stem)
def test_a_step_of_the_tutorial_runs_by_itself(step, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "ignore:FigureCanvasAgg", str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


# ---------------------------------------------------------------------------------------------- numbers


@cache
def table(report: str, name: str) -> pd.DataFrame:
    with store.open_results(ROOT / "reports" / report) as results:
        return tables.table(results, name)


def best(report: str = "intel-xeon-2-threads") -> pd.DataFrame:
    """The rows of the fastest kernels of each side."""
    pairs = table(report, "ratios")
    return pairs[pairs.best]


def whole(report: str) -> pd.Series:
    parts = table(report, "layers")
    return parts[parts.part == "whole"].iloc[-1]


def test_the_readme_quotes_the_committed_results():
    found, pairs = best(), table("intel-xeon-2-threads", "ratios")
    eager = pairs[pairs.rung == "torch"]
    for quoted in (
        f"Median of {len(found)} shapes: separable convolution is {found.speedup.median():.1f} times as fast,"
        f" {found.theory_speedup.median():.1f} times were promised",
        f"The standard kernels reach {100 * found.eta_standard.median():.0f} % of the machine's peak, the separable ones"
        f" {100 * found.eta_separable.median():.0f} %",
        f"With eager torch on both sides the same shapes gain {eager.speedup.median():.1f} times",
    ):
        assert quoted in " ".join(README.read_text().split()), quoted


def test_why_not_8x_quotes_the_committed_results():
    text = " ".join((DOCS / "why-not-8x.md").read_text().split())
    pairs, reasons, times = (table("intel-xeon-2-threads", name) for name in ("ratios", "why", "timings"))
    centre = pairs.query("D_K == 3 and M == 64 and N == 64 and D_G == 28")
    shown = centre[centre.standard_library == centre.separable_library]
    assert len(shown) == 9
    for row in shown.itertuples():
        eta = [f"{share:.1f}" if share < 2 else f"{share:.0f}" for share in (100 * row.eta_standard, 100 * row.eta_separable)]
        assert f"| {row.speedup:.1f} | {eta[0]} % | {eta[1]} % |" in text, row
    fastest = best().set_index(["D_K", "M", "N", "D_G"]).speedup
    widths = [f"{fastest[3, 64, 64, width].item():.1f} at {width} x {width}" for width in (7, 14, 28, 56)]
    assert f"layer gains {', '.join(widths[:3])} and {widths[3]}" in text
    assert f"the gain is {fastest[3, 1024, 1024, 7].item():.1f}, *more*" in text
    assert f"and {fastest[3, 64, 8, 28].item():.1f} is what one gets" in text
    assert f"{fastest[1, 64, 64, 28].item():.2f} measured" in text
    assert (
        f"5 x 5 gains {fastest[5, 64, 64, 28].item():.0f} of 18, 7 x 7 gains {fastest[7, 64, 64, 28].item():.0f} of 28" in text
    )
    causes = reasons[reasons.best].dominant.value_counts()
    assert f"{causes.separable + causes.overhead} of {causes.sum()} | on {causes.separable} the separable kernel" in text
    assert f"| {causes.standard} of {causes.sum()} | the standard kernel" in text
    micro = times[(times.D_G == 112) & (times.M == 64) & (times.N == 64)].set_index("kernel").time_s * 1e6
    one, two = micro["cpu.separable.fused"], micro["cpu.separable.tiled"]
    assert f"one pass takes {one:.0f} µs, two take {two:.0f}" in text
    maps = best("nvidia-h100-80gb-hbm3").set_index(["D_G", "batch"]).speedup
    for width, images in ((14, 1), (14, 32), (56, 32)):
        assert f"| {width} x {width} | {images} | {maps[width, images]:.1f} |" in text


def test_own_network_quotes_the_committed_results():
    text = " ".join((DOCS / "own-network.md").read_text().split())
    for report, name in (
        ("mobilenet-v1-intel-xeon-2-threads", "Intel Xeon, 2 threads"),
        ("mobilenet-v1-amd-epyc-2-threads", "AMD EPYC, 2 threads"),
    ):
        row = whole(report)
        assert row.separable_peer == "onnxruntime"
        quoted = f"| {row.speedup:.1f}x | {row.theory_speedup:.2f}x | {row.separable_peer_over_ours:.2f} |"
        assert f"[{name}](../reports/{report}/report.md) {quoted}" in text, quoted
    for report in ("mobilenet-v1-intel-xeon-2-threads", "mobilenet-v1-amd-epyc-2-threads"):
        parts = table(report, "layers")
        steps = parts[(parts.part != "whole") & (parts.alpha == 1) & (parts.resolution == 224)].separable_s.sum() * 1e3
        assert f"{steps:.1f} ms" in text
        assert f"{whole(report).separable_s * 1e3:.1f} ms" in text


def test_gpu_quotes_the_committed_results():
    text = " ".join((DOCS / "gpu.md").read_text().split())
    found, compared = best("nvidia-h100-80gb-hbm3"), table("nvidia-h100-80gb-hbm3", "peers")
    assert f"has {len(found)} shapes" in text
    assert f"promised {found.theory_speedup.median():.1f} times" in text
    assert f"gains {found.speedup.min():.1f} times" in text
    assert f"up to {found.speedup.max():.1f} times" in text
    for name in ("standard.tiled", "depthwise.tiled", "pointwise.tiled", "separable.fused"):
        (row,) = compared[(compared.kernel == f"cuda.{name}") & (compared.peer == "best")].itertuples()
        assert f"| `cuda.{name}` | {row.geomean:.2f} |" in text


def test_the_ladder_is_what_the_command_writes(committed, door):
    printed = door("ladder", committed).stdout
    assert f"<!-- ladder -->\n\n{printed}\n<!-- end of ladder -->" in (DOCS / "kernels.md").read_text()


@pytest.mark.parametrize("report", ["intel-xeon-2-threads", "amd-epyc-2-threads"])
def test_kernels_quotes_the_committed_results(report):
    text, compared = (DOCS / "kernels.md").read_text(), table(report, "peers")
    table_of = text[text.index(f"reports/{report} --table peers" if report.startswith("intel") else report) :]
    for name in ("standard.tiled", "depthwise.tiled", "pointwise.tiled", "separable.fused", "separable.tiled"):
        (_, row), *_ = compared[(compared.kernel == f"cpu.{name}") & (compared.peer == "best")].iterrows()
        (line,) = re.findall(rf"^\| `cpu\.{name}` \| .*\|$", table_of, re.M)[:1]
        geomean, least, at, cells = (cell.strip().partition(" (")[0] for cell in line.split("|")[2:-1])
        assert (geomean, least, at, cells) == (f"{row.geomean:.2f}", f"{row['min']:.2f}", row.least_at, str(row.cells))


def test_the_gallery_shows_every_committed_report():
    sys.path.insert(0, str(DOCS))
    try:
        from machines import gallery
    finally:
        sys.path.remove(str(DOCS))
    text = gallery()
    for path in ROOT.glob("reports/*/results.sqlite"):
        assert f"## {path.parent.name}\n" in text
    found = best()
    assert f"| {len(found)} | {found.speedup.median():.1f}x | {found.theory_speedup.median():.1f}x |" in text
