"""The one environment of the pages' templates."""

from __future__ import annotations

import jinja2

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("sepconv_bench", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def rendered(template: str, **values: object) -> str:
    """The page that a template of this folder makes of the values, which it escapes."""
    return _ENVIRONMENT.get_template(template).render(**values)
