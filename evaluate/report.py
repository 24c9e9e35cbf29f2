"""The report of an evaluation: one HTML file that needs nothing beside itself.

It holds the metrics, the figures and the largest misses, in a light and a dark theme, without
scripts and without a single address. The same input gives the same bytes.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from ..dataset.videos import DIMENSIONS
from . import figures
from .agreement import Array
from .metrics import paired_scores

MISSES = 10
"""Rows in a table of largest misses."""

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    *,
    title: str,
    mos_range: tuple[float, float],
    facts: Mapping[str, str],
) -> None:
    """Write the report of one evaluation.

    Args:
        path: the HTML file to write, in a folder that exists.
        metrics: what `measure` returned.
        predictions: the table that it was given.
        title: the heading.
        mos_range: lowest and highest MOS, the axes of the figures.
        facts: what was measured, by name: the checkpoint, the store's identity, the split.
    """
    predicted, label = paired_scores(predictions)
    x, y = predicted.to_numpy(), label.to_numpy()
    page = _environment(mos_range).get_template(_TEMPLATE.name)
    html = page.render(
        title=title,
        facts=facts,
        metrics=metrics,
        panels=[_panel(name, x[:, i], y[:, i], mos_range) for i, name in enumerate(DIMENSIONS)],
        outside=_outside(x, mos_range),
        misses={
            "Overall": _misses(predicted[["overall"]], label[["overall"]]),
            "Any dimension": _misses(predicted, label),
        },
    )
    path.write_text(html + "\n", encoding="utf-8", newline="\n")


def _environment(mos_range: tuple[float, float]) -> jinja2.Environment:
    """Templates that escape whatever comes from the data, and know our number formats."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    low, high = mos_range
    digits = 1 if high - low > 10 else 2  # a thousandth of the scale, or about
    environment.filters.update(
        correlation=lambda value: _number(value, "z.3f"),
        mos=lambda value: _number(value, f"z.{digits}f"),
        percent=lambda value: _number(100 * value, "z.1f") + " %",
        points=lambda value: _number(100 * value, "+z.1f"),
    )
    return environment


def _number(value: float, form: str) -> str:
    """A number with a true minus sign, and no minus before zero."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _panel(
    name: str, predicted: Array, label: Array, mos_range: tuple[float, float]
) -> dict[str, str]:
    """The two figures of one dimension."""
    scores, has_label = predicted[~np.isnan(predicted)], ~np.isnan(label)
    x, y = predicted[has_label], label[has_label]
    scatter = figures.scatter(
        f"scatter-{name}", f"{name}: prediction against MOS of {len(y)} videos", x, y, mos_range
    )
    distribution = figures.distribution(
        f"distribution-{name}",
        f"{name}: distribution of {len(scores)} predictions and {len(y)} MOS",
        scores,
        y,
        mos_range,
    )
    return {"name": name, "scatter": Markup(scatter), "distribution": Markup(distribution)}


def _outside(predicted: Array, mos_range: tuple[float, float]) -> int:
    """Predictions beyond the MOS range, which the figures draw on its border."""
    return int(((predicted < mos_range[0]) | (predicted > mos_range[1])).sum())


def _misses(predicted: pd.DataFrame, label: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The largest distances between prediction and label, ties in the order of the videos."""
    pairs = pd.DataFrame({"predicted": predicted.stack(), "label": label.stack()}).dropna()
    pairs["miss"] = pairs["predicted"] - pairs["label"]
    largest = pairs["miss"].abs().sort_values(ascending=False, kind="stable").index[:MISSES]
    rows = pairs.loc[largest].rename_axis(["video", "dimension"]).reset_index()
    return rows.to_dict("records")
