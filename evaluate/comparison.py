"""The comparison as one HTML file that needs nothing beside itself, in the style of the report."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ..dataset.videos import DIMENSIONS
from . import figures
from .compare import Scores
from .page import template
from .tables import Results, by_item

Rows = dict[str, dict[str, Any]]
"""What is measured in one item, by model, intervals beside the values as NAME_ci."""


def write_comparison(
    path: Path,
    results: Results,
    labels: Scores,
    others: pd.DataFrame | None = None,
    *,
    facts: Mapping[str, str],
) -> None:
    """Write a comparison.

    Args:
        path: the HTML file to write, in a folder that exists.
        results: what is measured.
        labels: what it is measured against.
        others: published figures, which stand below, marked.
        facts: what was measured, by name.
    """
    items = {
        item: {model: _row(found) for model, found in having.items()}
        for item, having in by_item(results).items()
    }
    scores = {item: rows for item, rows in items.items() if item in DIMENSIONS}
    questions = {item: rows for item, rows in items.items() if item not in DIMENSIONS}
    label = labels.table[list(scores)].to_numpy()
    html = template("comparison.html", (np.nanmin(label), np.nanmax(label))).render(
        title=f"Models side by side on {labels.name}",
        facts=facts,
        panels=_panels(scores),
        scores=scores,
        score_pairs=_pairs(scores, "srcc"),
        questions=questions,
        question_pairs=_pairs(questions, "accuracy"),
        answering=_models(questions),
        published=_published(others, items),
    )
    path.write_text(html + "\n", "utf-8", newline="\n")


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**found} | {f"{metric}_ci": ci for metric, ci in found["ci"].items()}


def _models(items: Mapping[str, Rows]) -> list[str]:
    """All models, in their order."""
    return list(dict.fromkeys(model for rows in items.values() for model in rows))


def _pairs(items: Mapping[str, Rows], metric: str) -> list[dict[str, Any]]:
    """The difference of each two models in each item; None where not both have it."""
    return [
        {
            "one": one,
            "other": other,
            "cells": [
                rows[one]["against"].get(other, {}).get(metric) if one in rows else None
                for rows in items.values()
            ],
        }
        for one, other in combinations(_models(items), 2)
    ]


def _panels(scores: Mapping[str, Rows]) -> dict[str, Markup]:
    """A figure of each dimension, all on the same axis: SRCC and its interval by model."""
    found = {
        item: {
            model: (row["srcc"], row["srcc_ci"])
            for model, row in rows.items()
            if row["srcc"] is not None
        }
        for item, rows in scores.items()
    }
    values = [
        v for rows in found.values() for value, ci in rows.values() for v in (value, *(ci or ()))
    ]
    if not values:
        return {}
    span = (np.floor(10 * min(values)) / 10, np.ceil(10 * max(values)) / 10)
    return {
        item: Markup(
            figures.element(
                figures.intervals(rows, span),
                f"srcc-{item}",
                f"{item}: SRCC of {len(rows)} models with 95 % intervals",
            )
        )
        for item, rows in found.items()
        if rows
    }


def _published(others: pd.DataFrame | None, items: Iterable[str]) -> list[dict[str, Any]]:
    """Each method of each source, with its figures of the items by item and metric."""
    if others is None:
        return []
    here = others[others["item"].isin(list(items))]
    return [
        {
            "source": source,
            "method": method,
            "figures": {
                item: dict(zip(rows["metric"], rows["value"], strict=True))
                for item, rows in found.groupby("item")
            },
        }
        for (source, method), found in here.groupby(["source", "method"], sort=False)
    ]
