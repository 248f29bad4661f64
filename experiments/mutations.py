"""Do the fast tests see a fault? Plants one after the other in a copy of the checkout, and runs the tests that should see it.

    python experiments/mutations.py [--only WORD] [--whole] [--control] [--markdown docs/mutations.md]

A fault is a text of a source file that is there exactly once, and what takes its place: another program, and a wrong one. Each
gets a fresh copy of the tracked files, and the tests named with it run there until one fails; with `--whole` all tests of the
fast tier. Exit code 1 where fewer than 95 % are found, or where a text is no longer there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = 0.95  # of the faults
_LONGEST_SECONDS = 900.0  # of the tests of one fault
_SIMULATED = "test_cuda_simulated.py"  # its tests run in Numba's simulator


@dataclass(frozen=True)
class Fault:
    """`what` is wrong and of which `kind`; in `file` of the package `there` becomes `planted`. `tests` of the fast tier should
    see it, the cheapest first: files, or single tests in them."""

    what: str
    kind: str
    file: str
    there: str
    planted: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py")


_EDGES = "test_tile.py::test_all_edges_at_once_end_with_bias_and_relu6"
_SHARES = "test_blocking.py::test_the_tiles_of_all_threads_have_each_pixel_once"
_BLOCKS = "test_tile.py::test_weights_in_several_blocks_give_the_same_sum"
_NARROW = "test_tile.py::test_narrower_vectors_give_right_results_between_fences"
_ANY_SHAPE = "test_kernels.py::test_a_kernel_agrees_with_the_reference_and_touches_nothing_else"
_ON_GPU = f"{_SIMULATED}::test_arrays_on_the_gpu_are_taken_as_they_lie"
_GPU_SHAPES = f"{_SIMULATED}::test_a_kernel_agrees_with_the_reference"
_GPU_EPILOGUE = f"{_SIMULATED}::test_maps_end_with_bias_and_relu6"
_GPU_NETWORK = f"{_SIMULATED}::test_a_network_is_right_step_by_step_and_whole"
_WINOGRAD = "test_winograd.py"
_RESUMED = "test_sweep.py::test_interrupted_it_says_how_to_go_on_and_resumes"

FAULTS = (
    # ------------------------------------------------------------------------------------------ kernels on the CPU
    Fault(
        "the narrow tiles at the end of a row are taken for wide ones",
        "tile edge",
        "kernels/cpu/product.py",
        "at.c < shares.wide_tiles",
        "at.c <= shares.wide_tiles",
        (_EDGES,),
    ),
    Fault(
        "tiles after the wide ones start where wide ones would",
        "tile edge",
        "kernels/cpu/shares.py",
        "return at.c * MR - max(0, at.c - shares.wide_tiles)",
        "return at.c * MR",
        (_SHARES,),
    ),
    Fault(
        "after the last band of an image comes the same image again",
        "tile edge",
        "kernels/cpu/shares.py",
        "                b += 1\n",
        "                b += 0\n",
        (_SHARES,),
    ),
    Fault(
        "a thread leaves out the last tile of its share",
        "tile edge",
        "kernels/cpu/shares.py",
        "tiles * (t + 1) // shares.tile_threads)",
        "tiles * (t + 1) // shares.tile_threads - (t > 0))",
        (_SHARES,),
    ),
    Fault(
        "neighbouring pixels of a tile read neighbouring windows, whatever the stride",
        "stride",
        "kernels/cpu/product.py",
        "step = sizes.stride * F.pixel",
        "step = F.pixel",
        (_EDGES,),
    ),
    Fault(
        "each block of input channels forgets the sums of those before",
        "tile edge",
        "kernels/cpu/product.py",
        "block.m == 0, block.m + depth",
        "True, block.m + depth",
        (_BLOCKS,),
    ),
    Fault(
        "every panel of output channels gets the biases of the first",
        "bias",
        "kernels/cpu/product.py",
        "bias + n * FLOAT\n",
        "bias\n",
        (_EDGES,),
    ),
    Fault(
        "weights are packed as if one more panel were wide",
        "tile edge",
        "kernels/cpu/layout.py",
        "panel >= blocks.vectors.longer",
        "panel > blocks.vectors.longer",
        (_EDGES,),
    ),
    Fault(
        "rows of depthwise taps lie a tap apart",
        "stride",
        "kernels/cpu/depthwise.py",
        "taps.address + i * D_K * taps.step",
        "taps.address + i * taps.step",
        (f"{_EDGES}[separable-1-_narrow_panels]", "test_tile.py::test_every_edge_of_tiles_panels_and_vectors_is_right"),
    ),
    Fault(
        "the last vector of channels is loaded whole, beyond the end of the map",
        "bounds",
        "kernels/cpu/depthwise.py",
        "whole * FLOAT, left, left)",
        "whole * FLOAT, None, left)",
        (_NARROW,),
    ),
    Fault(
        "fused takes every panel of the pointwise weights for a wide one",
        "tile edge",
        "kernels/cpu/fused.py",
        "n = p * NR - max(0, p - shares.wide_panels) * lanes",
        "n = p * NR",
        (f"{_EDGES}[separable-1-_narrow_panels]",),
    ),
    Fault(
        "fused gives every panel the biases of the first",
        "bias",
        "kernels/cpu/fused.py",
        "weights.bias + n * FLOAT",
        "weights.bias",
        (f"{_EDGES}[separable-1-_narrow_panels]",),
    ),
    Fault(
        "a cut counts one long run too few",
        "tile edge",
        "kernels/cpu/blocking.py",
        "return self.size - self.parts * (self.most - 1)",
        "return self.size - self.parts * (self.most - 1) - 1",
        ("test_blocking.py",),
    ),
    Fault(
        "the second strip of a row overlaps the first, and the end of the row is not computed",
        "tile edge",
        "kernels/cpu/parallel.py",
        "work % strips * strip",
        "work % strips * (strip - 1)",
        ("test_kernels.py::test_a_row_of_several_strips_is_computed_whole",),
    ),
    Fault(
        "the parallel rung drops the channels that are no whole four",
        "tile edge",
        "kernels/cpu/parallel.py",
        "for m in range(whole, M):",
        "for m in range(whole, M - 1):",
        ("test_kernels.py::test_a_row_of_several_strips_is_computed_whole",),
    ),
    Fault(
        "the window's value at infinity is its first tap and not its last",
        "transform",
        "kernels/cpu/transform.py",
        "np.eye(1, _TAPS, _TAPS - 1)",
        "np.eye(1, _TAPS)",
        (f"{_WINOGRAD}::test_the_matrices_compute_a_correlation_in_m_plus_2_multiplications",),
    ),
    Fault(
        "a Winograd tile at the right edge lacks the last column of pixels that are there",
        "tile edge",
        "kernels/cpu/winograd.py",
        "cover.width + 2 - l",
        "cover.width + 1 - l",
        (f"{_WINOGRAD}::test_every_edge_of_tiles_and_vectors_is_right",),
    ),
    # ------------------------------------------------------------------------------------------ kernels, for all devices
    Fault(
        "an out that shares memory with an input is written into",
        "bounds",
        "kernels/problem.py",
        "        if _share(G, array):\n",
        "        if G is array:\n",
        ("test_checked_call.py",),
    ),
    Fault(
        "a last row that no window reaches is counted as an output",
        "padding",
        "model/shapes.py",
        "(D_F + before + after - extent) // step + 1",
        "-(-(D_F + before + after - extent) // step) + 1",
        ("test_kernels.py::test_rows_that_no_window_reaches_do_not_count",),
    ),
    Fault(
        "a plug-in that fails half way leaves its kernels behind",
        "registry",
        "kernels/registry.py",
        "        _kernels.clear()\n        _kernels.update(before)\n",
        "        _kernels.update(before)\n",
        ("test_trust.py::test_a_plugin_that_fails_half_way_leaves_nothing_and_can_be_mended",),
    ),
    Fault(
        "numpy's taps of a row are neighbours, whatever the stride",
        "stride",
        "kernels/peers/numpy.py",
        "[:, ::down, ::along, :,",
        "[:, ::down, :, :,",
        (f"{_ANY_SHAPE}[cpu.depthwise.numpy]", "test_kernels.py::test_rows_that_no_window_reaches_do_not_count"),
    ),
    # ------------------------------------------------------------------------------------------ kernels on the GPU, simulated
    Fault(
        "windows of neighbouring pixels lie a pixel apart, whatever the stride",
        "stride",
        "kernels/cuda/stages.py",
        "b * IMAGE + (k * ROW + l * PIXEL) * STRIDE",
        "b * IMAGE + k * ROW * STRIDE + l * PIXEL",
        (_ON_GPU,),
    ),
    Fault(
        "one channel too many is written where N is no whole vector",
        "tile edge",
        "kernels/cuda/stages.py",
        "if n + uint32(c) < N:",
        "if n + uint32(c) <= N:",
        (_GPU_EPILOGUE, _GPU_SHAPES),
    ),
    Fault(
        "every thread adds the first four biases",
        "bias",
        "kernels/cuda/stages.py",
        "uint32(BIAS + first_n + uint32(32 * q))",
        "uint32(BIAS + uint32(32 * q))",
        (_GPU_EPILOGUE,),
    ),
    Fault(
        "of a sum that was split only the last share counts",
        "tile edge",
        "kernels/cuda/product.py",
        "total[c] += four[c]",
        "total[c] = four[c]",
        (_GPU_EPILOGUE,),
    ),
    Fault(
        "the last strip of rows reaches beyond the map",
        "tile edge",
        "kernels/cuda/tiled.py",
        "min(uint32((above % ROWS) * uint32(TH)), LAST_K)",
        "uint32((above % ROWS) * uint32(TH))",
        (f"{_SIMULATED}::test_every_strip",),
    ),
    Fault(
        "the mean over a map is divided by its width",
        "units",
        "kernels/cuda/entrance_exit.py",
        "np.float32(1 / width**2)",
        "np.float32(1 / width)",
        (_GPU_NETWORK,),
    ),
    # ------------------------------------------------------------------------------------------ model
    Fault(
        "multiplications are counted over the input map",
        "units",
        "model/operators.py",
        "self.out_channels(shape) * shape.batch * prod(shape.G_map)",
        "self.out_channels(shape) * shape.batch * prod(shape.F_map)",
        ("test_theory.py",),
    ),
    Fault(
        "a depthwise output sums over all input channels",
        "units",
        "model/operators.py",
        "            return shape.M\n        return shape.groups",
        "            return 1\n        return shape.groups",
        ("test_theory.py",),
    ),
    Fault(
        "the promise is upside down",
        "ratio",
        "model/theory.py",
        "Fraction(SEPARABLE.multiplications(shape), STANDARD.multiplications(shape))",
        "Fraction(STANDARD.multiplications(shape), SEPARABLE.multiplications(shape))",
        ("test_theory.py",),
    ),
    Fault(
        "the roof is the lower of the two",
        "units",
        "model/theory.py",
        "return sum(max(_limits(",
        "return sum(min(_limits(",
        ("test_theory.py",),
    ),
    Fault(
        "the window hangs over the end of the input map",
        "padding",
        "model/shapes.py",
        "(D_G - 1) * stride + (D_K - 1) * dilation + 1 for",
        "D_G * stride + (D_K - 1) * dilation for",
        ("test_shapes.py",),
    ),
    Fault(
        "the first convolution of a narrower MobileNet is as wide as that of the whole",
        "network",
        "model/networks.py",
        "int(_FIRST * alpha)",
        "_FIRST",
        ("test_networks.py",),
    ),
    Fault(
        "a wrong result passes for rounding",
        "tolerance",
        "model/reference.py",
        "(8 + 2 * np.sqrt(operator.terms(shape)))",
        "(8 + 2 * operator.terms(shape))",
        ("test_reference.py",),
    ),
    Fault(
        "the slowest kernels are compared as the fastest",
        "ratio",
        "model/pairing.py",
        "tuple(min((one.name",
        "tuple(max((one.name",
        ("test_pairing.py",),
    ),
    Fault(
        "fixed costs count for the wrong side",
        "ratio",
        "model/attribution.py",
        "1 / separable, work[1] / work[0])",
        "1 / separable, work[0] / work[1])",
        ("test_attribution.py",),
    ),
    # ------------------------------------------------------------------------------------------ measure
    Fault(
        "an interval is made of rounds instead of the medians of blocks",
        "interval",
        "measure/statistics.py",
        "np.log([median for median in map(_median, blocks) if not isnan(median)])",
        "np.log([value for block in blocks for value in block if not isnan(value)])",
        ("test_statistics.py",),
    ),
    Fault(
        "no block is left out, however spoilt",
        "interval",
        "measure/statistics.py",
        "_TRIMMED = 0.05",
        "_TRIMMED = 0.0",
        ("test_statistics.py::test_a_block_that_the_machine_spoilt_widens_nothing",),
    ),
    Fault(
        "a fifth of the blocks is left out at each end",
        "interval",
        "measure/statistics.py",
        "_TRIMMED = 0.05",
        "_TRIMMED = 0.2",
        ("test_statistics.py::test_an_interval_is_students_over_the_medians_of_all_blocks_of_fewer_than_twenty",),
    ),
    Fault(
        "an interval counts one degree of freedom too many",
        "interval",
        "measure/statistics.py",
        "(len(kept) * (len(kept) - 1)), len(kept) - 1",
        "(len(kept) * (len(kept) - 1)), len(kept)",
        ("test_statistics.py::test_an_interval_is_students_over_the_medians_of_all_blocks_of_fewer_than_twenty",),
    ),
    Fault(
        "a change is called slower where only its middle is",
        "interval",
        "measure/verdicts.py",
        "if ratio.lo > 1 + NOISE:",
        "if ratio.value > 1 + NOISE:",
        ("test_verdicts.py",),
    ),
    Fault(
        "an interval that is not known is not marked as wide",
        "flag",
        "measure/grades.py",
        "not half_width <= target",
        "half_width > target",
        ("test_noise.py::test_the_plain_signs",),
    ),
    Fault(
        "two modes of one scheduler are not told from one",
        "flag",
        "measure/grades.py",
        "_LEAST_MODE = 0.15",
        "_LEAST_MODE = 0.45",
        ("test_noise.py::test_two_modes_are_found",),
    ),
    Fault(
        "contenders run in the same order in every round",
        "sampling",
        "measure/sampler.py",
        "for which in rng.permutation(len(groups))",
        "for which in range(len(groups))",
        ("test_sampler.py::test_the_order_within_a_round_is_random",),
    ),
    Fault(
        "a batch's time counts as that of one launch",
        "units",
        "measure/clocks.py",
        "(_elapsed_ns(launch, launches) - _looking_ns()) / launches * 1e-9",
        "(_elapsed_ns(launch, launches) - _looking_ns()) * 1e-9",
        ("test_clocks.py::test_a_batch_is_timed_by_the_launch",),
    ),
    Fault(
        "the ends of the peak's interval are swapped",
        "interval",
        "measure/ceilings.py",
        "amount / time.hi, amount / time.lo)",
        "amount / time.lo, amount / time.hi)",
        ("test_ceilings.py::test_the_ceilings_are_measured",),
    ),
    # ------------------------------------------------------------------------------------------ results
    Fault(
        "the last block of samples is not stored",
        "lost row",
        "results/store.py",
        "for number, block in enumerate(blocks)",
        "for number, block in enumerate(blocks[:-1])",
        ("test_store.py",),
    ),
    Fault(
        "a cell is written in two transactions, and a kill leaves half of it",
        "lost row",
        "results/store.py",
        "            cell = cursor.lastrowid\n",
        "            cell = cursor.lastrowid\n            self._connection.commit()\n",
        ("test_store.py",),
    ),
    Fault(
        "a file that a killed run has left half written is not made whole",
        "lost row",
        "results/store.py",
        '"rw" if write or unfinished else "ro"',
        '"rw" if write else "ro"',
        ("test_faults.py::test_a_torn_file_is_made_whole_by_whoever_reads_it",),
    ),
    Fault(
        "a fused kernel of version 2 is compared with itself",
        "schema",
        "results/schema.py",
        '"like": "tiled"}',
        '"like": "fused"}',
        ("test_committed_reports.py",),
    ),
    Fault(
        "the ends of a speedup's interval are swapped",
        "interval",
        "results/tables.py",
        '"speedup_lo": 1 / measured.hi,',
        '"speedup_lo": 1 / measured.lo,',
        ("test_committed_reports.py", "test_results.py"),
    ),
    Fault(
        "ratios are of standard over separable",
        "ratio",
        "results/cell.py",
        "return [(pair, self.ratio(pair.separable, pair.standard)) for pair in self.pairs]",
        "return [(pair, self.ratio(pair.standard, pair.separable)) for pair in self.pairs]",
        ("test_measured_twice.py",),
    ),
    Fault(
        "a multiplication counts as one FLOP",
        "units",
        "results/cell.py",
        "return 2 * theory.multiplications(",
        "return theory.multiplications(",
        ("test_committed_reports.py", "test_results.py"),
    ),
    Fault(
        "a promise within the interval is explained all the same",
        "interval",
        "results/why.py",
        "measured.lo <= 1 / promised <= measured.hi",
        "measured.lo <= promised <= measured.hi",
        ("test_committed_reports.py", "test_results.py"),
    ),
    Fault(
        "files are compared by the last cell of a shape, whatever its kernels",
        "cache key",
        "results/comparison.py",
        "{(cell.shape, kernel): cell for cell in results.cells() for kernel in cell.declared}",
        "{(c.shape, k): c for c in {c.shape: c for c in results.cells()}.values() for k in c.declared}",
        ("test_measured_twice.py",),
    ),
    Fault(
        "a layer counts once, however often the network has it",
        "network",
        "results/sums.py",
        "(count, cell.samples[pair.separable], cell.samples[pair.standard])",
        "(1, cell.samples[pair.separable], cell.samples[pair.standard])",
        ("test_sums.py",),
    ),
    Fault(
        "of several lists of kernels the slowest pair stands for the shape",
        "ratio",
        "results/fastest.py",
        "return [min(pairs.values()",
        "return [max(pairs.values()",
        ("test_measured_twice.py",),
    ),
    # ------------------------------------------------------------------------------------------ predict
    Fault(
        "a predicted speedup is upside down",
        "ratio",
        "predict/prediction.py",
        'seconds["standard"] / seconds["separable"], self._stretch',
        'seconds["separable"] / seconds["standard"], self._stretch',
        ("test_prediction.py::test_shapes_that_were_held_out_are_hit",),
    ),
    Fault(
        "cross-validation has seen the cells that it holds out",
        "interval",
        "predict/prediction.py",
        "_Process(measured.part(kept), side,",
        "_Process(measured, side,",
        ("test_prediction.py::test_a_cell_has_no_part_in_the_prediction_that_it_is_held_against",),
    ),
    Fault(
        "a layer that the model runs often counts once",
        "aggregate",
        "api/scan.py",
        "return self.entry.times * self.now.value",
        "return self.now.value",
        ("test_scan.py::test_a_scan_adds_up",),
    ),
    Fault(
        "what stays counts what is replaced",
        "aggregate",
        "api/scan.py",
        "staying = now - sum(one.seconds for one in replaced)",
        "staying = now",
        ("test_scan.py::test_a_scan_adds_up",),
    ),
    Fault(
        "a bad line of a file is named by the number before it",
        "message",
        "predict/layers.py",
        "yield lines[reader.line_num - 1][0]",
        "yield lines[reader.line_num - 2][0]",
        ("test_prediction.py::test_a_file_that_does_not_fit_is_refused_with_its_line",),
    ),
    # ------------------------------------------------------------------------------------------ network
    Fault(
        "a batch norm scales the mean alone, and not the bias before it",
        "bias",
        "network/weights.py",
        "(bias - mean) * scale + shift",
        "bias - mean * scale + shift",
        ("test_weights.py",),
    ),
    Fault(
        "the map before lies in the corner of its halo",
        "padding",
        "network/plan.py",
        "return whole[:, 1:-1, 1:-1]",
        "return whole[:, :-2, :-2]",
        (_GPU_NETWORK,),
    ),
    # ------------------------------------------------------------------------------------------ report
    Fault(
        "the report says what is kept of the promise upside down",
        "ratio",
        "report/sentences.py",
        "kept = best.speedup / best.theory_speedup",
        "kept = best.theory_speedup / best.speedup",
        ("test_report.py::test_the_verdict_says_what_the_numbers_say",),
    ),
    Fault(
        "the worst regression comes last",
        "sorting",
        "report/verdicts.py",
        "(_WORDS.index(verdict.word), -verdict.ratio.value)",
        "(_WORDS.index(verdict.word), verdict.ratio.value)",
        ("test_verdicts.py::test_the_text_puts_first_what_matters",),
    ),
    Fault(
        "a bar in a name breaks the table",
        "escaping",
        "report/plain.py",
        '_SIGNS = "&<>|`',
        '_SIGNS = "&<>`',
        ("test_verdicts.py::test_the_markdown_is_a_table_whatever_the_names_hold",),
    ),
    Fault(
        "of a peer's ways the slowest stands in the table of rungs",
        "ratio",
        "report/ladder.py",
        "time_s.idxmin()",
        "time_s.idxmax()",
        ("test_ladder.py::test_of_a_peers_ways_the_fastest_on_each_shape_counts",),
    ),
    # ------------------------------------------------------------------------------------------ run
    Fault(
        "a crash of our own is blamed on the kernel that ran before",
        "blame",
        "run/supervisor.py",
        "        data = self._encode(job)\n        os.ftruncate(self._marker.fileno(), 0)\n",
        "        data = self._encode(job)\n",
        ("test_supervisor.py::test_a_fault_of_our_own_is_not_the_kernels_that_ran_before",),
    ),
    Fault(
        "a kernel that hangs is not ended before our own part would be",
        "hang",
        "run/supervisor.py",
        "limits.kernel_seconds if kernel else limits.own_seconds",
        "limits.own_seconds",
        ("test_supervisor.py::test_a_worker_that_hangs_is_ended_and_its_kernel_named",),
    ),
    Fault(
        "a kernel that hangs outlives a sweep that is killed",
        "hang",
        "run/serving.py",
        "ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)",
        "ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0)",
        ("test_sweep.py::test_a_kernel_that_hangs_does_not_outlive_a_sweep_that_is_killed",),
    ),
    Fault(
        "a result ten times as far off as rounding is timed",
        "tolerance",
        "run/contest.py",
        "elif not wrong and error > 1:",
        "elif not wrong and error > 10:",
        ("test_contest.py",),
    ),
    Fault(
        "a kernel may change its own input",
        "bounds",
        "run/contest.py",
        "any(not np.array_equal(now, then) for now, then in arrays)",
        "any(now is then for now, then in arrays)",
        ("test_contest.py",),
    ),
    Fault(
        "a resumed run takes a cell of one visit for done, and the second is lost",
        "resume",
        "run/sweep.py",
        "(there.get((shape, names), -1) or visits) < visits]",
        "(there.get((shape, names), -1) or visits) < 1]",
        ("test_between.py::test_the_file_holds_one_cell_of_both_visits",),
    ),
    Fault(
        "a cell that goes on forgets its earlier visits",
        "lost row",
        "results/records.py",
        "visits=(*before.visits, *after.visits)",
        "visits=after.visits",
        ("test_between.py::test_a_cell_goes_on_in_another_visit",),
    ),
    Fault(
        "a resumed run measures all cells again",
        "resume",
        "run/sweep.py",
        "(there.get((shape, names), -1) or visits) < visits]",
        "True]",
        ("test_sweep.py::test_only_cells_without_these_kernels_are_missing", _RESUMED),
    ),
    Fault(
        "cells of other thread counts come into one file",
        "resume",
        "run/machines.py",
        '"gpu", "threads", "threading_layer"',
        '"gpu", "threading_layer"',
        ("test_sweep.py::test_resuming_on_another_machine_is_refused",),
    ),
    Fault(
        "hosts with other kernels share a grid",
        "fleet",
        "run/fleet/hosts.py",
        "if host.kernels != first.kernels:",
        "if len(host.kernels) != len(first.kernels):",
        ("test_fleet.py::test_hosts_with_other_kernels_are_unlike",),
    ),
    Fault(
        "the cell that a lost host had in hands is not measured again",
        "lost row",
        "run/fleet/coordinator.py",
        "            grid.missing.appendleft(shape)\n",
        "",
        ("test_fleet.py::test_a_lost_hosts_cells_are_done_by_those_that_share_the_grid",),
    ),
    # ------------------------------------------------------------------------------------------ the others
    Fault(
        "kept machine code does not know the sources that it was made from",
        "cache key",
        "compile_once.py",
        '[Path(__file__), *sorted(beside.glob("*.py"))]',
        "[Path(__file__)]",
        ("test_compile_once.py::test_a_change_in_an_imported_module_is_seen",),
    ),
    Fault(
        "functions are numbered from 1 in every process",
        "cache key",
        "compile_once.py",
        "itertools.count(secrets.randbits(48))",
        "itertools.count(1)",
        ("test_compile_once.py::test_code_of_two_processes_does_not_mix",),
    ),
    Fault(
        "kept machine code does not know what its maker was asked for",
        "cache key",
        "compile_once.py",
        "self._facts = repr(facts)",
        'self._facts = ""',
        ("test_compile_once.py::test_a_second_process_compiles_nothing",),
    ),
    Fault(
        "wrong input ends with the exit code of a regression",
        "exit code",
        "cli/program.py",
        "    say(message)\n    sys.exit(2)\n",
        "    say(message)\n    sys.exit(1)\n",
        ("test_cli.py::test_wrong_words_get_one_line_and_exit_code_2",),
    ),
    Fault(
        "a regression ends with exit code 0",
        "exit code",
        "cli/verdicts.py",
        "        sys.exit(1)\n",
        "        sys.exit(0)\n",
        ("test_ab.py::test_two_results_files_are_compared_kernel_by_kernel",),
    ),
    Fault(
        "check ends with exit code 0 though a kernel is wrong",
        "exit code",
        "cli/check.py",
        "    if wrong:\n        sys.exit(1)\n",
        "    if wrong > 1:\n        sys.exit(1)\n",
        ("test_cli.py::test_check_exits_1_if_a_kernel_is_wrong",),
    ),
    Fault(
        "a link is replaced by a file",
        "lost row",
        "files.py",
        "there = path.resolve()",
        "there = path",
        ("test_faults.py::test_a_file_is_replaced_as_what_it_is",),
    ),
    Fault(
        "git answers for the repository of a hook",
        "provenance",
        "git.py",
        "if name not in _OF_A_HOOK}",
        "if name}",
        ("test_environments.py::test_a_hook_of_another_repository_does_not_answer_for_ours",),
    ),
    Fault(
        "kernels are timed in the simulator",
        "units",
        "gpu.py",
        '    if simulated():\n        raise InputError("NUMBA_ENABLE_CUDASIM',
        '    if reason is not None and simulated():\n        raise InputError("NUMBA_ENABLE_CUDASIM',
        ("test_cli.py::test_the_simulator_is_never_timed",),
    ),
)


@dataclass(frozen=True)
class Run:
    """What became of a fault: found, not found or does not apply; by which test, and after how long."""

    fault: Fault
    outcome: str
    by: str
    seconds: float


class Ground:
    """A temporary folder with the copies, and with the compiled kernels that they share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy = folder / "copy"
        self._environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | {
            "PYTHONPATH": str(self._copy),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "tmp").mkdir()

    def copy(self) -> None:
        """The tracked files as they are now, in a repository whose HEAD is ours: by it the sampled tests draw."""
        shutil.rmtree(self._copy, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(self._copy)], check=True)
        asked = ["git", "-C", str(ROOT), "diff", "--name-only", "--no-renames", "-z", "HEAD"]
        changed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        for name in filter(None, changed.split("\0")):
            if (ROOT / name).exists():
                (self._copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self._copy / name)
            else:
                (self._copy / name).unlink()

    def check_imports(self) -> None:
        """AssertionError where another checkout would be tested."""
        command = [sys.executable, "-c", "import sepconv_bench; print(sepconv_bench.__file__)"]
        where = subprocess.run(command, env=self._environment, cwd=self._folder, capture_output=True, text=True, check=True)
        assert Path(where.stdout.strip()) == self._copy / "sepconv_bench" / "__init__.py", where.stdout

    def plant(self, fault: Fault) -> bool:
        """Whether the fault is in; its text may have been rewritten since."""
        file = self._copy / "sepconv_bench" / fault.file
        text = file.read_text(encoding="utf-8")
        if text.count(fault.there) != 1:
            return False
        file.write_text(text.replace(fault.there, fault.planted), encoding="utf-8")
        return True

    def test(self, tests: Sequence[str]) -> tuple[str, str]:
        """The outcome, and the first test that failed. The tests of the simulator run in a process of their own."""
        simulated = [one for one in tests if one.startswith(_SIMULATED)]
        for names in (simulated, [one for one in tests if one not in simulated]):
            environment = self._environment | ({"NUMBA_ENABLE_CUDASIM": "1"} if names is simulated else {})
            outcome, by = self._tested(names, environment) if names else ("not found", "")
            if outcome != "not found":
                break
        return outcome, by

    def _tested(self, names: Sequence[str], environment: dict[str, str]) -> tuple[str, str]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in names)]
        process = subprocess.Popen(
            command, env=environment, cwd=self._copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "found", f"a test that did not end within {_LONGEST_SECONDS:g} s"
        failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.*?)(?: - .*)?$", said, re.M)
        if failed and process.returncode != 0:
            return "found", failed[1]
        if process.returncode < 0:
            return "found", f"a crash of the tests with {signal.Signals(-process.returncode).name}"
        if process.returncode == 0:
            return "not found", ""
        print(said[-2000:], file=sys.stderr)
        return "does not apply", f"pytest ended with {process.returncode}"


