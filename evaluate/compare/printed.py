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


def as_text(comparison: Comparison, others: pd.DataFrame | None = None, *, width: int = 200) -> str:
    """The paper's tables, then a block for each dimension and kind of question.

    The tables have measured rows and, under a heading of their own, published ones. A block has
    all metrics of the measured models with intervals, p and coverage. A single dimension without
    published rows has its block alone.

    Args:
        comparison: what is measured.
        others: published figures.
        width: of a line; a table that is wider goes on below.
    """
    parts = []
    if over := datasets_table(comparison, others):
        parts.append(_wide(over, width))
    for name, results in comparison.items():
        parts += [f"{name}\n{'=' * len(name)}"] if len(comparison) > 1 else []
        for shape in (scores_table, answers_table):
            table = shape(comparison, name, others)
            if table and (len(table.groups) > 1 or any(part.heading for part in table.sections)):
                parts.append(_wide(table, width))
        parts += [_block(*item) for item in by_item(results).items()]
        parts.append("\n".join(missing_notes(results)))
    parts.append("\n".join(leakage_notes(comparison)))
    return "\n\n".join(filter(None, parts))


def _wide(table: Table, width: int) -> str:
    """A table with groups of columns, as many beside each other as there is room for."""
    names = [str(model) for section in table.sections for model in section.rows.index]
    first = max(map(len, [table.corner, *names]), default=0)
    columns = [
        [title, *(_figure(v) for section in table.sections for v in section.rows.iloc[:, i])]
        for i, (_, title) in enumerate(table.heads)
    ]
    widths = [max(map(len, column)) for column in columns]
    stacks: list[list[tuple[str, list[int]]]] = [[]]
    room, at = width - first, 0
    for group, size in table.groups:
        members = [*range(at, at := at + size)]
        widths[members[-1]] += max(0, len(group) - _wide_of(members, widths))
        if stacks[-1] and _wide_of(members, widths) + 2 > room:
            stacks.append([])
            room = width - first
        room -= _wide_of(members, widths) + 2
        stacks[-1].append((group, members))
    return "\n\n".join("\n".join(_stack(table, first, stack, columns, widths)) for stack in stacks)


def _wide_of(members: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[i] for i in members) + 2 * (len(members) - 1)


def _stack(
    table: Table,
    first: int,
    groups: Sequence[tuple[str, list[int]]],
    columns: Sequence[Sequence[str]],
    widths: Sequence[int],
) -> list[str]:
    over = [group.ljust(_wide_of(members, widths)) for group, members in groups]
    shown = [i for _, members in groups for i in members]
    lines = ["  ".join([table.corner.ljust(first), *over]).rstrip()]

    def line(name: str, row: int) -> str:
        return "  ".join([name.ljust(first), *(columns[i][row].rjust(widths[i]) for i in shown)])

    lines.append(line("", 0))
    row = 0
    for section in table.sections:
        lines += [section.heading] if section.heading else []
        for model in section.rows.index:
            row += 1
            lines.append(line(str(model), row))
    return lines


def _block(item: str, having: Mapping[str, Mapping[str, Any]]) -> str:
    first, found = next(iter(having.items()))
    asked = "majority_baseline" in found
    metrics = list(found["ci"])
    title = TITLES[metrics[0]]
    counted = "questions with a right answer" if asked else "labelled videos"
    head = f"{item}: {found['n']} of {found['labelled']} {counted}"
    if len(having) > 1:
        head += f", those that all {'answer' if asked else 'predict'}; p: {title} against {first}"
    covered = "answered" if asked else "predicted"
    rows = [["", covered, *(TITLES[m] for m in metrics), f"{title} 95 %", "p"]]
    if len(having) == 1:
        rows[0].pop()
    rows += [_row(model, one, covered, first) for model, one in having.items()]
    if asked:
        rows.append(["majority", "", _figure(found["majority_baseline"])])
    reasons = {f"  {m}: {one['reason']}" for m, one in having.items() if "reason" in one}
    return "\n".join([head, *_aligned(rows, 1 + len(metrics)), *sorted(reasons)])


def _row(model: str, found: Mapping[str, Any], covered: str, first: str) -> list[str]:
    metric, ci = next(iter(found["ci"].items()))
    cells = [model, f"{found[covered]}/{found['labelled']}"]
    cells += [_figure(found[metric]) for metric in found["ci"]]
    cells.append(f"{ci[0]:.3f} to {ci[1]:.3f}" if ci else "-")
    if first in found["against"]:
        p = found["against"][first].get(metric, {}).get("p")
        cells.append("-" if p is None else f"{p:.3f}")
    return cells


def _figure(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"


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
