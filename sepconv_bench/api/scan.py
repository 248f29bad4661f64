"""scan: a user's own model, layer by layer: what each convolution takes here, and what it would take if it were separable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sepconv_bench.errors import InputError, ShapeError
from sepconv_bench.model import theory
from sepconv_bench.model.declaration import OURS, USER
from sepconv_bench.model.operators import OPERATORS
from sepconv_bench.model.scanned import Asked, ModelConvolution, NotCovered, Scanned, asked, separable_pairs
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.network.readers import read
from sepconv_bench.predict.advice import Advice, Case, Total, advise
from sepconv_bench.predict.knowledge import Knowledge, Sides, Value
from sepconv_bench.predict.prediction import canonical
from sepconv_bench.report.scanned import Scan
from sepconv_bench.results import columns, store
from sepconv_bench.run import folders


@dataclass(frozen=True)
class Entry:
    """A distinct layer, and of all that are alike the names and the places among the model's layers.

    `asked` is None where `why_not` says why the suite has no such shape. Of a depthwise layer `pair` is the shape of both it
    and the pointwise one after it, whose name is `partner`.
    """

    layer: ModelConvolution | NotCovered
    names: tuple[str, ...]
    places: tuple[int, ...]
    asked: Asked | None = None
    why_not: str = ""
    pair: ConvShape | None = None
    partner: str = ""

    @property
    def times(self) -> int:
        return len(self.names)

    @property
    def asks(self) -> str:
        """The operator whose kernels do it; empty where it is not covered."""
        return self.asked.operator.name if self.asked else ""

    @property
    def operator(self) -> str:
        return self.layer.kind if isinstance(self.layer, ModelConvolution) else self.layer.operator


def scan(model: Any, input_size: Sequence[int] | None = None, results: str | Path | None = None, device: str = "cpu") -> Scan:
    """Every convolution of a model: what it takes here, and whether a separable one is worth its place.

    `model`: the path of an .onnx or .tflite file, a torch module, `module:callable`, or a name of torchvision or timm.
    `input_size`: (batch, channels, height, width), for what does not say its own. `results`: the folder whose cells to go by,
    by default the latest of this machine. InputError in one line where one of them cannot be read, ResultsError where the
    results hold too few cells.
    """
    return told(read(model, None if input_size is None else tuple(input_size)), results, device)


def told(model: Scanned, results: str | Path | None = None, device: str = "cpu") -> Scan:
    """As `scan`, of a model that has been read. InputError where it has no convolution."""
    entries = distinct(model)
    if not model.convolutions and all("onv" not in entry.operator for entry in entries):
        raise InputError(f"{model.source} has no convolution")
    folder = folders.to_read(None if results is None else Path(results), device)
    with store.open_results(folder) as opened:
        knowledge = Knowledge(opened.cells(), device)
        table, total = _table(entries, knowledge)
        machine = opened.runs()[-1].machine
        basis = f"{machine.machine}, {machine.time[:10]}"
        return Scan(model.source, model.input, table, _in_order(entries, table), total, knowledge.accuracy, folder, basis)


def shapes_to_measure(model: Scanned) -> list[tuple[tuple[str, ...], list[ConvShape]]]:
    """What to measure so that nothing of a scan is predicted: operators, and the shapes on which to time their kernels."""
    entries = [entry for entry in distinct(model) if entry.asked is not None]
    whole = [entry.pair or entry.asked.shape for entry in entries if entry.asks == "standard" or entry.pair]  # type: ignore[union-attr]
    timed = {canonical("pointwise", shape) for shape in whole}
    wanted: list[tuple[tuple[str, ...], list[ConvShape]]] = [(tuple(OPERATORS), whole)]
    for operator in ("depthwise", "pointwise"):
        shapes = [entry.asked.shape for entry in entries if entry.asks == operator and entry.pair is None]  # type: ignore[union-attr]
        wanted.append(((operator,), [shape for shape in shapes if shape not in timed]))
    return wanted


def distinct(model: Scanned) -> list[Entry]:
    """The distinct layers of a model, in the order in which they first run."""
    convolutions = model.convolutions
    partners = {id(convolutions[first]): convolutions[then] for first, then in separable_pairs(convolutions).items()}
    found: dict[Any, Entry] = {}
    for place, layer in enumerate(model.layers):
        partner = partners.get(id(layer))
        alike = replace(layer, name=""), partner and replace(partner, name="")
        if alike in found:
            first = found[alike]
            found[alike] = replace(first, names=(*first.names, layer.name), places=(*first.places, place))
        elif isinstance(layer, NotCovered):
            found[alike] = Entry(layer, (layer.name,), (place,), None, layer.reason)
        else:
            found[alike] = _entry(layer, place, partner)
    return list(found.values())


def _entry(layer: ModelConvolution, place: int, partner: ModelConvolution | None) -> Entry:
    try:
        one = asked(layer)
    except ShapeError as error:
        return Entry(layer, (layer.name,), (place,), None, str(error))
    if partner is None:
        return Entry(layer, (layer.name,), (place,), one)
    return Entry(layer, (layer.name,), (place,), one, "", replace(one.shape, N=partner.out_channels), partner.name)


def _in_order(entries: Sequence[Entry], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table, a row a layer as the model runs them, each under its own name."""
    rows = sorted((entry.places[k], row, entry.names[k]) for row, entry in enumerate(entries) for k in range(entry.times))
    return table.iloc[[row for _, row, _ in rows]].assign(layer=[name for *_, name in rows]).reset_index(drop=True)


