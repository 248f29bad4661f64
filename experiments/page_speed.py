"""How long does a report of thousands of cells take to draw, to open, to sort and to filter? In a headless Chromium.

python experiments/page_speed.py [cells]

The cells are made up: three kernels on each shape, on the machine of a committed report.
"""

import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from playwright.sync_api import sync_playwright

from sepconv_bench.kernels.registry import get_kernel
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.model.theory import multiplications
from sepconv_bench.report import page
from sepconv_bench.results import store
from sepconv_bench.results.records import PEAK, CellMeasured, Outcome, packed

COMMITTED = Path(__file__).parents[1] / "reports" / "intel-xeon-2-threads"
KERNELS = [get_kernel(name).declaration for name in ("cpu.standard.tiled", "cpu.separable.tiled", "cpu.separable.fused")]
FLOPS = 4e11
_CLOCKED = """(action) => new Promise((done) => {
  const start = performance.now(); action();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""


def made_up(folder: Path, cells: int) -> None:
    rng = np.random.default_rng(0)
    with store.open_results(COMMITTED) as committed:
        (run, *_) = committed.runs()
    sizes = itertools.product((3, 5, 7), range(8, 8 + 8 * 18, 8), range(8, 8 + 8 * 18, 8), (7, 14, 28, 56, 112, 224))
    with store.create(folder) as results:
        settings = replace(run.settings, kernels=tuple(one.name for one in KERNELS))
        number = results.add_run(run.machine, settings, run.ceilings)
        for D_K, M, N, D_G in itertools.islice(sizes, cells):
            shape = ConvShape(D_K, M, N, D_G)
            seconds = {one.name: 2 * multiplications(one.operator, shape) / FLOPS / rng.uniform(0.3, 0.95) for one in KERNELS}
            seconds[PEAK] = 1e-4
            samples = {name: packed(list(one * rng.lognormal(0, 0.01, (6, 3)))) for name, one in seconds.items()}
            outcomes = tuple(Outcome(one, compile_s=1.0, launches=10, error=0.1) for one in KERNELS)
            cell = CellMeasured(shape, outcomes, samples, True, time.time(), 1.0, 0.0, int(FLOPS * 1e-4))
            results.add_cell(number, cell)


def main(cells: int) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        made_up(Path(folder), cells)
        began = time.perf_counter()
        with store.open_results(Path(folder)) as results:
            path = page.write_report(results, Path(folder))
        print(f"{cells} cells: drawn in {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(path.as_uri(), wait_until="load")
        print(f"opened in {time.perf_counter() - began:.2f} s, {tab.locator('tbody tr').count()} rows")
        for what, action in (
            ("sorted", "() => document.querySelectorAll('table.sortable')[0].querySelectorAll('button')[7].click()"),
            ("filtered", "() => { const i = document.querySelector('.filter input'); i.value = 'N=64 D_K=3';"
                         " i.dispatchEvent(new Event('input')); }"),
            ("unfiltered", "() => { const i = document.querySelector('.filter input'); i.value = '';"
                           " i.dispatchEvent(new Event('input')); }"),
        ):  # fmt: skip
            print(f"{what} in {tab.evaluate(f'({_CLOCKED})({action})'):.0f} ms")
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
