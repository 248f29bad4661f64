"""Plain text: sizes in bytes, and what came from outside, without meaning to Markdown or to what draws the figures; pages
escape by themselves."""

from __future__ import annotations

_LONGEST = 80  # letters of a name in a figure, which makes room for all of it
_SIGNS = "&<>|`*[]\\$~"


def size(count: int) -> str:
    """Bytes, of a cache or a footprint, in the unit that fits."""
    power = min(max(count.bit_length() - 1, 10) // 10, 3)
    return f"{count / 2 ** (10 * power):.4g} {('KiB', 'MiB', 'GiB')[power - 1]}"


def in_markdown(text: object) -> str:
    return "".join(f"&#{ord(letter)};" if letter in _SIGNS or not letter.isprintable() else letter for letter in str(text))


def in_figure(text: object) -> str:
    """A dollar would begin a formula, and a label that begins with an underscore is not drawn."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
    return " " * shown.startswith("_") + shown.replace("$", r"\$")
