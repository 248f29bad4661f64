"""No kernel beats its roof: of every committed report, and of rates made up so that one can say what the roof is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sepconv_bench.measure.records import Level, Measured
from sepconv_bench.results import roofs, store, tables

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("reports/*/results.sqlite"))
LAUNCH, L2, MEMORY = 1e-6, 4e12, 3e12  # seconds, and bytes/s
PEAK = 6e13


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.parent.name)
def results(request):
    with store.open_results(request.param.parent) as opened:
        yield opened


def test_no_kernel_of_a_committed_report_is_above_the_roof(results):
    times = tables.timings(results)
    timed = times[(times.status == "ok") & times.roofline_s.notna()] if len(times) else times
    if timed.empty:
        pytest.skip("a network alone: its steps have no roofline")
    assert (timed.eta <= 1).all(), timed[timed.eta > 1].kernel.to_list()
    assert (timed.roofline_s <= timed.time_hi_s).all()
    assert (timed.roofline_s <= timed.time_s).all(), "not even within the interval"


def test_no_speedup_of_a_committed_report_is_above_its_bound(results):
    ratios = tables.ratios(results)
    known = ratios[ratios.bound_speedup.notna()] if len(ratios) else ratios
    if known.empty:
        pytest.skip("a network alone")
    assert (known.speedup_lo <= known.bound_speedup).all()
    assert len(known) == len(ratios)


def test_perfect_kernels_are_not_beaten_where_a_launch_costs_most():
    """Eleven shapes of a GPU, of which three were faster than a roof made of copies that were mostly launches."""
    with store.open_results(ROOT / "reports" / "nvidia-h100-80gb-hbm3") as opened:
        ratios = tables.ratios(opened)
    best = ratios[ratios.best]
    assert len(best) == 11
    assert (best.speedup_lo <= best.roofline_speedup).all()


def copied(seconds_of) -> tuple[Level, ...]:
    footprints = [1 << power for power in range(20, 29)]
    rates = [size / seconds_of(size) for size in footprints]
    return tuple(Level(size, Measured(rate, rate, rate), rate / PEAK) for size, rate in zip(footprints, rates, strict=True))


def test_what_a_launch_costs_is_no_bandwidth():
    levels = copied(lambda size: LAUNCH + size / (L2 if size <= 1 << 25 else MEMORY))
    footprints, apart = roofs.rates(levels, launched=True)
    assert footprints == tuple(level.footprint for level in levels)
    np.testing.assert_allclose(np.array(apart)[:6] * PEAK, L2, rtol=1e-6)
    assert L2 > apart[-1] * PEAK == pytest.approx(MEMORY, rel=1e-6)
    _, together = roofs.rates(levels, launched=False)
    assert together[0] * PEAK < L2, "where a launch copies many times, nothing is taken off"


def test_a_smaller_working_set_is_never_slower():
    levels = copied(lambda size: max(2e-6, size / L2))
    for launched in (True, False):
        _, rates = roofs.rates(levels, launched)
        assert all(near >= far for near, far in pairwise(rates))
        assert rates[-1] * PEAK >= L2 * 0.999
