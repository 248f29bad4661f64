"""What several test files share: a command line in a process of its own, and one small sweep."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import quick
from hypothesis import settings
from hypothesis import strategies as st

from sepconv_bench.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A cell of tiny kernels is done by its target in half a second. A launch that takes a quarter of the limit is slow: a loaded
# machine must not make one of it.
QUICK = ("--time-limit", "1", "--target", "0.5")


# By how long they take, the longest first.
_LONG = (
    *("mobilenet_door", "sweep", "tile", "peers", "fleet", "scan", "cuda_simulated", "ab", "asv", "cli", "mobilenet", "faults"),
    *("trust", "winograd", "cuda_compiled", "kernels", "environments", "page", "history", "compile_once", "explorer"),
    *("prediction", "notebook", "noise"),
)
_all = False  # --all was given


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="every parameter of the sampled tests")


def pytest_configure(config: pytest.Config) -> None:
    global _all
    _all = config.getoption("--all")
    settings.register_profile("all", max_examples=60)
    settings.register_profile("sampled", max_examples=12)
    settings.load_profile("all" if _all else "sampled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A sample of what is sampled, and nothing exhaustive; the files that take longest first, so that processes that share the
    tests end together."""
    if not _all:
        left_out = _left_out(items) | {item.nodeid for item in items if item.get_closest_marker("exhaustive")}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]
    names = [f"test_{name}.py" for name in _LONG]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else len(names))


def _left_out(items: list[pytest.Item]) -> set[str]:
    """What the samples leave out. Another commit draws other parameters, so that in time all run."""
    found: set[str] = set()
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, parameters in tests.items():
        marker = parameters[0].get_closest_marker("sampled")
        rng = random.Random(f"{_commit()} {name}")
        if "each" in marker.kwargs:  # one of each value of that parameter
            groups: dict[str, list[pytest.Item]] = {}
            for item in parameters:
                groups.setdefault(str(item.callspec.params[marker.kwargs["each"]]), []).append(item)
            kept = [rng.choice(group) for group in groups.values()]
        else:
            kept = rng.sample(parameters, min(marker.args[0], len(parameters)))
        found |= {item.nodeid for item in parameters} - {item.nodeid for item in kept}
    return found


def few_of(values: Sequence[Sequence[int]], count: int) -> st.SearchStrategy[tuple[int, ...]]:
    """One of each of `values`: of `count` draws that move with the commit, or of all where all are asked for."""
    if _all:
        return st.tuples(*map(st.sampled_from, values))
    rng = random.Random(_commit())
    return st.sampled_from([tuple(map(rng.choice, values)) for _ in range(count)])


@pytest.fixture(scope="session")
def everything() -> bool:
    """Whether every parameter of every test is asked for."""
    return _all


@cache
def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return asked.stdout.strip()


@pytest.fixture(scope="session")
def sepconv() -> Callable[..., subprocess.CompletedProcess]:
    """Run `python -m sepconv_bench ...` for real; nothing of it happens in this process."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sepconv_bench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False)

    return run


@pytest.fixture
def door(capfd: pytest.CaptureFixture[str], svg_alone: None) -> Callable[..., subprocess.CompletedProcess]:
    """Run the command line in this process, a fraction of the time: for words that are refused, for what reads files, and for
    runs that need no process of their own; a page has its SVG figures only."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        code = 0
        try:
            with chdir(cwd or Path.cwd()):
                main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


@pytest.fixture
def svg_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is drawn in this process writes one file a figure, in a third of the time."""
    quick.svg_alone(monkeypatch)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests, the same one for all processes that share it."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session", autouse=True)
def kept_ceilings(shared: Path) -> Iterator[Path]:
    """Where the ceilings are kept that a sweep in this process takes, too, once somebody has measured them."""
    with pytest.MonkeyPatch.context() as patched:
        quick.ceilings_once(shared / "ceilings", patched)
        yield shared / "ceilings"


@pytest.fixture(scope="session")
def quickly(kept_ceilings: Path) -> list[str]:
    """What starts the command line in a process of its own that a test may kill: see quick.py."""
    return [sys.executable, quick.__file__, str(kept_ceilings)]


@pytest.fixture(scope="session")
def swept(shared: Path, sepconv: Callable[..., subprocess.CompletedProcess]) -> Path:
    """A folder with the results and the report of six small cells: two rungs, stride and batch among them.

    Processes that share the tests share it: whoever comes first measures.
    """
    folder = shared / "swept"
    with (shared / "swept.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "index.html").exists():
            done = sepconv(
                *("run", "--D_K", "1,3", "--N", "4,16,32", "--M", "8", "--D_G", "7", "--stride", "2", "--batch", "2"),
                *("--kernels", "cpu.*.numpy,cpu.*.loops", "--output", folder, "--time-limit", "0.4", "--target", "0.1"),
            )
            assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def committed() -> Path:
    """The report of a whole default grid, as it lies in the repository."""
    return Path(__file__).parents[1] / "reports" / "intel-xeon-2-threads"


_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# A page is to be looked at, not a browser to be kept up to date; a container's root has no sandbox.
_QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
          "--disable-sync", "--no-sandbox")  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real headless Chromium of the system's."""
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        pytest.skip(f"no browser was found; looked for {', '.join(_CHROMIUM)}")
    from playwright.sync_api import sync_playwright  # a machine that is there for its GPU needs none

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        yield started
        started.close()


@pytest.fixture
def page(report: Path, browser: Browser) -> Iterator[Page]:
    """The test file's `report` on a desk, in light; whatever the browser complains of, or asks of a network, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    local = ("file:", "data:", "blob:")
    opened.on("request", lambda request: None if request.url.startswith(local) else complaints.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert not complaints
