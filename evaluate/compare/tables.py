"""The figures of a comparison as tables, in the shape of the paper's Tables 1 to 3.

Published figures (published.py) are never mixed with measured ones: other people measured them, on
other videos, so they stand apart, under their source, without intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from ...dataset.videos import DIMENSIONS
from ..metrics.answers import ALL
from ..metrics.measure import kind_order
from .comparison import LEAKAGE, QUESTIONS

MEASURED = "measured"
"""The source of a figure that is not published."""

BASELINE = "always the most frequent right answer"
"""The source of the majority baseline, a figure that needs no model."""

TITLES = {
    "srcc": "SRCC",
    "krcc": "KRCC",
    "plcc": "PLCC",
    "plcc_fitted": "PLCC fitted",
    "rmse": "RMSE",
    "rmse_fitted": "RMSE fitted",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
}

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What `finevq.evaluate.compare.comparison.compare` returns."""

Comparison = Mapping[str, Results]
"""The results on each dataset, by its name."""

Column = tuple[str, str, str]
"""The dataset, item and metric of a figure; an item is a dimension or a kind of question."""

_SCORES_METRICS = ("srcc", "krcc", "plcc")
_DATASETS_METRICS = ("srcc", "plcc")
_NAMES_SHOWN = 5
_KEY = ["dataset", "item", "metric"]
_COUNTS = ("n", "predicted", "labelled")


def by_item(results: Results) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The measured figures as {item: {model: {...}}}: dimensions, then kinds of question."""
    items: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, measured in results.items():
        for item, figures in ({**measured} | {**measured.get(QUESTIONS, {})}).items():
            items.setdefault(item, {})[model] = figures
    for key in (QUESTIONS, LEAKAGE):  # these are no items
        items.pop(key, None)
    kinds = sorted(items.keys() - set(DIMENSIONS), key=lambda kind: (kind == ALL, kind_order(kind)))
    return {item: items[item] for item in (*DIMENSIONS, *kinds) if item in items}


def tidy(comparison: Comparison, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """A comparison as a table with a row for each figure.

    Args:
        comparison: the measured figures.
        published: figures to put below them.

    Returns:
        Columns source, dataset, model, item, metric, value, low, high, n, predicted, labelled. The
        interval is from low to high; n is the number of videos or questions measured. Below the
        measured figures stand the baselines of the questions, then the published ones.
    """
    measured, baselines = [], []
    for dataset, results in comparison.items():
        for item, models in by_item(results).items():
            for model, found in models.items():
                covered = found["answered" if "answered" in found else "predicted"]
                counts = (found["n"], covered, found["labelled"])
                for metric, ci in found["ci"].items():
                    figures = (found[metric], *(ci or (None, None)))
                    measured.append((MEASURED, dataset, model, item, metric, *figures, *counts))
            if "majority_baseline" in found:  # which is the same for all models
                figures = (found["majority_baseline"], None, None)
                counts = (found["n"], None, found["labelled"])
                row = (BASELINE, dataset, "majority", item, "accuracy", *figures, *counts)
                baselines.append(row)
    columns = ["source", "dataset", "model", "item", "metric", "value", "low", "high", *_COUNTS]
    table = pd.DataFrame(measured + baselines, columns=columns)
    if published is not None:
        renamed = published.rename(columns={"method": "model"})
        table = pd.concat([table, renamed[[*columns[:6]]]])
    types = dict.fromkeys(("value", "low", "high"), "float64") | dict.fromkeys(_COUNTS, "Int64")
    return table.astype(types).reset_index(drop=True)


@dataclass(frozen=True)
class Section:
    """Rows of a table that have one source.

    Attributes:
        heading: names the source of published figures; empty for measured ones and baselines.
        rows: a row for each model, the columns of the table; NaN where there is no figure.
        best: of the same shape, whether a figure is the best of several measured ones.
    """

    heading: str
    rows: pd.DataFrame
    best: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """A table in the shape of the paper's, with a row for each model and groups of columns.

    Attributes:
        corner: the heading of the groups, such as "Dimension".
        columns: the dataset, item and metric of each column.
        heads: the group and the title of each column.
        sections: measured rows, the baseline, published rows by source; without empty ones.
    """

    corner: str
    columns: Sequence[Column]
    heads: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups, each with its number of columns."""
        groups = groupby(group for group, _ in self.heads)
        return [(name, len([*columns])) for name, columns in groups]


