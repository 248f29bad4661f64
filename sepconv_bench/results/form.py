"""Whether something that was read has the form it must have. Of a file nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Form = Any  # a type, a predicate, [form] of a list of any length, (form, ...) of a list of just these, {key: form}

_LARGEST = 1e30  # of the numbers that may be calculated with: none of their squares overflows


def misfit(value: object, form: Form, at: str = "") -> str:
    """Where `value` is not of `form`, as `levels[0].footprint`; "" where it fits. A dict may have more keys than its form."""
    if isinstance(form, list | tuple):
        if not isinstance(value, list) or (isinstance(form, tuple) and len(form) != len(value)):
            return at or "all of it"
        forms = form if isinstance(form, tuple) else form * len(value)
        parts = (misfit(part, of, f"{at}[{number}]") for number, (part, of) in enumerate(zip(value, forms, strict=True)))
        return next(filter(None, parts), "")
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return at or "all of it"
        dot = "." if at else ""
        return next(filter(None, (misfit(value.get(key), of, f"{at}{dot}{key}") for key, of in form.items())), "")
    fits = isinstance(value, form) if isinstance(form, type) else form(value)
    return "" if fits else at or "all of it"


def or_none(form: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or form(value)


def text(value: object) -> bool:
    """Text, in whole characters: JSON can spell half of one, which nothing can write."""
    return isinstance(value, str) and value == value.encode(errors="replace").decode()


def number(value: object) -> bool:
    """A number that can be calculated with: no NaN, nothing infinite or beyond all reason."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def real(value: object) -> bool:
    """A number that may also be NaN or infinite."""
    return isinstance(value, float) or number(value)


def positive(value: object) -> bool:
    return number(value) and value > 0  # type: ignore[operator]


def whole(value: object) -> bool:
    """A whole number above zero."""
    return positive(value) and isinstance(value, int)


def texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(text, value.values()))
