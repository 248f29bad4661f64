"""The tables of MobileNet-V1: every part and kernel, and every part in both networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from msgspec import structs

from sepconv_bench.model import theory
from sepconv_bench.model.declaration import OURS, Declaration
from sepconv_bench.model.networks import PARTS, WHOLE, mobilenet_v1, multiply_adds
from sepconv_bench.model.shapes import AXES
from sepconv_bench.results import columns
from sepconv_bench.results.cell import NOTHING, Cell
from sepconv_bench.results.records import NetworkPart
from sepconv_bench.results.store import Results


def network(results: Results) -> pd.DataFrame:
    """One row a part of MobileNet-V1 and a kernel or library that was timed on it; `whole` is all of the network.

    `operator` says of which network the part is: of MobileNet-V1 itself (separable) or of its all-standard counterpart; the
    first convolution and the last layer are those of both. The variant `plan` is ours. `speedup` is the standard time over the
    separable one of the same variant, from paired samples.
    """
    rows = []
    for cell, network in _parts(results):
        for outcome in cell.outcomes:
            declared, kernel = outcome.kernel, outcome.kernel.name
            time, multiply_adds = cell.times.get(kernel, NOTHING), _multiply_adds(cell, declared.operator)
            twin = structs.replace(declared, operator="standard").name
            both = declared.operator == "separable" and {kernel, twin} <= cell.times.keys()
            gflops = 2 * multiply_adds / time.value / 1e9
            rows.append(
                {
                    "machine": cell.run.machine.machine,
                    **structs.asdict(network),
                    "operator": declared.operator,
                    "kernel": kernel,
                    "variant": declared.variant,
                    "library": declared.library,
                    "algorithm": declared.algorithm,
                    "time_s": time.value,
                    "time_lo_s": time.lo,
                    "time_hi_s": time.hi,
                    "speedup": cell.ratio(twin, kernel).value if both else np.nan,
                    "multiply_adds": multiply_adds,
                    "gflops": gflops,
                    "eta": gflops * 1e9 / cell.peak,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "run": cell.run.number,
                }
            )
    return columns.NETWORKS.frame(rows)


def layers(results: Results) -> pd.DataFrame:
    """One row a part of MobileNet-V1: our time in both networks, the speedup beside the promised one, and the best peer's time.

    `theory_speedup` is that of the multiply-adds, `..._peer_over_ours` the time of the peer that is the fastest on that part
    over ours, from paired samples.
    """
    rows = []
    for cell, network in _parts(results):
        operators = ["pointwise"] * 2 if network.part == "classifier" else ["standard", "separable"]
        if network.part == "conv":
            operators = ["standard"] * 2
        timed = [cell.declared[name] for name in cell.times]
        plans: dict[str, str] = {one.operator: one.name for one in timed if one.library == OURS}
        ours = [plans.get(operator, "") for operator in operators]
        if not all(ours):
            continue
        counts = [_multiply_adds(cell, operator) for operator in operators]
        speedup = cell.ratio(*ours)
        row = {
            "machine": cell.run.machine.machine,
            **structs.asdict(network),
            **{axis: getattr(cell.shape, axis) for axis in AXES},
            "standard_multiply_adds": counts[0],
            "separable_multiply_adds": counts[1],
            "theory_speedup": counts[0] / counts[1],
            "speedup": speedup.value,
            "speedup_lo": speedup.lo,
            "speedup_hi": speedup.hi,
        }
        for side, operator, name, count in zip(("standard", "separable"), operators, ours, counts, strict=True):
            rivals = [one for one in timed if one.is_peer and one.operator == operator]
            fastest = min(rivals, key=lambda one: cell.times[one.name].value, default=None)
            over = cell.ratio(fastest.name, name) if fastest else NOTHING
            row |= {
                f"{side}_s": cell.times[name].value,
                f"{side}_eta": 2 * count / cell.times[name].value / cell.peak,
                f"{side}_peer": _named(fastest) if fastest else "",
                f"{side}_peer_over_ours": over.value,
                f"{side}_peer_over_ours_lo": over.lo,
                f"{side}_peer_over_ours_hi": over.hi,
            }
        graded = cell.graded(ours[1], ours[0]) if ours[0] != ours[1] else {}
        row |= {name: graded.get(name, "") for name in ("grade", "remark")}
        rows.append(row | {"run": cell.run.number})
    return columns.LAYERS.frame(rows)


def _named(peer: Declaration) -> str:
    """With the algorithm, where it multiplies less often than theory counts."""
    return f"{peer.variant}, Winograd" if peer.algorithm == "winograd" else peer.variant


def _parts(results: Results) -> Iterator[tuple[Cell, NetworkPart]]:
    """Every part of a network, and which it is, in order; the file has those last that were visited last."""
    found = [(cell, cell.network) for cell in results.parts() if cell.network is not None]

    def place(one: tuple[Cell, NetworkPart]) -> tuple[float, ...]:
        part = one[1]
        return part.alpha, part.resolution, part.batch, PARTS.index(part.part)

    yield from sorted(found, key=place)


def _multiply_adds(cell: Cell, operator: str) -> int:
    network = cell.network
    if network is None or network.part != WHOLE:
        return theory.multiplications(operator, cell.shape)
    layers = mobilenet_v1(network.alpha, network.resolution, network.batch, separable=operator == "separable")
    return multiply_adds(layers)
