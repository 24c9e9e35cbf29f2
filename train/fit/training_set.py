"""The videos that a checkpoint was trained on, with the hashes of their files and their labels.

    training.csv    video,sha256,color,noise,artifact,blur,temporal,overall

By the hashes evaluation tells whether a video that it measures was seen in training; by the labels
scoring says where a score lies among those of the training part.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...cache.store import FeatureStore
from ...dataset.videos import DIMENSIONS, Video
from ...errors import CheckpointError

FILE = "training.csv"
_COLUMNS = ["video", "sha256", *DIMENSIONS]


def write_training_set(
    folder: Path, videos: Sequence[Video], store: FeatureStore, start: Path | None = None
) -> None:
    """Write training.csv into a checkpoint's folder.

    Args:
        folder: of the checkpoint.
        videos: the training part's videos that have features.
        store: the store of these features, which knows the hash of each file.
        start: the checkpoint that training started from, whose videos this one has seen as well.

    Raises:
        CheckpointError: the training.csv of `start` is damaged.
    """
    records = store.records()
    rows = [
        {"video": video.id, "sha256": source.sha256, **video.labels}
        for video in videos
        if (source := records[video.id].source) is not None  # always, where there are features
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    seen = None if start is None else read_training_set(start)
    if seen is not None and not seen.empty:
        table = pd.concat([table, seen[~seen["video"].isin(table["video"])]], ignore_index=True)
    part = folder / f"{FILE}.part"
    table.to_csv(part, index=False)
    part.replace(folder / FILE)


def read_training_set(folder: Path) -> pd.DataFrame | None:
    """The content of a checkpoint's training.csv, None for a checkpoint without one.

    Raises:
        CheckpointError: it is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    types = {"video": str, "sha256": str} | dict.fromkeys(DIMENSIONS, "float64")
    try:
        table = pd.read_csv(file, dtype=types)
        return table[_COLUMNS]
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{file}: damaged; train again, or delete it") from error
