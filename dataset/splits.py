"""Splits: which videos train a model, choose it and test it (`splits/NAME.csv`)."""

from typing import Literal, cast

from ..errors import DatasetError
from .videos import Dataset, Video, read_csv

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


def load_split(dataset: Dataset, name: str) -> dict[Part, list[Video]]:
    """The videos of each part, in the order of the dataset.

    Raises:
        DatasetError: no such split, another column layout, a part that is not train, val or test,
            a video twice, or one that the dataset does not have.
    """
    folder = dataset.settings.folder / "splits"
    path = folder / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.csv"))) or "none"
        raise DatasetError(f"{path}: no such split; the splits of this dataset: {known}")
    table = read_csv(path)
    if list(table.columns) != ["video", "part"]:
        raise DatasetError(f"{path}: the columns must be video,part")
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
    return {part: [v for v in dataset if part_of.get(v.id) == part] for part in PARTS}
