"""The figures of a comparison as tables, in the shape of the paper's Tables 1 to 3.

Published figures ship in published.csv, each with its source. They are never mixed with measured
ones: other videos and other code made them, so they stand apart, marked, without intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from ...dataset.videos import DIMENSIONS
from ...errors import FineVQError
from ..metrics.answers import ALL
from ..metrics.measure import kind_order
from .comparison import LEAKAGE, QUESTIONS

PUBLISHED = Path(__file__).with_name("published.csv")

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

_OF_SCORES = ("srcc", "krcc", "plcc")
_OF_DATASETS = ("srcc", "plcc")
_FEW = 5
_KEY = ["dataset", "item", "metric"]
_COUNTS = ("n", "predicted", "labelled")


def published(dataset: str) -> pd.DataFrame:
    """The published figures on a dataset.

    Returns:
        Columns source, dataset, method, item (a dimension or a kind of question), metric, value.

    Raises:
        FineVQError: there are none; the message lists the datasets that have some.
    """
    table = pd.read_csv(PUBLISHED)
    found = table[table["dataset"].str.lower() == dataset.lower()]
    if found.empty:
        known = ", ".join(sorted(table["dataset"].unique()))
        raise FineVQError(f"no published figures on {dataset!r}; there are some on {known}")
    return found


def published_beside(wanted: Sequence[str], compared: Sequence[str]) -> pd.DataFrame | None:
    """The published figures to stand beside a comparison.

    Args:
        wanted: the datasets that they were measured on.
        compared: the datasets of the comparison; one may have any name, several must have those
            that they are published under.

    Raises:
        FineVQError: there are none, or it is not known beside which dataset they belong.
    """
    tables = [published(dataset) for dataset in wanted]
    if len(compared) == 1:
        if len(tables) > 1:
            raise FineVQError("--published is given twice for one dataset; choose one of them")
        return tables[0] if tables else None
    names = {name.lower(): name for name in compared}
    for dataset in wanted:
        if dataset.lower() not in names:
            raise FineVQError(
                f"--published {dataset}: none of the datasets {', '.join(compared)} is called so; "
                f"name one, as in --labels {dataset}=FILE.csv"
            )
    placed = [
        table.assign(dataset=names[dataset.lower()])
        for dataset, table in zip(wanted, tables, strict=True)
    ]
    return pd.concat(placed) if placed else None


def by_item(results: Results) -> dict[str, dict[str, Mapping[str, Any]]]:
    """What is measured, {item: {model: {...}}}: the dimensions, then the kinds of question."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, measured in results.items():
        for item, figures in ({**measured} | {**measured.get(QUESTIONS, {})}).items():
            found.setdefault(item, {})[model] = figures
    for beside in (QUESTIONS, LEAKAGE):
        found.pop(beside, None)
    kinds = sorted(found.keys() - set(DIMENSIONS), key=lambda kind: (kind == ALL, kind_order(kind)))
    return {item: found[item] for item in (*DIMENSIONS, *kinds) if item in found}


