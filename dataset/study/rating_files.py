"""Reading the raw ratings of a study from a CSV file.

A file is long (`subject,video,dimension,score`, a row a rating) or wide (`video`, perhaps
`dimension`, and a column for each subject).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from ...errors import DatasetError
from ..tables import read_csv, refuse_rows
from ..videos import DIMENSIONS
from .ratings import Array, Index, Mask, Ratings

_NAMES = ("subject", "video", "dimension", "score")
"""Our names of the columns."""


def load_ratings(
    path: Path,
    *,
    scale: tuple[float, float] = (1.0, 5.0),
    dimension: str = "overall",
    columns: Mapping[str, str] | None = None,
    missing: str = "",
) -> Ratings:
    """Read raw ratings.

    Args:
        path: a CSV file: long if it has the columns `subject` and `score`, else wide.
        scale: lowest and highest score that could be given.
        dimension: what was rated, for a file without a column `dimension`.
        columns: the file's own names for `subject`, `video`, `dimension`, `score`.
        missing: what stands for "not rated" in the file; an empty cell always does.

    Raises:
        DatasetError: not a UTF-8 CSV file, a missing column, a score that is not a number on the
            scale, an unknown dimension, an empty name, or a rating given twice.
    """
    names = dict(zip(_NAMES, _NAMES, strict=True)) | dict(columns or {})
    header = list(read_csv(path, nrows=0).columns)
    require_columns(path, header, [*(columns or {}).values(), names["video"]])
    if {names["subject"], names["score"]} <= set(header):
        table = _read_long(path, names, header, missing)
    else:
        table = _read_wide(path, names, header, missing)
    if "dimension" not in table:
        table["dimension"] = pd.Categorical([dimension]).repeat(len(table))
    if table.empty:
        raise DatasetError(f"{path}: no ratings")
    score = _scores(path, table, scale)
    check_names(path, table, ("subject", "video", "dimension"))
    subject, subjects = _codes(table["subject"])
    video, videos = _codes(table["video"])
    code, in_file_order = _codes(table["dimension"])
    dimensions = [name for name in DIMENSIONS if name in in_file_order]
    position = np.array([dimensions.index(name) for name in in_file_order], dtype=np.intp)
    ratings = Ratings(subject, video, position[code], score, subjects, videos, dimensions, scale)
    refuse_rows(
        path,
        table,
        _repeated(ratings.item * len(subjects) + subject, ratings.items * len(subjects)),
        lambda row: (
            f"{row['subject']} rates {row['video']!r} in {row['dimension']} a second time; keep one"
        ),
    )
    return ratings


def require_columns(path: Path, header: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a file that lacks a column.

    Raises:
        DatasetError: names the column and those that the file has.
    """
    for name in names:
        if name not in header:
            raise DatasetError(
                f"{path}: no column {name!r}; the columns are {', '.join(map(repr, header))}; map "
                "them with --columns, such as video=NAME"
            )


def check_names(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table with an empty name or an unknown dimension.

    Args:
        path: the file, for the message.
        table: with a column `dimension`.
        columns: that must not have an empty cell.

    Raises:
        DatasetError: names the first row that is wrong.
    """
    for column in columns:
        empty = (table[column] == "").to_numpy()
        refuse_rows(path, table, empty, _message(f"no {column}"))
    refuse_rows(
        path,
        table,
        _unknown(table["dimension"]),
        lambda row: f"{row['dimension']!r} is not a dimension; they are {', '.join(DIMENSIONS)}",
    )


def _message(text: str) -> "Callable[[pd.Series[str]], str]":
    return lambda row: text


def _read_long(
    path: Path, names: Mapping[str, str], header: list[str], missing: str
) -> pd.DataFrame:
    ours = {names[name]: name for name in _NAMES if names[name] in header}
    score = names["score"]
    coded = pa.dictionary(pa.int32(), pa.string())
    try:  # pyarrow codes the names while it reads them; pandas takes four times as long for text
        read = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                include_columns=list(ours),
                column_types=dict.fromkeys(ours, coded) | {score: pa.float64()},
                null_values=["", missing],
            ),
        )
        rated = read[score].is_valid()
        table: pd.DataFrame = read.filter(rated).unify_dictionaries().to_pandas()
        if len(table) < len(rated):
            # A name may have no rating left, and messages count the rows of the file.
            for name in set(ours) - {score}:
                table[name] = table[name].cat.remove_unused_categories()
            table.index = pd.Index(np.flatnonzero(rated.to_numpy()))
    except pa.ArrowInvalid:  # read again as text, so that the checks find what is wrong and where
        table = read_csv(path)[list(ours)]
        table = table[~table[score].str.strip().isin(["", missing])]
    return table.rename(columns=ours)


def _read_wide(
    path: Path, names: Mapping[str, str], header: list[str], missing: str
) -> pd.DataFrame:
    ours = {names[name]: name for name in ("video", "dimension") if names[name] in header}
    table = read_csv(path).rename(columns=ours)
    table = table.melt(
        list(ours.values()), var_name="subject", value_name="score", ignore_index=False
    )
    return table[~table["score"].str.strip().isin(["", missing])]


def _scores(path: Path, table: pd.DataFrame, scale: tuple[float, float]) -> Array:
    low, high = scale
    numbers = pd.to_numeric(table["score"], errors="coerce").to_numpy(np.float64)
    refuse_rows(
        path,
        table,
        ~((numbers >= low) & (numbers <= high)),
        lambda row: (
            f"the score {row['score']} of {row['subject']} is not a number in [{low:g}, "
            f"{high:g}]; give the scale with --scale, and with --missing what stands for no rating"
        ),
    )
    return numbers


def _unknown(dimensions: "pd.Series[str]") -> Mask:
    """Which cells are not one of `DIMENSIONS`."""
    if set(_codes(dimensions)[1]) <= set(DIMENSIONS):
        return np.zeros(len(dimensions), dtype=np.bool_)
    return ~dimensions.isin(DIMENSIONS).to_numpy()


def _codes(names: "pd.Series[str]") -> tuple[Index, list[str]]:
    """Each cell's position in the list of names, and that list, in the order of the file."""
    if isinstance(names.dtype, pd.CategoricalDtype):  # pyarrow coded it in that order
        return np.asarray(names.cat.codes, dtype=np.intp), names.cat.categories.tolist()
    codes, unique = pd.factorize(names)
    return codes.astype(np.intp), [str(name) for name in unique]


def _repeated(codes: Index, size: int) -> Mask:
    """Which codes, all less than `size`, occurred before."""
    if size < 8 * len(codes) and np.bincount(codes, minlength=1).max() == 1:
        return np.zeros(len(codes), dtype=np.bool_)  # a tenth of the time that `duplicated` takes
    return pd.Series(codes).duplicated().to_numpy()
