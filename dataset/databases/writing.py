"""The files of an imported dataset: its manifest, its public splits and the report."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ...errors import DatasetError
from ..manifest import write_dataset
from ..videos import DIMENSIONS
from .published import TEST_1080P
from .report import ImportReport
from .video_files import match_videos

PUBLIC_SPLIT = "public"
"""The split that the labels come with; LSVQ's second test set makes `public-1080p`."""


def write_import(
    table: pd.DataFrame,
    folder: Path,
    out: Path,
    report: ImportReport,
    mos_range: tuple[float, float],
    name_until: str = "",
) -> dict[str, str]:
    """Write an imported dataset, and complete its report.

    Args:
        table: one row a label: `video`, MOS by dimension, perhaps `part`, and what else is kept.
        folder: holds the videos, at any depth.
        out: the new dataset's folder.
        report: gets everything that is found here, and is written as `import.json`.
        mos_range: lowest and highest MOS.
        name_until: what follows a video's name in the stem of its file, where more follows.

    Returns:
        For each label the path of its video in the manifest.

    Raises:
        DatasetError: a video is labelled twice, a MOS is out of range, two labels name one file,
            or a part is unknown.
    """
    _check_labels(table, mos_range)
    matches = match_videos(table["video"], folder, name_until)
    videos = table.assign(video=table["video"].map(matches.paths))
    if (videos["video"] != table["video"]).any():
        videos["label_name"] = table["video"]
    splits = _public_splits(videos)
    dimensions = [d for d in DIMENSIONS if d in table]
    rest = [name for name in videos.columns if name not in ("video", *dimensions, "part")]
    write_dataset(
        out,
        videos[["video", *dimensions, *rest]],
        name=out.absolute().name,
        root=folder,
        mos_range=mos_range,
        split=next(iter(splits), "random1"),
    )
    for split, parts in splits.items():
        (out / "splits").mkdir(exist_ok=True)
        parts.to_csv(out / "splits" / f"{split}.csv", index=False, lineterminator="\n")
    report.videos = len(table)
    report.labels = {d: int(table[d].notna().sum()) for d in dimensions}
    report.labels_without_video = matches.labels_without_video
    report.videos_without_label = matches.videos_without_label
    if "part" in videos:
        report.parts = dict(sorted(Counter(part for part in videos["part"] if part).items()))
    report.notes = [*report.differences(), *report.notes]
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
    (out / "import.json").write_text(text + "\n", "utf-8")
    return matches.paths


def _check_labels(table: pd.DataFrame, mos_range: tuple[float, float]) -> None:
    twice = table["video"][table["video"].duplicated()]
    if len(twice):
        raise DatasetError(f"{twice.iloc[0]!r} and {len(twice) - 1} more videos are labelled twice")
    low, high = mos_range
    for dimension in DIMENSIONS:
        if dimension in table:
            wrong = table[dimension].notna() & ~table[dimension].between(low, high)
            if wrong.any():
                row = table[wrong].iloc[0]
                raise DatasetError(
                    f"{row['video']!r} has the MOS {row[dimension]:g} in {dimension}, not in "
                    f"[{low:g}, {high:g}]"
                )


def _public_splits(videos: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The splits that the labels come with: one, and another for a second test set."""
    if "part" not in videos:
        return {}
    parts = videos[["video", "part"]]
    unknown = set(parts["part"]) - {"train", "val", "test", TEST_1080P, ""}
    if unknown:
        raise DatasetError(f"the part {min(unknown)!r} is not train, val or test")
    splits = {PUBLIC_SPLIT: parts[parts["part"].isin(["train", "val", "test"])]}
    if (parts["part"] == TEST_1080P).any():
        second = parts[parts["part"].isin(["train", TEST_1080P])]
        splits[f"{PUBLIC_SPLIT}-1080p"] = second.replace(TEST_1080P, "test")
    return {name: table for name, table in splits.items() if len(table)}