def tidy(comparison: Comparison, others: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a figure.

    Args:
        comparison: what is measured.
        others: published figures to put below it.

    Returns:
        Columns source, dataset, model, item, metric, value, low, high, n, predicted, labelled; low
        to high is the interval, n the number of videos or questions measured. Below the measured
        figures are the baselines of the questions, then the published ones.
    """
    measured, baselines = [], []
    for dataset, results in comparison.items():
        for item, having in by_item(results).items():
            for model, found in having.items():
                covered = found["answered" if "answered" in found else "predicted"]
                counts = (found["n"], covered, found["labelled"])
                for metric, ci in found["ci"].items():
                    figures = (found[metric], *(ci or (None, None)))
                    measured.append((MEASURED, dataset, model, item, metric, *figures, *counts))
            if "majority_baseline" in found:  # the same for all of them
                figures = (found["majority_baseline"], None, None)
                counts = (found["n"], None, found["labelled"])
                row = (BASELINE, dataset, "majority", item, "accuracy", *figures, *counts)
                baselines.append(row)
    columns = ["source", "dataset", "model", "item", "metric", "value", "low", "high", *_COUNTS]
    table = pd.DataFrame(measured + baselines, columns=columns)
    if others is not None:
        renamed = others.rename(columns={"method": "model"})
        table = pd.concat([table, renamed[[*columns[:6]]]])
    types = dict.fromkeys(("value", "low", "high"), "float64") | dict.fromkeys(_COUNTS, "Int64")
    return table.astype(types).reset_index(drop=True)


@dataclass(frozen=True)
class Section:
    """Rows of a table that have one source.

    Attributes:
        heading: what sets them apart from measured figures; empty for measured ones.
        rows: a row a model, a column each of the table's, NaN where there is no figure.
        best: of the same shape: the best of several measured figures of a column.
    """

    heading: str
    rows: pd.DataFrame
    best: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """A table with a row a model, as the paper's.

    Attributes:
        corner: what the groups of columns are.
        columns: where the figure of each comes from.
        heads: the group and the title of each.
        sections: measured rows, a baseline, published rows by source; those that have a figure.
    """

    corner: str
    columns: Sequence[Column]
    heads: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups, each with its number of columns."""
        return [(name, len([*found])) for name, found in groupby(group for group, _ in self.heads)]


def datasets_table(comparison: Comparison, others: pd.DataFrame | None = None) -> Table | None:
    """Datasets as columns, the paper's Table 3: overall scores.

    None where there is one dataset alone, or no overall scores are measured.
    """
    if len(comparison) == 1:
        return None
    measured = [name for name, results in comparison.items() if "overall" in by_item(results)]
    columns = [(dataset, "overall", metric) for dataset in measured for metric in _OF_DATASETS]
    heads = [(dataset, TITLES[metric]) for dataset, _, metric in columns]
    return _table("Dataset", columns, heads, comparison, others)


def scores_table(
    comparison: Comparison, dataset: str, others: pd.DataFrame | None = None
) -> Table | None:
    """Dimensions as columns, the paper's Table 1.

    None where no scores are measured, or overall ones alone on one dataset of several: these stand
    in `datasets_table`.
    """
    items = [item for item in by_item(comparison[dataset]) if item in DIMENSIONS]
    if len(comparison) > 1 and items == ["overall"]:
        return None
    columns = [(dataset, item, metric) for item in items for metric in _OF_SCORES]
    heads = [(item.title(), TITLES[metric]) for _, item, metric in columns]
    return _table("Dimension", columns, heads, comparison, others)


def answers_table(
    comparison: Comparison, dataset: str, others: pd.DataFrame | None = None
) -> Table | None:
    """Kinds of question as columns, the paper's Table 2; None where none is measured."""
    kinds = [item for item in by_item(comparison[dataset]) if item not in DIMENSIONS]
    heads = [(kind.split()[0].capitalize(), kind.split()[-1].capitalize()) for kind in kinds]
    columns = [(dataset, kind, "accuracy") for kind in kinds]
    return _table("Question", columns, heads, comparison, others)


def _table(
    corner: str,
    columns: Sequence[Column],
    heads: Sequence[tuple[str, str]],
    comparison: Comparison,
    others: pd.DataFrame | None,
) -> Table | None:
    if not columns:
        return None
    figures = tidy(comparison, others)
    if len(comparison) == 1:  # its name need not be the one that it is published under
        figures = figures.assign(dataset=next(iter(comparison)))
    figures = figures[pd.MultiIndex.from_frame(figures[_KEY]).isin(columns)]
    sections = []
    for source, rows in figures.groupby("source", sort=False):
        wide = rows.pivot(index="model", columns=_KEY, values="value")
        chosen = pd.MultiIndex.from_tuples(columns, names=_KEY)
        wide = wide.reindex(index=rows["model"].unique(), columns=chosen)
        best = (wide == wide.max()) & (wide.count() > 1) & (source == MEASURED)
        here = source in (MEASURED, BASELINE)
        heading = "" if here else f"published, not measured here: {source}"
        sections.append(Section(heading, wide, best))
    return Table(corner, columns, heads, sections)


def leakage_notes(comparison: Comparison) -> list[str]:
    """What is to be said of videos that checkpoints were trained on, a line each."""
    notes = []
    for dataset, results in comparison.items():
        where = f"{dataset}, " if len(comparison) > 1 else ""
        for model, measured in results.items():
            found = measured.get(LEAKAGE, {"videos": []})
            if leaked := found["videos"]:
                notes.append(f"{where}{model}: {len(leaked)} of the videos were in its training")
            if "reason" in found:
                notes.append(f"{where}{model}: {found['reason']}")
    return notes


def missing_notes(results: Results) -> list[str]:
    """Which videos models lack, a line for each model and what it lacks them in."""
    lacking: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for item, having in by_item(results).items():
        for model, found in having.items():
            if found["missing"]:
                lacking.setdefault((model, tuple(found["missing"])), []).append(item)
    return [
        f"{model} lacks {few(videos)} in {', '.join(items)}"
        for (model, videos), items in lacking.items()
    ]


def few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
