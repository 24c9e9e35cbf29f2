"""The comparison as one HTML file that needs nothing beside itself, in the style of the report."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ...dataset.videos import DIMENSIONS
from ..compare.scores import Scores
from ..compare.tables import (
    Comparison,
    answers_table,
    by_item,
    datasets_table,
    leakage_notes,
    missing_notes,
    scores_table,
)
from . import figures
from .page import template

Rows = dict[str, dict[str, Any]]
"""The figures of one item, by model; the interval of the metric NAME is NAME_ci."""


def write_comparison(
    path: Path,
    comparison: Comparison,
    labels: Sequence[Scores],
    published: pd.DataFrame | None = None,
    *,
    facts: Mapping[str, str],
) -> None:
    """Write the page of a comparison.

    Args:
        path: the HTML file to write, in a folder that exists.
        comparison: the measured figures.
        labels: those that the models were measured on, in the order of the comparison.
        published: published figures, which are shown apart, below their source.
        facts: what the head of the page says, by name.
    """
    datasets = [
        _dataset(comparison, one, published, f"-{number}" if len(labels) > 1 else "")
        for number, one in enumerate(labels, start=1)
    ]
    if notes := leakage_notes(comparison):
        facts = {**facts, "Leakage": "; ".join(notes)}
    spans = [
        _span(one.table[list(dataset["scores"])])
        for one, dataset in zip(labels, datasets, strict=True)
    ]
    narrowest = min(spans, key=lambda span: span[1] - span[0])
    html = template("comparison.html", narrowest).render(
        title=f"Models side by side on {', '.join(comparison)}",
        facts=facts,
        datasets=datasets,
        datasets_table=datasets_table(comparison, published),
        published=published is not None,
    )
    path.write_text(html + "\n", "utf-8", newline="\n")


def _dataset(
    comparison: Comparison, labels: Scores, published: pd.DataFrame | None, end: str
) -> dict[str, Any]:
    """What the page shows of one dataset; `end` makes the ids of its sections unique."""
    items = {
        item: {model: _row(figures) for model, figures in models.items()}
        for item, models in by_item(comparison[labels.name]).items()
    }
    scores = {item: rows for item, rows in items.items() if item in DIMENSIONS}
    questions = {item: rows for item, rows in items.items() if item not in DIMENSIONS}
    return {
        "name": labels.name,
        "end": end,
        "scores_table": scores_table(comparison, labels.name, published),
        "answers_table": answers_table(comparison, labels.name, published),
        "panels": _panels(scores, end),
        "scores": scores,
        "score_pairs": _pairs(scores, "srcc"),
        "questions": questions,
        "question_pairs": _pairs(questions, "accuracy"),
        "answering": _models(questions),
        "missing": missing_notes(comparison[labels.name]),
    }


def _span(labels: pd.DataFrame) -> tuple[float, float]:
    values = labels.to_numpy()
    return float(np.nanmin(values)), float(np.nanmax(values))


def _row(figures: Mapping[str, Any]) -> dict[str, Any]:
    cis = {f"{metric}_ci": ci for metric, ci in figures["ci"].items()}
    return {**figures} | cis


def _models(items: Mapping[str, Rows]) -> list[str]:
    """All models that have any of the items, in their order."""
    return list(dict.fromkeys(model for rows in items.values() for model in rows))


def _pairs(items: Mapping[str, Rows], metric: str) -> list[dict[str, Any]]:
    """The difference of each pair of models in each item; None where one of them lacks it."""
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


def _panels(scores: Mapping[str, Rows], end: str) -> dict[str, Markup]:
    """A figure of each dimension, all on the same axis: SRCC and its interval by model."""
    srcc = {
        item: {
            model: (row["srcc"], row["srcc_ci"])
            for model, row in rows.items()
            if row["srcc"] is not None
        }
        for item, rows in scores.items()
    }
    values = [
        v for rows in srcc.values() for value, ci in rows.values() for v in (value, *(ci or ()))
    ]
    if not values:
        return {}
    span = (np.floor(10 * min(values)) / 10, np.ceil(10 * max(values)) / 10)
    return {
        item: Markup(
            figures.element(
                figures.intervals(rows, span),
                f"srcc-{item}{end}",
                f"{item}: SRCC of {len(rows)} models with 95 % intervals",
            )
        )
        for item, rows in srcc.items()
        if rows
    }
