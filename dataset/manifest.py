"""Writing a dataset's folder: videos.csv, and a dataset.toml that the commands take with `-c`."""

import json
from pathlib import Path

import pandas as pd

from ..errors import DatasetError


def write_dataset(
    folder: Path,
    videos: pd.DataFrame,
    *,
    name: str,
    root: Path,
    mos_range: tuple[float, float],
    split: str,
) -> None:
    """Write `videos.csv` and `dataset.toml` into a folder that has no dataset yet.

    Args:
        folder: where to; it is made.
        videos: a column `video` and what belongs to it, a row a video.
        name: of the dataset, without a slash.
        root: where the videos lie.
        mos_range: lowest and highest MOS.
        split: the split that the stages take, whether it is there yet or not.

    Raises:
        DatasetError: the folder holds a dataset.
    """
    refuse_existing(folder / "videos.csv")
    folder.mkdir(parents=True, exist_ok=True)
    videos.to_csv(folder / "videos.csv", index=False, lineterminator="\n")
    low, high = mos_range
    lines = [
        "[dataset]",
        f"name = {_quoted(name)}",
        f"folder = {_quoted(str(folder.absolute()))}",
        f"root = {_quoted(str(root.absolute()))}",
        f"mos_range = [{float(low)!r}, {float(high)!r}]",
        f"split = {_quoted(split)}",
    ]
    (folder / "dataset.toml").write_text("\n".join(lines) + "\n", "utf-8")


def refuse_existing(path: Path) -> None:
    """Raise where a file would be overwritten that may have cost somebody's work.

    Raises:
        DatasetError: the file is there.
    """
    if path.exists():
        raise DatasetError(f"{path} is already there; remove it, or write to another folder")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string is a JSON string
