"""Cold caches: what a launch finds there, and that what was so measured is told apart from the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sepconv_bench.cli import main
from sepconv_bench.measure.clocks import Clock
from sepconv_bench.measure.cold import ColdClock
from sepconv_bench.measure.cpus import allowed, cache_bytes
from sepconv_bench.measure.sampler import Plan
from sepconv_bench.report.figures import saving
from sepconv_bench.results import store
from sepconv_bench.results.comparison import compare_files
from sepconv_bench.results.tables import ratios, timings


@pytest.fixture(scope="module")
def cold() -> ColdClock:
    return ColdClock()


def test_no_launch_of_a_sample_comes_upon_the_data_of_another(cold):
    copies, launched = [], []

    def bind():
        copies.append(len(copies))
        return lambda copy=copies[-1]: launched.append(copy)

    launch, plan = cold.bound(bind), Plan.of(1e-6, cold)
    assert plan == Plan.of(1.0, cold), "however long it takes"
    assert launched == copies, "no page is touched for the first time in a sample"
    launched.clear()
    cold.sample(launch, plan.launches, plan.batches)
    assert len(copies) == len(launched) == plan.launches + 1 == len(set(launched)), "and the first is not timed"


def adding(count: int):
    """Binds a launch that reads and writes 12 bytes times `count`."""

    def bind():
        one, other, total = (np.ones(count, np.float32) for _ in range(3))
        return lambda: np.add(one, other, out=total)

    return bind


def seconds(clock: Clock, bind) -> float:
    """The best of some samples: what disturbs only makes them longer."""
    launch = clock.bound(bind)
    plan = Plan.of(20e-6, clock)
    launch()
    return min(clock.sample(launch, plan.launches, plan.batches) for _ in range(8))


def test_what_fits_into_the_caches_comes_out_of_memory(cold):
    within_l2 = adding(1 << 15)
    assert seconds(cold, within_l2) > 2 * seconds(Clock(), within_l2)


def test_without_other_data_in_between_it_would_not(cold, monkeypatch):
    """The control: six copies by themselves stay in the caches."""
    within_l2 = adding(1 << 12)
    filled = seconds(cold, within_l2)
    monkeypatch.setattr(cold, "_fill_caches", lambda: None)
    assert seconds(cold, within_l2) < filled / 1.5


def test_caches_that_are_shared_count_once(tmp_path: Path):
    assert cache_bytes(tmp_path) == 64 << 20, "a system that does not say"
    for cpu in allowed():
        for index, facts in enumerate(
            [("1", "Data", str(cpu), "32K"), ("1", "Instruction", str(cpu), "32K"), ("3", "Unified", "0-999", "4096K")]
        ):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, value in zip(("level", "type", "shared_cpu_list", "size"), facts, strict=True):
                (folder / name).write_text(f"{value}\n")
    assert cache_bytes(tmp_path) == (32 * len(allowed()) + 4096) << 10


KERNELS = "cpu.depthwise.numpy,cpu.standard.numpy,cpu.separable.numpy"


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> dict[str, Path]:
    """The same cell with warm caches and with cold ones; of each report the SVG figures only."""
    folders = {}
    for name, more in (("warm", ()), ("cold", ("--cold",))):
        folders[name] = tmp_path_factory.mktemp("caches") / name
        cell = ("--D_K", "3", "--M", "16", "--N", "16", "--D_G", "28", "--kernels", KERNELS, "--time-limit", "0.5")
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(saving, "KINDS", {"svg": saving.KINDS["svg"]})
            main(["run", *cell, *more, "--output", str(folders[name])])
    return folders


def test_a_cold_launch_is_a_condition_of_its_own(both):
    for name, folder in both.items():
        with store.open_results(folder) as results:
            found, pairs = timings(results), ratios(results)
            assert [run.settings.cold for run in results.runs()] == [name == "cold"]
        assert set(found.status) == {"ok"}, found.reason.tolist()
        assert "cpu.depthwise.numpy" in set(found.kernel)
        assert set(found.cold) == set(pairs.cold) == {name == "cold"}
        assert ("outside the caches" in (folder / "report.md").read_text()) == (name == "cold")


@pytest.mark.parametrize(("there", "asked"), [("warm", ["--cold"]), ("cold", [])])
def test_the_two_are_not_mixed(there, asked, both, door):
    before = (both[there] / store.FILE_NAME).read_bytes()
    done = door("run", "--D_K", "3", "--M", "8", "--kernels", KERNELS, *asked, "--resume", "--output", both[there])
    assert done.returncode == 2, done.stdout
    (told,) = done.stderr.strip().splitlines()
    now = "cold" if asked else "warm"
    assert f"was measured with {there} caches, and this is with {now} ones; measure into another --output" in told
    assert (both[there] / store.FILE_NAME).read_bytes() == before


def test_compared_they_are_said_to_differ(both):
    with store.open_results(both["warm"]) as warm, store.open_results(both["cold"]) as cold_ones:
        assert ("caches", "warm", "cold") in compare_files(warm, cold_ones).differs


def test_the_report_of_both_shows_them_side_by_side(both, tmp_path, door):
    done = door("report", both["warm"], both["cold"], "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text()
    assert "<td>in the caches</td><td>in memory</td>" in page
    assert "<th>warm (µs)</th><th>η</th><th>cold (µs)</th><th>η</th>" in page
    assert page.count("cpu.depthwise.numpy") == 1
    assert "Time on cold / time on warm" in page