def run_of(fault: Fault, ground: Ground, whole: bool) -> Run:
    start = time.monotonic()
    ground.copy()
    if ground.plant(fault):
        outcome, by = ground.test([""] if whole else fault.tests)
    else:
        outcome, by = "does not apply", f"the text is no longer once in {fault.file}"
    return Run(fault, outcome, by, time.monotonic() - start)


_PAGE = """# What the fast tests see

`experiments/mutations.py` plants faults in a copy of the checkout, one after the other, and runs tests of the fast tier
(`make test`) until one fails: the first that did is in the table, with the seconds from the copy to its end, most of
them for starting pytest. A fault is one text of one file replaced, a bug that somebody might write; none is an
equivalent program. Tests that sample their parameters draw them by the commit, as in `make test`, so another commit may
find a fault by another test. The script has written this page, and `tests/test_mutations.py` holds its list against the
sources. Where a fault is not found, a test is missing.
"""


def _seconds(runs: Sequence[Run]) -> float:
    return sum(run.seconds for run in runs)


def page(runs: Sequence[Run]) -> str:
    """docs/mutations.md."""
    found = sum(run.outcome == "found" for run in runs)
    kinds = Counter(run.fault.kind for run in runs)
    lines = [
        _PAGE,
        f"**{found} of {len(runs)} faults were found, {found / len(runs):.0%}, in {_seconds(runs) / 60:.0f} minutes.** Kinds: "
        + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        + ".",
        "",
        "| fault | kind | in | found by | s |",
        "|---|---|---|---|---:|",
    ]
    for run in runs:
        by = f"`{run.by}`" if run.outcome == "found" else f"**{run.outcome}**"
        by = by.replace("|", "\\|")
        lines.append(f"| {run.fault.what} | {run.fault.kind} | `{run.fault.file}` | {by} | {run.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", help="only faults with this word in their description, kind or file")
    parser.add_argument("--whole", action="store_true", help="all tests of the fast tier, not only those that should see it")
    parser.add_argument("--control", action="store_true", help="first run the tests without a fault; they must pass")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown, too")
    options = parser.parse_args()
    faults = [one for one in FAULTS if options.only is None or options.only in f"{one.what} {one.kind} {one.file}"]
    if not faults:
        parser.error(f"no fault has {options.only!r} in its description, kind or file")
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        ground = Ground(Path(folder))
        ground.copy()
        ground.check_imports()
        if options.control:
            named = list(dict.fromkeys(test for one in faults for test in one.tests))
            outcome, by = ground.test([""] if options.whole else named)
            print(f"without a fault: {'all tests pass' if outcome == 'not found' else f'{outcome}: {by}'}", flush=True)
            if outcome != "not found":
                return 1
        for number, fault in enumerate(faults, start=1):
            runs.append(run_of(fault, ground, options.whole))
            told = f"{runs[-1].outcome:<14} {runs[-1].seconds:4.0f} s  {fault.file}: {fault.what}"
            print(f"[{number}/{len(faults)}] {told}" + (f" ({runs[-1].by})" if runs[-1].by else ""), flush=True)
    found = sum(run.outcome == "found" for run in runs)
    print(f"{found} of {len(runs)} faults were found, in {_seconds(runs):.0f} s")
    if options.markdown:
        options.markdown.write_text(page(runs), encoding="utf-8")
    return int(found < WANTED * len(runs) or any(run.outcome == "does not apply" for run in runs))


if __name__ == "__main__":
    sys.exit(main())
