"""Sums over VGG-16 and Inception-V1: the counts, and each sum again from the exported samples by another route."""

from __future__ import annotations

import made
import numpy as np
import pandas as pd
import pytest

from sepconv_bench.cli import main
from sepconv_bench.measure.statistics import ratio_of_sums
from sepconv_bench.model.grids import GRIDS
from sepconv_bench.model.networks import OCCURRENCES
from sepconv_bench.model.theory import multiplications
from sepconv_bench.report.page import PAGE, write_report
from sepconv_bench.report.sentences import describe_sums
from sepconv_bench.results import store
from sepconv_bench.results.tables import sums

SHAPE = ["D_K", "M", "N", "D_G", "stride", "batch"]
KERNELS = (
    *(made.declared("cpu.standard.tiled"), made.declared("cpu.standard.torch", "torch")),
    *(made.declared("cpu.separable.fused"), made.declared("cpu.separable.torch", "torch")),
)
BLOCKS, ROUNDS = 8, 5


@pytest.mark.parametrize(
    ("grid", "layers", "standard", "separable"),
    [("vgg16", 13, 15_346_630_656, 1_786_917_888), ("inception", 20, 1_212_503_040, 122_833_200)],
)
def test_multiply_adds_of_whole_networks(grid, layers, standard, separable):
    counts = OCCURRENCES[grid]
    assert counts.keys() == set(GRIDS[grid].shapes)
    assert sum(counts.values()) == layers
    for operator, expected in (("standard", standard), ("separable", separable)):
        assert sum(count * multiplications(operator, shape) for shape, count in counts.items()) == expected


def drawn(shape, rng):
    """Seconds of a cell: the machine's mood is that of a block for all kernels alike, each has a little noise of its own."""
    seconds = dict.fromkeys([kernel.name for kernel in KERNELS], multiplications("standard", shape) / 1e11)
    seconds["cpu.standard.torch"] *= 1.3
    seconds["cpu.separable.fused"] *= rng.uniform(0.12, 0.2)
    seconds["cpu.separable.torch"] *= 0.3
    mood = rng.lognormal(0, 0.1, (BLOCKS, 1))
    return {
        kernel: mood * seconds[kernel.name] * rng.lognormal(0, 0.02, (BLOCKS, 1)) * rng.lognormal(0, 0.01, (BLOCKS, ROUNDS))
        for kernel in KERNELS
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every cell of VGG-16, of Inception-V1 all but one, and in one cell of VGG-16 torch has failed."""
    folder, rng = tmp_path_factory.mktemp("sums"), np.random.default_rng(0)
    with store.create(folder) as results:
        run = results.add_run(made.MACHINE, made.settings([kernel.name for kernel in KERNELS]), made.CEILINGS)
        for number, shape in enumerate([*GRIDS["vgg16"].shapes, *GRIDS["inception"].shapes[:-1]]):
            seconds, failed = drawn(shape, rng), KERNELS[3:] if number == 3 else ()
            for kernel in failed:
                del seconds[kernel]
            results.add_cell(run, made.measured(shape, seconds, failed, BLOCKS, ROUNDS))
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    found = {}
    for name in ("sums", "samples"):
        main(["export", str(folder), "--table", name, "--output", str(folder / f"{name}.csv")])
        found[name] = pd.read_csv(folder / f"{name}.csv")
    return found


def test_a_row_a_network_and_comparison_that_covers_every_cell(tables):
    told = tables["sums"][["network", "comparison"]].to_records(index=False).tolist()
    assert sorted(told) == [("VGG-16", "fastest / fastest"), ("VGG-16", "fused")]


def test_a_sum_is_that_of_the_exported_samples(tables):
    """By sums of times where the table goes by ratios, and its interval by drawing blocks again, where that goes by formula."""
    samples, rng = tables["samples"], np.random.default_rng(1)
    sides = []
    for shape, count in OCCURRENCES["vgg16"].items():
        cell = samples[(samples[SHAPE] == pd.Series({name: getattr(shape, name) for name in SHAPE})).all(axis=1)]
        medians = cell.pivot_table(index="block", columns="kernel", values="time_s", aggfunc="median")
        sides.append(count * medians[["cpu.separable.fused", "cpu.standard.tiled"]].to_numpy())
    row = tables["sums"].iloc[0]
    means = np.array([np.exp(np.log(side).mean(axis=0)) for side in sides]).sum(axis=0)
    assert row.ratio == pytest.approx(means[0] / means[1], rel=0.003)
    assert row.standard_s == pytest.approx(means[1], rel=1e-9)
    assert row.separable_s == pytest.approx(row.ratio * row.standard_s)
    again = []
    for _ in range(1000):
        totals = sum(np.exp(np.log(side[rng.integers(BLOCKS, size=BLOCKS)]).mean(axis=0)) for side in sides)
        again.append(np.log(totals[0] / totals[1]))
    # Blocks drawn with replacement spread by sqrt(1 - 1 / blocks) less than they should, and Student's t reaches further.
    assert np.log(row.ratio_hi / row.ratio_lo) / 2 == pytest.approx(2 * np.std(again), rel=0.25)
    longest = max(OCCURRENCES["vgg16"], key=lambda shape: sides[list(OCCURRENCES["vgg16"]).index(shape)][:, 1].mean())
    assert (row.layers, row.shapes, row.longest) == (13, 9, str(longest))
    assert row.theory_ratio == 1_786_917_888 / 15_346_630_656
    assert row.held == pytest.approx(row.speedup / row.theory_speedup)


def test_the_page_says_what_a_network_adds_up_to(folder):
    with store.open_results(folder) as results:
        (sentence,) = describe_sums(sums(results))
        write_report(results, folder)
    assert sentence.startswith("The 13 convolutions of VGG-16 of 3 x 3 and up add up to ")
    assert "promise 8.59x" in sentence
    assert sentence.replace("&", "&amp;") in (folder / PAGE).read_text()


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, inside, tries = np.random.default_rng(2), 0, 400
    counts, below, above = (1, 3, 2), np.array([5.0, 1.0, 2.0]), np.array([1.0, 0.4, 0.3])
    truth = (counts * above).sum() / (counts * below).sum()
    for _ in range(tries):
        terms = []
        for count, top, bottom in zip(counts, above, below, strict=True):
            mood = rng.lognormal(0, 0.2, (BLOCKS, 1))
            noise = rng.lognormal(0, 0.03, (2, BLOCKS, 1)) * rng.lognormal(0, 0.02, (2, BLOCKS, ROUNDS))
            terms.append((count, list(mood * top * noise[0]), list(mood * bottom * noise[1])))
        found = ratio_of_sums(terms)
        inside += found.lo <= truth <= found.hi
    assert 0.92 <= inside / tries <= 0.98


def test_sums_of_little():
    nan = np.nan
    assert np.isnan(ratio_of_sums([]).value)
    assert np.isnan(ratio_of_sums([(1, [np.array([nan])], [np.array([1.0])])]).value)
    one = ratio_of_sums([(2, [np.array([2.0, nan])], [np.array([4.0, 9.0])]), (1, [np.array([1.0])], [np.array([2.0])])])
    assert (one.value, one.lo, one.hi) == (0.5, 0.0, np.inf)
    exact = ratio_of_sums(
        [(1, [np.array([2.0])] * 3, [np.array([4.0])] * 3), (2, [np.array([3.0])] * 3, [np.array([4.0])] * 3)]
    )
    assert (exact.value, exact.lo, exact.hi) == pytest.approx((8 / 12,) * 3)