@dataclass(frozen=True)
class _Known:
    """Of a covered entry: its time as it stands, and that of each library that was measured; standard beside separable where
    there is a window; of a depthwise one the time of the pointwise one after it."""

    entry: Entry
    now: Value
    libraries: dict[str, float]
    sides: Sides | None
    then: Value | None

    @property
    def seconds(self) -> float:
        """Of all that are alike."""
        return self.entry.times * self.now.value


def _known(entries: Sequence[Entry], knowledge: Knowledge) -> dict[int, _Known]:
    """By the place of each covered entry. Shapes are asked for together, an operator at a time."""
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        if entry.asked is not None:
            places.setdefault(entry.asks, []).append(place)

    def shapes(which: Sequence[int]) -> list[ConvShape]:
        return [entries[place].pair or entries[place].asked.shape for place in which]  # type: ignore[union-attr]

    now: dict[int, Value] = {}
    libraries: dict[int, dict[str, float]] = {}
    for operator, which in places.items():
        now |= dict(zip(which, knowledge.times(operator, shapes(which)), strict=True))
        libraries |= dict(zip(which, knowledge.libraries(operator, shapes(which)), strict=True))
    paired = [place for place in places.get("depthwise", []) if entries[place].pair]
    compared = [*places.get("standard", []), *paired]
    sides = dict(zip(compared, knowledge.gains(shapes(compared)), strict=True)) if compared else {}
    then = dict(zip(paired, knowledge.times("pointwise", shapes(paired)), strict=True)) if paired else {}
    return {place: _Known(entries[place], now[place], libraries[place], sides.get(place), then.get(place)) for place in now}


def _table(entries: Sequence[Entry], knowledge: Knowledge) -> tuple[pd.DataFrame, Total]:
    known = _known(entries, knowledge)
    model_s = sum(one.seconds for one in known.values())
    rows, replaced = [], []
    for place, entry in enumerate(entries):
        one = known.get(place)
        if one is None:
            rows.append(_row(entry, reason=f"not covered: {entry.why_not}"))
            continue
        advice = _advice(one, knowledge, model_s)
        if advice.replace == "yes":
            replaced.append(one)
        times = {f"now{end}_s": getattr(one.now, name) for end, name in (("", "value"), ("_lo", "lo"), ("_hi", "hi"))}
        basis = _basis(one.sides.speedup if one.sides else one.now)
        more = {"share": one.seconds / model_s, "basis": basis, "worth_replacing": advice.replace, "reason": advice.reason}
        rows.append(_row(entry, **times, **_by_library(one.libraries), **_compared(one), **more))
    return columns.SCAN.frame(rows), _total(entries, list(known.values()), replaced)


