"""A comparison as LaTeX, in the shape of the paper's tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .tables import Comparison, Table, answers_table, datasets_table, scores_table

_ESCAPES = str.maketrans({c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}"})


def as_latex(comparison: Comparison, published: pd.DataFrame | None = None) -> str:
    """Booktabs tables in the shape of the paper's, with a row for each model.

    The table of scores has SRCC, KRCC and PLCC of each dimension; the table of answers, if there
    are any, the accuracy on each kind of question. Of several datasets each has these tables, and
    a first one has SRCC and PLCC of all datasets. The best measured figure of a column is bold.
    Published rows follow below a rule and their source.
    """
    tables = [("all datasets", datasets_table(comparison, published))]
    for name in comparison:
        tables.append((name, scores_table(comparison, name, published)))
        tables.append((name, answers_table(comparison, name, published)))
    return "\n\n".join(
        "\n".join([*([f"% {name}"] if len(comparison) > 1 else []), *_lines(table)])
        for name, table in tables
        if table
    )


def _lines(table: Table) -> list[str]:
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}" for name, width in table.groups]
    width = len(table.columns)
    lines = [
        rf"\begin{{tabular}}{{l{'c' * width}}}",
        r"\toprule",
        " & ".join([table.corner, *groups]) + r" \\",
        " & ".join(["Model", *(title for _, title in table.heads)]) + r" \\",
    ]
    metrics: Sequence[str] = [metric for _, _, metric in table.columns]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.heading:
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{{escaped(section.heading)}}} \\")
        rows = zip(
            section.rows.index, section.rows.to_numpy(), section.best.to_numpy(), strict=True
        )
        for model, values, best in rows:
            cells = map(_figure, values, metrics, best)
            lines.append(" & ".join([escaped(str(model)), *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def escaped(text: str) -> str:
    """A text with the characters that mean something to LaTeX escaped."""
    return text.translate(_ESCAPES)


def _figure(value: float, metric: str, best: bool) -> str:
    if np.isnan(value):
        return "--"
    text = rf"{100 * value:.2f}\%" if metric == "accuracy" else f"{value:.4f}"
    return rf"\textbf{{{text}}}" if best else text
