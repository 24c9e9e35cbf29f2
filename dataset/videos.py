"""The videos of a dataset and their mean opinion scores, from `videos.csv` or `videos.parquet`."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ..errors import DatasetError
from .settings import DatasetSettings

DIMENSIONS = ("color", "noise", "artifact", "blur", "temporal", "overall")
"""The six dimensions of FineVD (paper, section 3.2), in the order of its Table 1."""


@dataclass(frozen=True)
class Video:
    """One row of `videos.csv`.

    Attributes:
        id: the dataset's name and the relative path, `demo/clips/a.mp4`.
        path: where the file lies.
        labels: MOS on the dataset's own scale, for the dimensions that have one.
        category: free text, empty where there is none.
    """

    id: str
    path: Path
    labels: Mapping[str, float]
    category: str = ""


@dataclass(frozen=True)
class Dataset:
    """The videos of one dataset, in the order of its manifest."""

    settings: DatasetSettings
    videos: tuple[Video, ...]

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def ids(self) -> list[str]:
        """The ids of all videos."""
        return [video.id for video in self.videos]

    @property
    def root(self) -> Path:
        """The folder below which the videos are."""
        return self.settings.folder / self.settings.root

    def check_files(self) -> None:
        """Refuse a dataset of which not one video is there, as of a disk that is not mounted.

        What needs the videos calls this before it starts; a single one that is missing is a matter
        of that video.

        Raises:
            DatasetError: the root is no folder, or none of the videos is below it.
        """
        root = self.root
        if not root.is_dir():
            raise DatasetError(
                f"dataset.root: there is no folder {root}: mount it, or correct the setting"
            )
        if not any(os.path.exists(video.path) for video in self.videos):
            raise DatasetError(
                f"dataset.root: none of the {len(self)} videos is in {root}, not even "
                f"{self.videos[0].path.relative_to(root)}: mount it, or correct the setting"
            )

    def video_id(self, name: str) -> str:
        """The id of a video that a file of this dataset names by its relative path."""
        return f"{self.settings.name}/{name}"

    def unit(self, mos: float) -> float:
        """A MOS on the dataset's scale as a number in [0, 1], the scale of training."""
        low, high = self.settings.mos_range
        return (mos - low) / (high - low)

    def mos(self, unit: float) -> float:
        """The inverse of `unit`."""
        low, high = self.settings.mos_range
        return low + unit * (high - low)


def load_dataset(settings: DatasetSettings) -> Dataset:
    """Read the manifest of a dataset and check every row.

    Raises:
        DatasetError: no manifest, no column `video`, a name twice, a name that leaves the root, or
            a label that is not a number in the dataset's MOS range; the message names the rows.
    """
    low, high = settings.mos_range
    if not low < high:
        raise DatasetError(f"dataset.mos_range is [{low}, {high}]: the first must be the lower one")
    path, table = read_manifest(settings.folder)
    names = _names(path, table)
    labels = {d: _labels(path, table, d, low, high) for d in DIMENSIONS if d in table.columns}
    categories = (
        table["category"].fillna("").astype(str).tolist() if "category" in table.columns else None
    )
    root = settings.folder / settings.root
    return Dataset(
        settings,
        tuple(
            Video(
                id=f"{settings.name}/{name}",
                path=root / name,
                labels={d: column[row] for d, column in labels.items() if row in column},
                category=categories[row] if categories else "",
            )
            for row, name in enumerate(names)
        ),
    )


def read_manifest(folder: Path) -> tuple[Path, pd.DataFrame]:
    """The manifest's path and its table as it stands; messages count rows from the header = 1.

    Raises:
        DatasetError: there is none, or it is neither CSV nor Parquet.
    """
    csv, parquet = folder / "videos.csv", folder / "videos.parquet"
    if csv.is_file():
        return csv, read_csv(csv)
    if parquet.is_file():
        try:
            return parquet, pd.read_parquet(parquet)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from ValueError
            raise DatasetError(f"{parquet}: not a Parquet file: {error}") from error
    raise DatasetError(
        f"{folder}: no videos.csv or videos.parquet; make the demo's with `finevq demo`, or point "
        "dataset.folder at your own"
    )


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """A CSV file of a dataset with every cell as text; `options` are those of pandas.

    Raises:
        DatasetError: no such file, not a CSV file in UTF-8, or rows with more cells than header.
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


def _names(path: Path, table: pd.DataFrame) -> list[str]:
    if "video" not in table.columns:
        raise DatasetError(f"{path}: no column `video`; the columns are {', '.join(table.columns)}")
    names = table["video"].fillna("").astype(str).tolist()
    if not names:
        raise DatasetError(f"{path}: no videos")
    rows: dict[str, int] = {}
    for row, name in enumerate(names, start=2):
        if not name.strip():
            raise DatasetError(f"{path}, row {row}: no video name")
        parts = PurePosixPath(name.replace("\\", "/"))
        if (
            parts.is_absolute()
            or {"..", "~"} & set(parts.parts)
            or re.match(r"^([A-Za-z]:|[A-Za-z][\w+.-]*://)", name)
        ):
            raise DatasetError(
                f"{path}, row {row}: {name!r} leaves the dataset's root; names must be below it"
            )
        file = str(parts)
        if file != name.replace("\\", "/"):  # of one file there is one name, and one id
            raise DatasetError(f"{path}, row {row}: {name!r} is no plain path: write {file!r}")
        if file in rows:
            raise DatasetError(f"{path}, row {row}: {name!r} is already in row {rows[file]}")
        rows[file] = row
    return names


def _labels(
    path: Path, table: pd.DataFrame, dimension: str, low: float, high: float
) -> dict[int, float]:
    column = table[dimension]
    numbers = pd.to_numeric(column, errors="coerce")
    blank = column.isna() | (column.astype(str).str.strip() == "")
    wrong = ~blank & ~((numbers >= low) & (numbers <= high))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DatasetError(
            f"{path}, row {row + 2}: {dimension} is {str(column.iloc[row])!r}, not a number in "
            f"[{low:g}, {high:g}] (dataset.mos_range); leave a cell empty where there is no label"
        )
    return {row: float(numbers.iloc[row]) for row in range(len(column)) if not blank.iloc[row]}
