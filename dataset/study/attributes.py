"""Labels of the kind of distortion ("motion blur"), as the subjects of a study ticked them.

The votes are `subject,video,dimension,attribute`, a row for each option that a subject ticked; the
labels that come out are `video,dimension,attribute`.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ...errors import DatasetError
from ..tables import read_csv, refuse_rows
from ..videos import DISTORTION_DIMENSIONS, Dataset
from .rating_files import check_names, require_columns

NO_DISTORTION = "none"
"""The option of a subject who sees no distortion in a dimension (paper, section 3.2)."""


def load_majority_attributes(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The attributes that more than half of a video's subjects ticked.

    Args:
        path: a CSV file with the columns `subject`, `video`, `dimension`, `attribute`.
        columns: the file's own names for them.

    Returns:
        A table `video, dimension, attribute, votes, subjects`, videos in the order of the file;
        `subjects` is how many labelled the video. `none` is counted like any other attribute.

    Raises:
        DatasetError: not a UTF-8 CSV file, a missing column, an empty name, an unknown dimension,
            or an option that a subject ticks twice.
    """
    wanted = ["subject", "video", "dimension", "attribute"]
    names = dict(zip(wanted, wanted, strict=True)) | dict(columns or {})
    table = read_csv(path)
    require_columns(path, list(table.columns), list(names.values()))
    table = table.rename(columns={theirs: ours for ours, theirs in names.items()})
    table = table[wanted].copy()
    table["attribute"] = table["attribute"].str.strip().replace("None", NO_DISTORTION)
    check_names(path, table, wanted)
    refuse_rows(
        path,
        table,
        table.duplicated().to_numpy(),
        lambda row: f"{row['subject']} ticks {row['attribute']!r} of {row['video']!r} twice",
    )
    subjects = table.groupby("video", sort=False)["subject"].nunique()
    votes = table.groupby(["video", "dimension", "attribute"], sort=False).size()
    result = votes.rename("votes").reset_index()
    result["subjects"] = result["video"].map(subjects)
    return result[2 * result["votes"] > result["subjects"]].reset_index(drop=True)


def load_attribute_labels(dataset: Dataset, path: Path) -> dict[str, dict[str, list[str]]]:
    """The attributes of each video, by its id and then by dimension.

    A video without rows for a dimension has no distortion there, and so has one with `none`.

    Args:
        dataset: whose videos they are.
        path: a CSV file with the columns `video`, `dimension`, `attribute`.

    Raises:
        DatasetError: no such file, a missing column, an unknown video or dimension, or `none`
            beside another attribute.
    """
    table = read_csv(path)
    missing = {"video", "dimension", "attribute"} - set(table.columns)
    if missing:
        raise DatasetError(
            f"{path}: no column {min(missing)!r}; it must have video,dimension,attribute"
        )
    known = set(dataset.ids)
    labels: dict[str, dict[str, list[str]]] = {}
    rows = zip(table["video"], table["dimension"], table["attribute"], strict=True)
    for row, (video, dimension, attribute) in enumerate(rows, start=2):
        place, video_id = f"{path}, row {row}", dataset.video_id(video)
        if video_id not in known:
            raise DatasetError(f"{place}: {video!r} is not in the dataset's manifest")
        if dimension not in DISTORTION_DIMENSIONS:
            known_dimensions = ", ".join(DISTORTION_DIMENSIONS)
            raise DatasetError(f"{place}: {dimension!r} is not one of {known_dimensions}")
        labels.setdefault(video_id, {}).setdefault(dimension, []).append(attribute)
    for video_id, by_dimension in labels.items():
        for dimension, attributes in by_dimension.items():
            if NO_DISTORTION in attributes:
                if len(attributes) > 1:
                    raise DatasetError(
                        f"{path}: {video_id} has none and another row in {dimension} "
                        f"({', '.join(attributes)}); remove one of them"
                    )
                attributes.clear()
    return labels
