"""A comparison as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .tables import (
    TITLES,
    Comparison,
    Table,
    answers_table,
    by_item,
    datasets_table,
    leakage_notes,
    missing_notes,
    scores_table,
)


def as_text(
    comparison: Comparison, published: pd.DataFrame | None = None, *, width: int = 200
) -> str:
    """The paper's tables, then a block for each dimension and kind of question.

    The tables have measured rows and, below a heading with their source, published ones. A block
    has all metrics of the measured models, with intervals, p-values and coverage. If one dimension
    alone was measured and there are no published rows, there is a block and no table.

    Args:
        comparison: the measured figures.
        published: published figures.
        width: of a line; a wider table is continued below.
    """
    parts = []
    if datasets := datasets_table(comparison, published):
        parts.append(_table_text(datasets, width))
    for name, results in comparison.items():
        parts += [f"{name}\n{'=' * len(name)}"] if len(comparison) > 1 else []
        for shape in (scores_table, answers_table):
            table = shape(comparison, name, published)
            if table and (len(table.groups) > 1 or any(part.heading for part in table.sections)):
                parts.append(_table_text(table, width))
        parts += [_block(*item) for item in by_item(results).items()]
        parts.append("\n".join(missing_notes(results)))
    parts.append("\n".join(leakage_notes(comparison)))
    return "\n\n".join(filter(None, parts))


def _table_text(table: Table, width: int) -> str:
    """A table as text: as many groups of columns side by side as a line has room for."""
    names = [str(model) for section in table.sections for model in section.rows.index]
    name_width = max(map(len, [table.corner, *names]), default=0)
    columns = [
        [title, *(_figure(v) for section in table.sections for v in section.rows.iloc[:, i])]
        for i, (_, title) in enumerate(table.heads)
    ]
    widths = [max(map(len, column)) for column in columns]
    stacks: list[list[tuple[str, list[int]]]] = [[]]
    room, start = width - name_width, 0
    for group, size in table.groups:
        members = [*range(start, start := start + size)]
        widths[members[-1]] += max(0, len(group) - _width_of(members, widths))
        if stacks[-1] and _width_of(members, widths) + 2 > room:
            stacks.append([])
            room = width - name_width
        room -= _width_of(members, widths) + 2
        stacks[-1].append((group, members))
    texts = ["\n".join(_stack(table, name_width, stack, columns, widths)) for stack in stacks]
    return "\n\n".join(texts)


def _width_of(members: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[i] for i in members) + 2 * (len(members) - 1)


def _stack(
    table: Table,
    name_width: int,
    groups: Sequence[tuple[str, list[int]]],
    columns: Sequence[Sequence[str]],
    widths: Sequence[int],
) -> list[str]:
    """The lines of some groups of columns, one below the other."""
    titles = [group.ljust(_width_of(members, widths)) for group, members in groups]
    shown = [i for _, members in groups for i in members]
    lines = ["  ".join([table.corner.ljust(name_width), *titles]).rstrip()]

    def line(name: str, row: int) -> str:
        cells = (columns[i][row].rjust(widths[i]) for i in shown)
        return "  ".join([name.ljust(name_width), *cells])

    lines.append(line("", 0))
    row = 0
    for section in table.sections:
        lines += [section.heading] if section.heading else []
        for model in section.rows.index:
            row += 1
            lines.append(line(str(model), row))
    return lines


def _block(item: str, models: Mapping[str, Mapping[str, Any]]) -> str:
    """All metrics of a dimension or a kind of question, with a line for each model."""
    first, figures = next(iter(models.items()))
    is_question = "majority_baseline" in figures
    metrics = list(figures["ci"])
    title = TITLES[metrics[0]]
    labelled = "questions with a right answer" if is_question else "labelled videos"
    head = f"{item}: {figures['n']} of {figures['labelled']} {labelled}"
    if len(models) > 1:
        verb = "answer" if is_question else "predict"
        head += f", those that all {verb}; p: {title} against {first}"
    covered = "answered" if is_question else "predicted"
    rows = [["", covered, *(TITLES[m] for m in metrics), f"{title} 95 %", "p"]]
    if len(models) == 1:
        rows[0].pop()
    rows += [_row(model, one, covered, first) for model, one in models.items()]
    if is_question:
        rows.append(["majority", "", _figure(figures["majority_baseline"])])
    reasons = {f"  {m}: {one['reason']}" for m, one in models.items() if "reason" in one}
    return "\n".join([head, *_aligned(rows, 1 + len(metrics)), *sorted(reasons)])


def _row(model: str, figures: Mapping[str, Any], covered: str, first: str) -> list[str]:
    metric, ci = next(iter(figures["ci"].items()))
    cells = [model, f"{figures[covered]}/{figures['labelled']}"]
    cells += [_figure(figures[metric]) for metric in figures["ci"]]
    cells.append(f"{ci[0]:.3f} to {ci[1]:.3f}" if ci else "-")
    if first in figures["against"]:
        p = figures["against"][first].get(metric, {}).get("p")
        cells.append("-" if p is None else f"{p:.3f}")
    return cells


def _figure(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"


def _aligned(rows: list[list[str]], figures: int) -> list[str]:
    """Lines of cells in columns: the name, then so many figures aligned right, then the rest."""
    columns = max(map(len, rows))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if 0 < i <= figures else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]
