"""Published figures, which ship in published.csv, each with its source."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...errors import FineVQError

PUBLISHED = Path(__file__).with_name("published.csv")


def published(dataset: str) -> pd.DataFrame:
    """The published figures on a dataset.

    Returns:
        Columns source, dataset, method, item (a dimension or a kind of question), metric, value.

    Raises:
        FineVQError: there are none; the message lists the datasets that have some.
    """
    table = pd.read_csv(PUBLISHED)
    figures = table[table["dataset"].str.lower() == dataset.lower()]
    if figures.empty:
        known = ", ".join(sorted(table["dataset"].unique()))
        raise FineVQError(f"no published figures on {dataset!r}; there are some on {known}")
    return figures


def published_beside(wanted: Sequence[str], compared: Sequence[str]) -> pd.DataFrame | None:
    """The published figures to show beside a comparison.

    Args:
        wanted: the datasets that they were measured on.
        compared: the datasets of the comparison. One alone may have any name; several must have the
            names that the figures are published under.

    Raises:
        FineVQError: a dataset has no published figures, or is not in the comparison.
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
    renamed = [
        table.assign(dataset=names[dataset.lower()])
        for dataset, table in zip(wanted, tables, strict=True)
    ]
    return pd.concat(renamed) if renamed else None
