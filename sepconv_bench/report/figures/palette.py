"""Every colour of the figures, and what it means, the same in all of them; and its counterpart on a dark ground.

Figures are drawn in the light colours. A saved SVG knows the dark ones, too, and shows them where the reader's scheme is dark.
The colours of D_K and of the series can be told apart by the colour-blind, and each goes with a marker of its own for print in
grey. A colour for text on coloured ground (ON_...) is the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sepconv_bench.model.dtypes import DTYPES

# Ground and ink.
GROUND, INK, SOFT, RULE, GRID, WASH = "#ffffff", "#222222", "#555b66", "#c3c7cf", "#e3e5e9", "#f1f2f4"
ON_DARK, ON_LIGHT = "#fefefe", "#101010"
# The sides of a comparison, the other operators, and everybody else's libraries.
STANDARD, SEPARABLE, DEPTHWISE, POINTWISE, PEER = "#767d8a", "#5b3fa8", "#c2649a", "#8c5a4a", "#b4bac5"
OPERATORS = {"standard": STANDARD, "depthwise": DEPTHWISE, "pointwise": POINTWISE, "separable": SEPARABLE}
EITHER = "#8b6ce0"  # the separable side, where one picture serves both grounds
# What takes from the promise beside the two kernels, which have the colours of their sides.
MEMORY, LAUNCH = "#3a9bb5", "#d99a00"
# Machines, libraries, kernels over time, dtypes: in their order.
SERIES = (
    (SEPARABLE, "o"),
    ("#1f8a8a", "s"),
    ("#b3477d", "^"),
    ("#767d00", "D"),
    (LAUNCH, "v"),
    (STANDARD, "P"),
    (POINTWISE, "X"),
)
MAP = "BuPu"  # shares, from none to all

_WIDTHS = {1: ("#6b6f00", "v"), 3: ("#0072b2", "o"), 5: ("#c8500a", "s"), 7: ("#00805d", "^"), 9: ("#a3407e", "D")}
_OTHER_WIDTHS = (("#7a5c00", "P"), ("#4d5b9e", "X"), ("#8a3b3b", "<"), ("#3f7f3f", ">"))

# By light colour.
DARK = {
    **{GROUND: "#15171a", INK: "#e8e9ec", SOFT: "#a9adb5", RULE: "#4a505a", GRID: "#2b2f36", WASH: "#20242a"},
    **{STANDARD: "#9aa1ad", SEPARABLE: "#a78bfa", DEPTHWISE: "#ec9cc8", POINTWISE: "#c99a88", PEER: "#5d6470"},
    **{MEMORY: "#5cc4df", LAUNCH: "#f0bd3f"},
    **{"#1f8a8a": "#4cc7c2", "#b3477d": "#ef86b6", "#767d00": "#c0c642"},
    **{"#6b6f00": "#c3c846", "#0072b2": "#58b0ea", "#c8500a": "#ff914f", "#00805d": "#35c79b", "#a3407e": "#e58cc0"},
    **{"#7a5c00": "#d6b24a", "#4d5b9e": "#9aa9f0", "#8a3b3b": "#e79090", "#3f7f3f": "#8ad08a"},
}


class Look(NamedTuple):
    colour: str
    marker: str


def of_widths(widths: Iterable[int]) -> dict[int, Look]:
    """Colour and marker of each D_K, in order: the same in every figure and for every machine."""
    return {int(width): _of_width(int(width)) for width in sorted(set(widths))}


def _of_width(width: int) -> Look:
    return Look(*_WIDTHS.get(width, _OTHER_WIDTHS[width // 2 % len(_OTHER_WIDTHS)]))


def of_series(names: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each name, in the order in which they come."""
    return {name: Look(*SERIES[number % len(SERIES)]) for number, name in enumerate(dict.fromkeys(names))}


def of_dtypes(dtypes: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each dtype, in the order of DTYPES: the same whichever others a file holds."""
    there = set(dtypes)
    return {dtype: look for dtype, look in of_series(DTYPES).items() if dtype in there}


def dark_style() -> str:
    """The style sheet that turns a figure's light colours to the dark ones where the reader's scheme is dark."""
    rules = []
    for light, dark in DARK.items():
        rules += [f'[style*="{what}: {light}"]{{{what}:{dark}!important}}' for what in ("fill", "stroke")]
    return f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
