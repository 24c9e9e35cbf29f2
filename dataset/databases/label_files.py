"""Reading the label files of databases: lists without a header, CSV tables, MATLAB files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ...errors import DatasetError
from ..tables import read_csv
from .matlab import read_matlab


def read_list(
    path: Path, columns: tuple[str, ...] = ("duration", "fps", "overall")
) -> pd.DataFrame:
    """A file without a header: a name and as many numbers a line, -1 for one that is not known.

    Args:
        path: the file.
        columns: what the numbers are; those that are -1 throughout are left out.

    Raises:
        DatasetError: a line has another number of columns, or a cell is not a number.
    """
    table = read_csv(path, header=None, skipinitialspace=True)
    if table.shape[1] != 1 + len(columns):
        raise DatasetError(
            f"{path}: {table.shape[1]} columns, not a name and {len(columns)} numbers"
        )
    table.columns = pd.Index(["video", *columns])
    for name in columns:
        table[name] = to_numbers(path, table, name)
    known = [name for name in columns if name == "overall" or not (table[name] == -1).all()]
    return table[["video", *known]]


def read_table(
    path: Path, columns: Mapping[str, str], extension: str = "", text: Sequence[str] = ()
) -> pd.DataFrame:
    """A CSV file with a header.

    Args:
        path: the file.
        columns: the file's names for `video`, for each dimension, and for other columns to keep.
        extension: is appended to the videos' names, where the file leaves it out.
        text: which of the other columns hold text; `part` always does.

    Raises:
        DatasetError: a column is missing, or a MOS is not a number.
    """
    table = read_csv(path)
    for theirs in columns.values():
        if theirs not in table.columns:
            raise DatasetError(
                f"{path}: no column {theirs!r}; the columns are {', '.join(table.columns)}"
            )
    table = table[list(columns.values())].set_axis(list(columns), axis=1)
    table["video"] += extension
    for name in columns:
        if name not in ("video", "part", *text):
            table[name] = to_numbers(path, table, name)
    return table


def read_mat(path: Path, columns: Mapping[str, str], extension: str = "") -> pd.DataFrame:
    """A MATLAB file with a vector of names and vectors of numbers; arguments as in `read_table`.

    Raises:
        DatasetError: a vector is missing, or they differ in length.
    """
    vectors = read_matlab(path)
    missing = [name for name in columns.values() if name not in vectors]
    if missing:
        known = ", ".join(vectors)
        raise DatasetError(f"{path}: no vector {missing[0]!r}; the vectors are {known}")
    selected = {ours: vectors[theirs] for ours, theirs in columns.items()}
    if len({len(column) for column in selected.values()}) > 1:
        raise DatasetError(f"{path}: {', '.join(columns.values())} differ in length")
    table = pd.DataFrame(selected)
    table["video"] = table["video"].astype(str) + extension
    return table


def to_numbers(path: Path, table: pd.DataFrame, name: str) -> "pd.Series[float]":
    """A column of text as numbers, NaN where a cell is empty.

    Raises:
        DatasetError: a cell is not a number.
    """
    values = pd.to_numeric(table[name], errors="coerce")
    wrong = values.isna() & (table[name].astype(str).str.strip() != "")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DatasetError(f"{path}: {name} of {table['video'].iloc[row]!r} is not a number")
    return values.astype(float)