def _row(entry: Entry, **more: object) -> dict[str, object]:
    """A row of the table: what `more` does not say is missing, or empty where it is text."""
    layer = entry.layer
    row: dict[str, object] = {column.name: "" if column.is_text else None for column in columns.SCAN.columns}
    row |= {"layer": entry.names[0], "layers": " ".join(dict.fromkeys(entry.names)), "times": entry.times}
    row |= {"operator": entry.operator, "multiply_adds": layer.multiply_adds}
    if isinstance(layer, ModelConvolution):
        row |= {name: getattr(layer, name) for name in ("in_channels", "out_channels", "groups", "batch", "parameters")}
        for name in ("kernel", "input", "output", "stride", "dilation"):
            row |= dict(zip((f"{name}_height", f"{name}_width"), getattr(layer, name), strict=True))
    return row | more


def _by_library(seconds: dict[str, float]) -> dict[str, object]:
    """Our time, or a user's kernel's, beside the fastest other library's; nothing that was not measured."""
    ours = [time for library, time in seconds.items() if library in (OURS, USER)]
    peers = {library: time for library, time in seconds.items() if library not in (OURS, USER)}
    peer = min(peers, key=peers.__getitem__, default="")
    return {"ours_s": min(ours, default=None), "peer_s": peers.get(peer), "peer": peer}


def _compared(one: _Known) -> dict[str, object]:
    """Standard beside separable; nothing of a pointwise layer."""
    if one.sides is None:
        return {}
    shape, gain = one.entry.pair or one.entry.asked.shape, one.sides.speedup  # type: ignore[union-attr]
    separable = one.sides.separable if one.then is None else one.now.value + one.then.value
    scale = one.sides.separable / separable  # of a pair as it stands, which is two launches
    return {
        "standard_s": one.sides.standard,
        "separable_s": separable,
        "gain": gain.value * scale,
        "gain_lo": gain.lo * scale,
        "gain_hi": gain.hi * scale,
        "gain_over": one.sides.over,
        "promised": float(1 / theory.cost_ratio(shape)),
    }


def _advice(one: _Known, knowledge: Knowledge, model_s: float) -> Advice:
    entry = one.entry
    if entry.operator == "pointwise":
        return Advice("", "1 x 1 already: nothing to separate")
    if one.sides is None:
        return Advice("", "already depthwise, and no pointwise one takes its map")
    if one.then is not None:
        dearer = one.sides.standard / (one.now.value + one.then.value)
        took = f"a standard one for both would take {one.sides.standard * 1e3:.3g} ms, {dearer:.1f} times as long"
        return Advice("", f"already separable, with {entry.partner}: {took}")
    assert entry.asked is not None
    shape = entry.asked.shape
    roofs = [theory.roofline_time([side], shape, *knowledge.roofs) for side in ("standard", "separable")]
    return advise(
        Case(
            in_channels=shape.M,
            out_channels=shape.N,
            groups=shape.groups,
            sides=one.sides,
            promised=float(1 / theory.cost_ratio(shape)),
            perfect=roofs[0] / roofs[1],
            launch_share=knowledge.fixed["separable"] / one.sides.separable,
            times=entry.times,
            model_s=model_s,
        )
    )


def _basis(value: Value) -> str:
    if value.measured:
        return "measured"
    return f"predicted beyond what was measured: {value.outside}" if value.outside else "predicted"


def _total(entries: Sequence[Entry], known: Sequence[_Known], replaced: Sequence[_Known]) -> Total:
    now = sum(one.seconds for one in known)
    staying = now - sum(one.seconds for one in replaced)
    ends = []
    for end in ("value", "hi", "lo"):  # the greatest gain is the least time
        gains = [(one.seconds, getattr(one.sides.speedup, end)) for one in replaced if one.sides]
        ends.append(staying + sum(seconds / gain for seconds, gain in gains))
    uncovered = [entry for entry in entries if entry.asked is None]
    return Total(
        now_s=now,
        replaced_s=ends[0],
        replaced_lo_s=ends[1],
        replaced_hi_s=ends[2],
        staying_s=staying,
        replaced=sum(one.entry.times for one in replaced),
        convolutions=sum(entry.times for entry in entries if isinstance(entry.layer, ModelConvolution)),
        multiply_adds=sum(entry.times * (entry.layer.multiply_adds or 0) for entry in entries),
        uncovered=sum(entry.times * (entry.layer.multiply_adds or 0) for entry in uncovered),
        unknown=sum(entry.times for entry in uncovered if entry.layer.multiply_adds is None),
    )
