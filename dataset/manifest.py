"""The manifest of a dataset, `videos.csv` or `videos.parquet`: read as a table, or written anew.

A new dataset also gets a `dataset.toml`, which the commands take with `-c`.
"""

import json
from pathlib import Path

import pandas as pd

from ..errors import DatasetError
from .tables import read_csv


def read_manifest(folder: Path) -> tuple[Path, pd.DataFrame]:
    """The manifest's path, and its table without any checks.

    Raises:
        DatasetError: the folder has no manifest, or it is neither CSV nor Parquet.
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
        folder: the dataset's folder; it is created.
        videos: one row a video, with the column `video` and any others.
        name: of the dataset, without a slash.
        root: where the videos lie.
        mos_range: lowest and highest MOS.
        split: the split that the stages use; it need not exist yet.

    Raises:
        DatasetError: the folder already holds a dataset.
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
    """Refuse to overwrite a file that may hold somebody's work.

    Raises:
        DatasetError: the file exists.
    """
    if path.exists():
        raise DatasetError(f"{path} is already there; remove it, or write to another folder")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string is a JSON string
