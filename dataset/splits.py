"""Splits: which videos train a model, which choose it and which test it (`splits/NAME.csv`).

The columns are `video,part` and, if `finevq dataset split` made the file, `sha256`: the hash of
the video's bytes, empty for a file that was missing. The same content is never in two parts.
"""

from pathlib import Path
from typing import Literal, cast

import pandas as pd

from ..errors import DatasetError
from .tables import read_csv
from .videos import Dataset, Video

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


def load_split(dataset: Dataset, name: str) -> dict[Part, list[Video]]:
    """The videos of each part, in the order of the dataset.

    Raises:
        DatasetError: there is no such split, its columns are others, a part is not train, val or
            test, a video is in it twice or not in the dataset, or a content is in two parts.
    """
    path = split_path(dataset, name)
    if not path.is_file():
        known = ", ".join(split_names(dataset)) or "none"
        raise DatasetError(f"{path}: no such split; the splits of this dataset: {known}")
    table = read_csv(path)
    if list(table.columns) not in (["video", "part"], ["video", "part", "sha256"]):
        raise DatasetError(f"{path}: the columns must be video,part or video,part,sha256")
    known_ids = set(dataset.ids)
    part_of: dict[str, Part] = {}
    for row, (video, part) in enumerate(zip(table["video"], table["part"], strict=True), start=2):
        video_id = dataset.video_id(video)
        if part not in PARTS:
            raise DatasetError(f"{path}, row {row}: part {part!r} is not train, val or test")
        if video_id in part_of:
            raise DatasetError(f"{path}, row {row}: {video!r} is in the split twice")
        if video_id not in known_ids:
            raise DatasetError(f"{path}, row {row}: {video!r} is not in the dataset's manifest")
        part_of[video_id] = cast(Part, part)
    if "sha256" in table:
        _refuse_overlap(path, table)
    return {part: [v for v in dataset if part_of.get(v.id) == part] for part in PARTS}


def split_path(dataset: Dataset, name: str) -> Path:
    """The file of a split, which need not exist."""
    return dataset.settings.folder / "splits" / f"{name}.csv"


def split_names(dataset: Dataset) -> list[str]:
    """The splits that the dataset has."""
    return sorted(file.stem for file in (dataset.settings.folder / "splits").glob("*.csv"))


def recorded_hashes(dataset: Dataset, name: str) -> dict[str, str]:
    """The content hashes that the split's file records, by video id."""
    table = read_csv(split_path(dataset, name))
    if "sha256" not in table:
        return {}
    pairs = zip(table["video"], table["sha256"], strict=True)
    return {dataset.video_id(video): sha256 for video, sha256 in pairs if sha256}


def _refuse_overlap(path: Path, table: pd.DataFrame) -> None:
    """Refuse a split that has one content in two parts."""
    hashed = table[table["sha256"] != ""]
    parts = hashed.groupby("sha256")["part"].transform("nunique")
    if (parts > 1).any():
        both = hashed[hashed["sha256"] == hashed["sha256"][parts > 1].iloc[0]]
        first = both.iloc[0]
        second = both[both["part"] != first["part"]].iloc[0]
        raise DatasetError(
            f"{path}: {first['video']!r} ({first['part']}) and {second['video']!r} "
            f"({second['part']}) have the same content; make the split again with "
            "`finevq dataset split`, which keeps them together"
        )
