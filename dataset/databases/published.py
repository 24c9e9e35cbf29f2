"""The public databases of the paper: what their label files look like and what they must hold.

A database can come in several layouts (its own files, or the lists that FAST-VQA and DOVER made
of it); the first layout whose files are all there is read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import DatasetError
from ..videos import read_csv
from .matlab import read_matlab

Reader = Callable[[Path], pd.DataFrame]

TEST_1080P = "test-1080p"
"""The part of LSVQ's second test set; it becomes the test part of a split of its own."""


@dataclass(frozen=True)
class LabelFile:
    """One file of a layout.

    Attributes:
        pattern: its name, as a glob below the database's folder.
        read: gives a column `video`, MOS by dimension, and what else is in the file.
        part: "train", "val", "test", TEST_1080P, or "" where the file does not belong to one; a
            column `part` of the file itself comes before it.
        size: published number of videos, 0 where it is not known.
    """

    pattern: str
    read: Reader
    part: str = ""
    size: int = 0


@dataclass(frozen=True)
class Database:
    """A public database.

    Attributes:
        mos_range: lowest and highest MOS that it can have.
        videos: published number of videos.
        layouts: of its label files.
        name_until: the part of a video file's stem that names it, where more follows.
    """

    mos_range: tuple[float, float]
    videos: int
    layouts: tuple[tuple[LabelFile, ...], ...]
    name_until: str = ""


def read_list(
    path: Path, columns: tuple[str, ...] = ("duration", "fps", "overall")
) -> pd.DataFrame:
    """A file without a header: a name and three numbers a line, -1 for one that is not known.

    Raises:
        DatasetError: not such a file.
    """
    table = read_csv(path, header=None, skipinitialspace=True)
    if table.shape[1] != 1 + len(columns):
        raise DatasetError(
            f"{path}: {table.shape[1]} columns, not a name and {len(columns)} numbers"
        )
    table.columns = pd.Index(["video", *columns])
    for name in columns:
        table[name] = numbers(path, table, name)
    known = [name for name in columns if name == "overall" or not (table[name] == -1).all()]
    return table[["video", *known]]


def read_table(
    path: Path, columns: Mapping[str, str], extension: str = "", text: Sequence[str] = ()
) -> pd.DataFrame:
    """A CSV file with a header.

    Args:
        path: the file.
        columns: its name for `video`, for each dimension, and for what else is to be kept.
        extension: what the file leaves out of the videos' names.
        text: which of the other columns hold text, beside `part`.

    Raises:
        DatasetError: a column is not there, or a MOS is not a number.
    """
    table = read_csv(path)
    for theirs in columns.values():
        if theirs not in table.columns:
            raise DatasetError(
                f"{path}: no column {theirs!r}; the columns are {', '.join(table.columns)}"
            )
    table = table[list(columns.values())].set_axis(list(columns), axis=1)
    table["video"] += extension
    for name in columns:
        if name not in ("video", "part", *text):
            table[name] = numbers(path, table, name)
    return table


def read_mat(path: Path, columns: Mapping[str, str], extension: str = "") -> pd.DataFrame:
    """A MATLAB file with a vector of names and vectors of numbers; arguments as in `read_table`.

    Raises:
        DatasetError: a vector is not there, or they differ in length.
    """
    found = read_matlab(path)
    missing = [name for name in columns.values() if name not in found]
    if missing:
        raise DatasetError(f"{path}: no vector {missing[0]!r}; the vectors are {', '.join(found)}")
    chosen = {ours: found[theirs] for ours, theirs in columns.items()}
    if len({len(column) for column in chosen.values()}) > 1:
        raise DatasetError(f"{path}: {', '.join(columns.values())} differ in length")
    table = pd.DataFrame(chosen)
    table["video"] = table["video"].astype(str) + extension
    return table


def numbers(path: Path, table: pd.DataFrame, name: str) -> "pd.Series[float]":
    """A column of text as numbers, NaN where a cell is empty.

    Raises:
        DatasetError: a cell is not a number.
    """
    values = pd.to_numeric(table[name], errors="coerce")
    wrong = values.isna() & (table[name].astype(str).str.strip() != "")
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DatasetError(f"{path}: {name} of {table['video'].iloc[row]!r} is not a number")
    return values.astype(float)


def _lsvq_labels(path: Path) -> pd.DataFrame:
    table = read_table(path, {"video": "name", "overall": "mos", "part": "is_test"}, ".mp4")
    test = table["part"].str.lower().isin(["1", "1.0", "true"])
    return table.assign(part=test.map({True: "test", False: "train"}))


def _table(pattern: str, video: str, mos: str, extension: str, **more: Any) -> LabelFile:
    read = partial(read_table, columns={"video": video, "overall": mos}, extension=extension)
    return LabelFile(pattern, read, **more)


def _mat(pattern: str, video: str, mos: str, extension: str = "") -> LabelFile:
    read = partial(read_mat, columns={"video": video, "overall": mos}, extension=extension)
    return LabelFile(pattern, read)


def _maxwell(train: str, val: str) -> tuple[LabelFile, ...]:
    read = partial(read_list, columns=("aesthetic", "technical", "overall"))
    return LabelFile(train, read, "train", 3_634), LabelFile(val, read, "val", 909)


DATABASES: Mapping[str, Database] = {
    "lsvq": Database(
        (0, 100),
        28_056 + 7_186 + 3_573,
        (
            (
                LabelFile("labels_train_test.csv", _lsvq_labels, size=28_056 + 7_186),
                _table("labels_test_1080p.csv", "name", "mos", ".mp4", part=TEST_1080P, size=3_573),
            ),
            (
                LabelFile("LSVQ_train.txt", read_list, "train", 28_056),
                LabelFile("LSVQ_test.txt", read_list, "test", 7_186),
                LabelFile("LSVQ_1080p.txt", read_list, TEST_1080P, 3_573),
            ),
        ),
    ),
    "konvid-1k": Database(
        (1, 5),
        1_200,
        (
            (_table("KoNViD_1k_attributes.csv", "flickr_id", "MOS", ".mp4"),),
            (_table("KoNViD_1k_mos.csv", "flickr_id", "mos", ".mp4"),),
            (_mat("KoNViD*.mat", "video_names", "scores"),),
            (LabelFile("KoNViD.txt", read_list),),
        ),
        name_until="_",
    ),
    "youtube-ugc": Database(
        (1, 5),
        1_380,
        (
            (_table("*YouTube_UGC*.csv", "vid", "MOSfull", ".mkv"),),
            (_mat("youtube_ugc*.mat", "video_names", "scores"),),
            (LabelFile("YouTubeUGC.txt", read_list),),
        ),
    ),
    "live-vqc": Database(
        (0, 100),
        585,
        ((_mat("data.mat", "video_list", "mos"),), (LabelFile("LIVE_VQC.txt", read_list),)),
    ),
    "live-yt-gaming": Database((0, 100), 600, ((_mat("*.mat", "video_list", "MOS", ".mp4"),),)),
    "maxwell": Database(
        (1, 5),
        4_543,
        (
            _maxwell("*MaxWell*train_labels.txt", "*MaxWell*val_labels.txt"),
            _maxwell("train_labels.txt", "val_labels.txt"),
        ),
    ),
    "cvd2014": Database((-10, 100), 234, ((LabelFile("CVD2014.txt", read_list),),)),
    "live-qualcomm": Database((0, 100), 208, ((LabelFile("LIVE_Qualcomm.txt", read_list),),)),
}
"""By the name that `finevq dataset import` takes; sizes from the databases' papers and Table 8."""
