"""Reading the CSV files of a dataset, and refusing a row of one by its number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import DatasetError


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """A CSV file with every cell as text; `options` are passed to pandas.

    Raises:
        DatasetError: no such file, not a CSV file in UTF-8, or a row has more cells than the
            header.
    """
    try:
        table: pd.DataFrame = pd.read_csv(
            path,
            dtype=str,
            encoding="utf-8-sig",  # spreadsheets and the official files start with a BOM
            keep_default_na=False,
            skip_blank_lines=False,
            **options,
        )
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a UTF-8 CSV file: {str(error).strip()}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first cells for row names
        raise DatasetError(f"{path}: the rows have more cells than the header")
    return table


def refuse_rows(
    path: Path,
    table: pd.DataFrame,
    wrong: NDArray[np.bool_],
    message: "Callable[[pd.Series[str]], str]",
) -> None:
    """Refuse a table of which a row is wrong.

    Args:
        path: the file, for the message.
        table: its rows; the index counts them from 0 after the header.
        wrong: which rows are wrong.
        message: says what is wrong with a row.

    Raises:
        DatasetError: names the first wrong row; the header is row 1.
    """
    if wrong.any():
        first = int(wrong.argmax())
        row = int(table.index[first]) + 2
        raise DatasetError(f"{path}, row {row}: {message(table.iloc[first])}")