def datasets_table(comparison: Comparison, published: pd.DataFrame | None = None) -> Table | None:
    """Overall scores with datasets as columns, the paper's Table 3.

    None if there is one dataset alone, or no overall scores were measured.
    """
    if len(comparison) == 1:
        return None
    measured = [name for name, results in comparison.items() if "overall" in by_item(results)]
    columns = [(dataset, "overall", metric) for dataset in measured for metric in _DATASETS_METRICS]
    heads = [(dataset, TITLES[metric]) for dataset, _, metric in columns]
    return _table("Dataset", columns, heads, comparison, published)


def scores_table(
    comparison: Comparison, dataset: str, published: pd.DataFrame | None = None
) -> Table | None:
    """Scores with dimensions as columns, the paper's Table 1.

    None if no scores were measured, or only overall ones on one of several datasets, which
    `datasets_table` has.
    """
    items = [item for item in by_item(comparison[dataset]) if item in DIMENSIONS]
    if len(comparison) > 1 and items == ["overall"]:
        return None
    columns = [(dataset, item, metric) for item in items for metric in _SCORES_METRICS]
    heads = [(item.title(), TITLES[metric]) for _, item, metric in columns]
    return _table("Dimension", columns, heads, comparison, published)


def answers_table(
    comparison: Comparison, dataset: str, published: pd.DataFrame | None = None
) -> Table | None:
    """Accuracies with kinds of question as columns, the paper's Table 2; None if there are none."""
    kinds = [item for item in by_item(comparison[dataset]) if item not in DIMENSIONS]
    heads = [(kind.split()[0].capitalize(), kind.split()[-1].capitalize()) for kind in kinds]
    columns = [(dataset, kind, "accuracy") for kind in kinds]
    return _table("Question", columns, heads, comparison, published)


def _table(
    corner: str,
    columns: Sequence[Column],
    heads: Sequence[tuple[str, str]],
    comparison: Comparison,
    published: pd.DataFrame | None,
) -> Table | None:
    if not columns:
        return None
    figures = tidy(comparison, published)
    if len(comparison) == 1:  # a dataset alone may have another name than the published one
        figures = figures.assign(dataset=next(iter(comparison)))
    figures = figures[pd.MultiIndex.from_frame(figures[_KEY]).isin(columns)]
    sections = []
    for source, rows in figures.groupby("source", sort=False):
        wide = rows.pivot(index="model", columns=_KEY, values="value")
        index = pd.MultiIndex.from_tuples(columns, names=_KEY)
        wide = wide.reindex(index=rows["model"].unique(), columns=index)
        best = (wide == wide.max()) & (wide.count() > 1) & (source == MEASURED)
        published_elsewhere = source not in (MEASURED, BASELINE)
        heading = f"published, not measured here: {source}" if published_elsewhere else ""
        sections.append(Section(heading, wide, best))
    return Table(corner, columns, heads, sections)


def leakage_notes(comparison: Comparison) -> list[str]:
    """A line for each model whose checkpoint saw some videos in training, or was not checked."""
    notes = []
    for dataset, results in comparison.items():
        where = f"{dataset}, " if len(comparison) > 1 else ""
        for model, measured in results.items():
            leakage = measured.get(LEAKAGE, {"videos": []})
            if leaked := leakage["videos"]:
                notes.append(f"{where}{model}: {len(leaked)} of the videos were in its training")
            if "reason" in leakage:
                notes.append(f"{where}{model}: {leakage['reason']}")
    return notes


def missing_notes(results: Results) -> list[str]:
    """Which videos models lack: a line for each model and set of videos, with the items."""
    lacking: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for item, models in by_item(results).items():
        for model, figures in models.items():
            if figures["missing"]:
                lacking.setdefault((model, tuple(figures["missing"])), []).append(item)
    return [
        f"{model} lacks {_first_of(videos)} in {', '.join(items)}"
        for (model, videos), items in lacking.items()
    ]


def _first_of(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
