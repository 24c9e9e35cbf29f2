"""The videos of a dataset and their mean opinion scores, from `videos.csv` or `videos.parquet`."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from ..errors import DatasetError
from .manifest import read_manifest
from .settings import DatasetSettings

DIMENSIONS = ("color", "noise", "artifact", "blur", "temporal", "overall")
"""The six dimensions of FineVD (paper, section 3.2), in the order of its Table 1."""

DISTORTION_DIMENSIONS = DIMENSIONS[:-1]
"""The five dimensions in which a video can be distorted: all but `overall`."""


@dataclass(frozen=True)
class Video:
    """One row of `videos.csv`.

    Attributes:
        id: the dataset's name and the relative path, `demo/clips/a.mp4`.
        path: where the file lies.
        labels: MOS on the dataset's own scale, for the dimensions that have one.
        category: free text, empty if there is none.
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
        """Refuse a dataset without a single video file, as when a disk is not mounted.

        Whatever reads the videos calls this before it starts. When only some of the files are
        missing, each is recorded as a failure of its own video.

        Raises:
            DatasetError: the root is not a folder, or none of the videos is below it.
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
        """The id of the video with this path relative to the root."""
        return f"{self.settings.name}/{name}"

    def unit(self, mos: float) -> float:
        """A MOS on the dataset's scale as a number in [0, 1], the scale of training."""
        low, high = self.settings.mos_range
        return (mos - low) / (high - low)

    def mos(self, unit: float) -> float:
        """A number in [0, 1] as a MOS on the dataset's scale: the inverse of `unit`."""
        low, high = self.settings.mos_range
        return low + unit * (high - low)


def load_dataset(settings: DatasetSettings) -> Dataset:
    """Read the manifest of a dataset and check every row.

    Raises:
        DatasetError: there is no manifest or no column `video`, a name occurs twice or leads out of
            the root, or a label is not a number in the dataset's MOS range; the message names the
            row.
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
        if file != name.replace("\\", "/"):  # each file has exactly one name, and so one id
            raise DatasetError(f"{path}, row {row}: {name!r} is not a plain path; write {file!r}")
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
