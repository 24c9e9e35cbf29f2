"""Tables of a comparison, printed, as CSV and as LaTeX, in the shape of the paper's Tables 1 and 3.

Published figures ship in published.csv, each with its source. They are never mixed with measured
ones: other videos and other code made them, so they stand apart, marked, without intervals.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..dataset.videos import DIMENSIONS
from ..errors import FineVQError
from .agreement import METRICS

PUBLISHED = Path(__file__).with_name("published.csv")

MEASURED = "measured"
"""The source of a figure that is not published."""

TITLES = {
    "srcc": "SRCC",
    "krcc": "KRCC",
    "plcc": "PLCC",
    "plcc_fitted": "PLCC fitted",
    "rmse": "RMSE",
    "rmse_fitted": "RMSE fitted",
}

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


def tidy(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], others: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row a figure.

    Args:
        results: of `finevq.evaluate.compare.compare`.
        others: published figures to put below them.

    Returns:
        Columns source, model, item, metric, value, low, high, n; low to high is the interval.
    """
    rows = [
        {
            "source": MEASURED,
            "model": model,
            "item": dimension,
            "metric": metric,
            "value": found[metric],
            "low": (found["ci"][metric] or (None, None))[0],
            "high": (found["ci"][metric] or (None, None))[1],
            "n": found["n"],
        }
        for model, dimensions in results.items()
        for dimension, found in dimensions.items()
        for metric in METRICS
    ]
    columns = ["source", "model", "item", "metric", "value", "low", "high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    if others is not None:
        renamed = others.rename(columns={"method": "model"})
        table = pd.concat([table, renamed[["source", "model", "item", "metric", "value"]]])
    types = {"value": "float64", "low": "float64", "high": "float64", "n": "Int64"}
    return table.astype(types).reset_index(drop=True)


def as_text(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], others: pd.DataFrame | None = None
) -> str:
    """A block for each dimension: measured models with intervals, then published ones, marked."""
    blocks = []
    for dimension in DIMENSIONS:
        having = {m: found[dimension] for m, found in results.items() if dimension in found}
        if not having:
            continue
        first = next(iter(having.values()))
        head = f"{dimension}: {first['n']} of {first['labelled']} labelled videos"
        if len(having) > 1:
            head += f", those that all predict; p: SRCC against {next(iter(having))}"
        rows = [["", *TITLES.values(), "SRCC 95 %", *(["p"] if len(having) > 1 else [])]]
        rows += [_text_row(model, found, next(iter(having))) for model, found in having.items()]
        rows += _published_rows(others, dimension, len(rows[0]))
        reasons = {f"  {m}: {found['reason']}" for m, found in having.items() if "reason" in found}
        blocks.append("\n".join([head, *_aligned(rows), *sorted(reasons)]))
    return "\n\n".join(blocks)


def _text_row(model: str, found: Mapping[str, Any], first: str) -> list[str]:
    ci = found["ci"]["srcc"]
    cells = [model, *(_figure(found[metric]) for metric in METRICS)]
    cells.append(f"{ci[0]:.3f} to {ci[1]:.3f}" if ci else "-")
    if first in found["against"]:
        p = found["against"][first].get("srcc", {}).get("p")
        cells.append("-" if p is None else f"{p:.3f}")
    return cells


def _published_rows(others: pd.DataFrame | None, dimension: str, columns: int) -> list[list[str]]:
    if others is None:
        return []
    rows = []
    here = others[others["item"] == dimension]
    for (source, method), found in here.groupby(["source", "method"], sort=False):
        values = dict(zip(found["metric"], found["value"], strict=True))
        cells = [_figure(values.get(metric)) for metric in METRICS]
        empty = [""] * (columns - len(cells) - 1)
        rows.append([str(method), *cells, *empty, f"published: {source}"])
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    most = max(map(len, rows))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(most)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if 0 < i <= len(METRICS) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def as_latex(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], others: pd.DataFrame | None = None
) -> str:
    """A booktabs table: a row a model, SRCC, KRCC and PLCC of each dimension, as the paper has it.

    The best measured figure of a column is bold. Published rows follow under a line of their own.
    """
    table = tidy(results, others)
    dimensions = [d for d in DIMENSIONS if d in {d for found in results.values() for d in found}]
    columns = [(d, m) for d in dimensions for m in _LATEX_METRICS]
    lines = [
        rf"\begin{{tabular}}{{l{'c' * len(columns)}}}",
        r"\toprule",
        " & ".join(["Dimension", *(rf"\multicolumn{{3}}{{c}}{{{d.title()}}}" for d in dimensions)])
        + r" \\",
        " & ".join(["Model", *(TITLES[metric] for _, metric in columns)]) + r" \\",
    ]
    for source, rows in table.groupby("source", sort=False):
        lines.append(r"\midrule")
        if source != MEASURED:
            note = f"published, not measured here: {source}".translate(_ESCAPES)
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{{note}}} \\")
        wide = rows.pivot(index="model", columns=["item", "metric"], values="value")
        wide = wide.reindex(
            index=rows["model"].unique(), columns=pd.MultiIndex.from_tuples(columns)
        )
        wide = wide.dropna(how="all")
        figures = wide.to_numpy()
        compared = source == MEASURED and len(figures) > 1
        best = (
            figures == np.nanmax(figures, axis=0)
            if compared
            else np.zeros_like(figures, dtype=np.bool_)
        )
        for model, values, bold in zip(wide.index, figures, best, strict=True):
            cells = map(_latex_figure, values, bold)
            lines.append(" & ".join([str(model).translate(_ESCAPES), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_figure(value: float, bold: bool) -> str:
    if np.isnan(value):
        return "--"
    return rf"\textbf{{{value:.4f}}}" if bold else f"{value:.4f}"
