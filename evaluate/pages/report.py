"""The report of an evaluation: one HTML file that needs nothing beside itself.

It holds the metrics, the figures and the largest misses with a picture of each. It has a light and
a dark theme, no scripts, and no links to anything outside. The same input gives the same bytes. The
figures are also written beside it, as SVG and PNG files.
"""

from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ...dataset.questions import LEVELS
from ...dataset.videos import DIMENSIONS
from ..metrics.agreement import Array
from ..metrics.logistic import Logistic
from ..metrics.measure import paired_scores
from . import figures
from .page import template
from .thumbnails import thumbnails

MISSES = 10
"""Rows in a table of largest misses."""


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    *,
    title: str,
    mos_range: tuple[float, float],
    facts: Mapping[str, str],
    categories: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Write the report of one evaluation, and its figures into the folder `figures` beside it.

    Args:
        path: the HTML file to write, in a folder that exists.
        metrics: what `measure` returned.
        predictions: the table that the metrics were computed from.
        title: the heading.
        mos_range: lowest and highest MOS, the range of the figures' axes.
        facts: what the head of the page says, by name: checkpoint, features, number of videos.
        categories: by video id, for those that have one.
        files: the videos' paths, by id, for the pictures of the largest misses.
    """
    predicted, label = paired_scores(predictions)
    x, y = predicted.to_numpy(), label.to_numpy()
    folder = path.parent / "figures"
    folder.mkdir(exist_ok=True)
    panels = [
        _panel(folder, name, x[:, i], y[:, i], mos_range, metrics["dimensions"][name]["curve"])
        for i, name in enumerate(DIMENSIONS)
    ]
    misses = {
        "Overall": _misses(predicted[["overall"]], label[["overall"]]),
        "Any dimension": _misses(predicted, label),
    }
    html = template("report.html", mos_range).render(
        title=title,
        facts=facts,
        metrics=metrics,
        leakage={"videos": [], "reason": ""} | dict(metrics.get("leakage", {})),
        panels=panels,
        outside=_outside(x, mos_range),
        residuals=_residuals(predicted, label, categories or {}),
        confusion=_confusion(predictions),
        levels=LEVELS,
        misses=misses,
        pictures=_pictures(misses, files or {}),
    )
    path.write_text(html + "\n", encoding="utf-8", newline="\n")


def _panel(
    folder: Path,
    name: str,
    predicted: Array,
    label: Array,
    mos_range: tuple[float, float],
    curve: list[float] | None,
) -> dict[str, str]:
    """Draw the two figures of one dimension, as files and for the page."""
    scores, has_label = predicted[~np.isnan(predicted)], ~np.isnan(label)
    x, y = predicted[has_label], label[has_label]
    fitted = None if curve is None else Logistic(*curve)
    panel = {"name": name}
    for kind, title, draw in (
        (
            "scatter",
            f"{name}: prediction against MOS of {len(y)} videos",
            partial(figures.scatter, x, y, mos_range, fitted),
        ),
        (
            "distribution",
            f"{name}: distribution of {len(scores)} predictions and {len(y)} MOS",
            partial(figures.distribution, scores, y, mos_range),
        ),
    ):
        figures.write(draw(figures.LIGHT), folder / f"{kind}-{name}")
        panel[kind] = Markup(figures.element(draw(figures.THEMED), f"{kind}-{name}", title))
    return panel


def _outside(predicted: Array, mos_range: tuple[float, float]) -> int:
    """How many predictions lie outside the MOS range; the figures draw them on its border."""
    return int(((predicted < mos_range[0]) | (predicted > mos_range[1])).sum())


def _misses(predicted: pd.DataFrame, label: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The videos with the largest distance between prediction and label; ties in their order."""
    pairs = pd.DataFrame({"predicted": predicted.stack(), "label": label.stack()}).dropna()
    pairs["miss"] = pairs["predicted"] - pairs["label"]
    largest = pairs["miss"].abs().sort_values(ascending=False, kind="stable").index[:MISSES]
    rows = pairs.loc[largest].rename_axis(["video", "dimension"]).reset_index()
    return rows.to_dict("records")


def _residuals(
    predicted: pd.DataFrame, label: pd.DataFrame, categories: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Quartiles of prediction minus MOS in each category, for the overall score."""
    residual = (predicted["overall"] - label["overall"]).dropna()
    names = pd.Series(residual.index.map(categories), index=residual.index).replace("", None)
    rows = []
    for name, values in residual.groupby(names):
        low, middle, high = np.percentile(values, [25, 50, 75])
        rows.append({"name": name, "n": len(values), "low": low, "middle": middle, "high": high})
    return rows


def _confusion(predictions: pd.DataFrame) -> dict[str, Array]:
    """The share of each predicted level word (column) among the videos of a right one (row)."""
    scores = predictions[(predictions["task"] == "score") & predictions["label"].notna()]
    shares = {}
    for title, rows in (
        ("Overall", scores[scores["item"] == "overall"]),
        ("All dimensions", scores),
    ):
        table = pd.crosstab(rows["label_text"], rows["prediction_text"])
        counts = table.reindex(index=list(LEVELS), columns=list(LEVELS), fill_value=0).to_numpy()
        if counts.sum():
            shares[title] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _pictures(
    misses: Mapping[str, list[dict[Hashable, Any]]], files: Mapping[str, Path]
) -> dict[str, str]:
    """One frame of each missed video, as a data URL."""
    videos = dict.fromkeys(row["video"] for rows in misses.values() for row in rows)
    pictures = {video: thumbnails(files[video], 1) for video in videos if video in files}
    return {video: urls[0] for video, urls in pictures.items() if urls}
