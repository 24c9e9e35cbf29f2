"""The templates of all pages, which escape every text that comes from the data."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup


def template(name: str, span: tuple[float, float]) -> jinja2.Template:
    """Load a template of this folder, with our number formats as filters.

    Args:
        name: of its file.
        span: lowest and highest MOS, which decide the number of decimals of a score.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    low, high = span
    digits = 1 if high - low > 10 else 2  # about a thousandth of the scale
    environment.filters.update(
        correlation=lambda value: _number(value, "z.3f"),
        difference=lambda value: _number(value, "+z.3f"),
        mos=lambda value: _number(value, f"z.{digits}f"),
        percent=lambda value: _number(100 * value, "z.1f") + " %",
        path=_breakable,
        points=lambda value: _number(100 * value, "+z.1f"),
        reasons=_reasons,
    )
    return environment.get_template(name)


def _reasons(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The footnotes of a table: why some of its figures are not defined, each reason once."""
    return list(dict.fromkeys(row["reason"] for row in rows if "reason" in row))


def _number(value: float, form: str) -> str:
    """A number with a real minus sign, and none before zero (the `z` of its format)."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _breakable(name: str) -> Markup:
    """A path with places where a narrow cell may break it: after / and _, before the suffix."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_])|(?=\.\w+$)", name))
