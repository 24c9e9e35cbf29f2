"""Tables of a comparison, printed, as CSV and as LaTeX, in the shape of the paper's Tables 1 to 3.

Published figures ship in published.csv, each with its source. They are never mixed with measured
ones: other videos and other code made them, so they stand apart, marked, without intervals.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..dataset.videos import DIMENSIONS
from ..errors import FineVQError
from .answers import ALL
from .compare import QUESTIONS
from .metrics import kind_order

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
}

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What `finevq.evaluate.compare.compare` returns."""

_LATEX_METRICS = ("srcc", "krcc", "plcc")
_ESCAPES = str.maketrans({c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}"})


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


def by_item(results: Results) -> dict[str, dict[str, Mapping[str, Any]]]:
    """What is measured, {item: {model: {...}}}: the dimensions, then the kinds of question."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, measured in results.items():
        for item, figures in ({**measured} | {**measured.get(QUESTIONS, {})}).items():
            found.setdefault(item, {})[model] = figures
    found.pop(QUESTIONS, None)
    kinds = sorted(found.keys() - set(DIMENSIONS), key=lambda kind: (kind == ALL, kind_order(kind)))
    return {item: found[item] for item in (*DIMENSIONS, *kinds) if item in found}


def tidy(results: Results, others: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a figure.

    Args:
        results: what is measured.
        others: published figures to put below it.

    Returns:
        Columns source, model, item, metric, value, low, high, n; low to high is the interval.
        Below the measured figures are the baselines of the questions, then the published ones.
    """
    measured, baselines = [], []
    for item, having in by_item(results).items():
        for model, found in having.items():
            for metric, ci in found["ci"].items():
                low, high = ci or (None, None)
                row = (MEASURED, model, item, metric, found[metric], low, high, found["n"])
                measured.append(row)
        if "majority_baseline" in found:  # the same for all of them
            value = found["majority_baseline"]
            row = (BASELINE, "majority", item, "accuracy", value, None, None, found["n"])
            baselines.append(row)
    columns = ["source", "model", "item", "metric", "value", "low", "high", "n"]
    table = pd.DataFrame(measured + baselines, columns=columns)
    if others is not None:
        renamed = others.rename(columns={"method": "model"})
        table = pd.concat([table, renamed[["source", "model", "item", "metric", "value"]]])
    types = {"value": "float64", "low": "float64", "high": "float64", "n": "Int64"}
    return table.astype(types).reset_index(drop=True)


def as_text(results: Results, others: pd.DataFrame | None = None) -> str:
    """A block for each dimension: measured models with intervals, then published ones, marked.

    Below them is such a block for each kind of question, with the majority baseline.
    """
    return "\n\n".join(_block(*item, others) for item in by_item(results).items())


def _block(item: str, having: Mapping[str, Mapping[str, Any]], others: pd.DataFrame | None) -> str:
    first, found = next(iter(having.items()))
    asked = "majority_baseline" in found
    metrics = list(found["ci"])
    title = TITLES[metrics[0]]
    counted = "questions with a right answer" if asked else "labelled videos"
    head = f"{item}: {found['n']} of {found['labelled']} {counted}"
    if len(having) > 1:
        head += f", those that all {'answer' if asked else 'predict'}; p: {title} against {first}"
    rows = [
        ["", *(TITLES[m] for m in metrics), f"{title} 95 %", *(["p"] if len(having) > 1 else [])]
    ]
    rows += [_text_row(model, one, first) for model, one in having.items()]
    if asked:
        rows.append(["majority", _figure(found["majority_baseline"])])
    rows += _published_rows(others, item, metrics, len(rows[0]))
    reasons = {f"  {m}: {one['reason']}" for m, one in having.items() if "reason" in one}
    return "\n".join([head, *_aligned(rows, len(metrics)), *sorted(reasons)])


def _text_row(model: str, found: Mapping[str, Any], first: str) -> list[str]:
    metric, ci = next(iter(found["ci"].items()))
    cells = [model, *(_figure(found[metric]) for metric in found["ci"])]
    cells.append(f"{ci[0]:.3f} to {ci[1]:.3f}" if ci else "-")
    if first in found["against"]:
        p = found["against"][first].get(metric, {}).get("p")
        cells.append("-" if p is None else f"{p:.3f}")
    return cells


def _published_rows(
    others: pd.DataFrame | None, item: str, metrics: Sequence[str], columns: int
) -> list[list[str]]:
    if others is None:
        return []
    rows = []
    here = others[others["item"] == item]
    for (source, method), found in here.groupby(["source", "method"], sort=False):
        values = dict(zip(found["metric"], found["value"], strict=True))
        cells = [_figure(values.get(metric)) for metric in metrics]
        empty = [""] * (columns - len(cells) - 1)
        rows.append([str(method), *cells, *empty, f"published: {source}"])
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _aligned(rows: list[list[str]], figures: int) -> list[str]:
    """Lines of cells in columns; the figures, which follow the name, to the right."""
    most = max(map(len, rows))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(most)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if 0 < i <= figures else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def as_latex(results: Results, others: pd.DataFrame | None = None) -> str:
    """Booktabs tables as the paper has them, a row a model.

    One has SRCC, KRCC and PLCC of each dimension; where questions are measured, a second one has
    the accuracy on each kind. The best measured figure of a column is bold. Published rows follow
    under a line of their own.
    """
    items, figures = by_item(results), tidy(results, others)
    scores = [(item, metric) for item in items if item in DIMENSIONS for metric in _LATEX_METRICS]
    answers = [(item, "accuracy") for item in items if item not in DIMENSIONS]
    tables = []
    if scores:
        heads = [(dimension.title(), TITLES[metric]) for dimension, metric in scores]
        tables.append(_latex_table(figures, scores, "Dimension", heads))
    if answers:
        heads = [
            (kind.split()[0].capitalize(), kind.split()[-1].capitalize()) for kind, _ in answers
        ]
        tables.append(_latex_table(figures, answers, "Question", heads))
    return "\n\n".join(tables)


def _latex_table(
    figures: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    corner: str,
    heads: Sequence[tuple[str, str]],
) -> str:
    """One table.

    Args:
        figures: of `tidy`.
        columns: the item and metric of each.
        corner: what the groups of columns are.
        heads: the group and title of each column.
    """
    groups = [(name, len(list(found))) for name, found in groupby(group for group, _ in heads)]
    over = [rf"\multicolumn{{{width}}}{{c}}{{{name}}}" for name, width in groups]
    lines = [
        rf"\begin{{tabular}}{{l{'c' * len(columns)}}}",
        r"\toprule",
        " & ".join([corner, *over]) + r" \\",
        " & ".join(["Model", *(title for _, title in heads)]) + r" \\",
    ]
    for source, rows in figures.groupby("source", sort=False):
        wide = rows.pivot(index="model", columns=["item", "metric"], values="value")
        index, chosen = rows["model"].unique(), pd.MultiIndex.from_tuples(columns)
        wide = wide.reindex(index=index, columns=chosen).dropna(how="all")
        if wide.empty:
            continue
        lines.append(r"\midrule")
        if source not in (MEASURED, BASELINE):
            note = f"published, not measured here: {source}".translate(_ESCAPES)
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{{note}}} \\")
        compared = source == MEASURED and len(wide) > 1
        best = (wide == wide.max()) & compared
        for model, values, bold in zip(wide.index, wide.to_numpy(), best.to_numpy(), strict=True):
            cells = map(_latex_figure, values, (metric for _, metric in columns), bold)
            lines.append(" & ".join([str(model).translate(_ESCAPES), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_figure(value: float, metric: str, bold: bool) -> str:
    if np.isnan(value):
        return "--"
    text = rf"{100 * value:.2f}\%" if metric == "accuracy" else f"{value:.4f}"
    return rf"\textbf{{{text}}}" if bold else text
