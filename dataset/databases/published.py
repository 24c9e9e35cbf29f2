"""The public databases of the paper: what their label files look like and how large they are.

A database can come in several layouts: its own files, or the lists that FAST-VQA and DOVER made of
it. The first layout whose files are all there is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from .label_files import read_list, read_mat, read_table

Reader = Callable[[Path], pd.DataFrame]

TEST_1080P = "test-1080p"
"""The part of LSVQ's second test set; it becomes the test part of a split of its own."""


@dataclass(frozen=True)
class LabelFile:
    """One file of a layout.

    Attributes:
        pattern: its name, as a glob below the database's folder.
        read: gives a column `video`, MOS by dimension, and what else is in the file.
        part: of all videos in the file: "train", "val", "test" or TEST_1080P; "" where the file
            says it in a column `part`, or where there are no parts.
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
        name_until: what follows the name in the stem of a video file, where more follows:
            "_" where `123_original.mp4` is the video `123`.
    """

    mos_range: tuple[float, float]
    videos: int
    layouts: tuple[tuple[LabelFile, ...], ...]
    name_until: str = ""


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
