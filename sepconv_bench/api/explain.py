"""explain: one layer, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sepconv_bench.model import attribution, theory
from sepconv_bench.model.operators import SEPARABLE, STANDARD
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.predict.knowledge import Knowledge, Value
from sepconv_bench.report.explained import SIDES, Explained, Parts
from sepconv_bench.results import store
from sepconv_bench.results.cell import Cell
from sepconv_bench.run import folders


def explain(shape: ConvShape, results: str | Path | None = None, device: str = "cpu") -> Explained:
    """What a layer should cost, what it costs here as standard and as separable convolution, and which part multiply-adds,
    bytes, launch and kernel quality take; on a CPU also which tiles our kernels choose here, and why.

    `results`: the folder whose cells to go by, by default the latest of this machine. A shape that it holds is as it was
    measured, any other is predicted; ResultsError where it holds too few.

    >>> told = explain(ConvShape(3, 64, 64, 28), "reports/intel-xeon-2-threads")
    >>> round(told.promised, 2), told.speedup.measured
    (7.89, True)
    """
    folder = folders.to_read(None if results is None else Path(results), device)
    with store.open_results(folder) as opened:
        cells = opened.cells()
    knowledge = Knowledge(cells, device)
    (sides,) = knowledge.sides([shape])
    times = {side: knowledge.times(side, [shape])[0] for side in SIDES}
    seconds = {"standard": sides.standard, "separable": sides.separable}
    roofs = {side: theory.roofline_time([side], shape, *knowledge.roofs) for side in SIDES}
    # No kernel's fixed cost is all of its time, not even where it was estimated too high.
    fixed = {side: min(knowledge.fixed[side], 0.9 * seconds[side]) for side in SIDES}
    parts = {}
    for side in SIDES:
        multiplying = 2 * theory.multiplications(side, shape) / knowledge.roofs.peak
        rest = seconds[side] - roofs[side] - fixed[side]
        parts[side] = Parts(multiplying, roofs[side] - multiplying, fixed[side], rest)
    promised = float(1 / theory.cost_ratio(shape))
    given = ([one[side] for side in SIDES] for one in (seconds, roofs, fixed))
    factors = attribution.factors(promised, sides.speedup.value, *given)
    held = theory.held_by_memory(SIDES, shape, *knowledge.roofs)
    chosen = chosen_tiles(shape) if device == "cpu" else ()
    peak, accuracy = knowledge.roofs.peak, knowledge.accuracy
    return Explained(
        shape, times, sides.speedup, parts, factors, held, peak, accuracy, folder, chosen, _over_winograd(cells, shape, device)
    )


def _over_winograd(cells: Sequence[Cell], shape: ConvShape, device: str) -> Value | None:
    """Of the fastest separable kernel over the fastest standard one that is known to be Winograd's, in the last cell of
    that shape that has both."""
    for cell in reversed([cell for cell in cells if cell.shape == shape]):
        timed = sorted(cell.times, key=lambda name: cell.times[name].value)
        here = [cell.declared[name] for name in timed if cell.declared[name].device == device]
        standard = [one.name for one in here if one.operator == "standard" and one.algorithm == "winograd"]
        separable = [one.name for one in here if one.operator == "separable"]
        if standard and separable:
            ratio = cell.ratio(standard[0], separable[0])
            return Value(ratio.value, ratio.lo, ratio.hi, measured=True)
    return None


def chosen_tiles(shape: ConvShape) -> tuple[str, ...]:
    """Lines about the tiles of our kernels on this CPU; none for a shape that they do not take."""
    # Numba starts slowly: only where it is needed.
    import numba

    from sepconv_bench.kernels.cpu.choice import choose
    from sepconv_bench.kernels.cpu.registers import host_vectors
    from sepconv_bench.kernels.cpu.tiled import TAKES

    if not {*STANDARD.properties(shape), *SEPARABLE.properties(shape)} <= {*TAKES}:
        return ()
    return choose(shape, host_vectors(), numba.get_num_threads()).lines
