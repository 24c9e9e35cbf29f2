from dataclasses import dataclass
from pathlib import Path

import pytest

from finevq.dataset.splits import PARTS, load_split
from finevq.dataset.videos import Dataset
from finevq.errors import DatasetError


def write(dataset: Dataset, text: str, name: str = "random1") -> Path:
    path = dataset.settings.folder / "splits" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


def ids(split: dict) -> dict[str, list[str]]:
    return {part: [video.id for video in videos] for part, videos in split.items()}


def test_each_part_has_its_videos(dataset: Dataset) -> None:
    write(dataset, "video,part\nc.mp4,train\nclips/b.mp4,test\na.mp4,val\nd.mp4,train\n")
    assert ids(load_split(dataset, "random1")) == {
        "train": ["demo/c.mp4", "demo/d.mp4"],
        "val": ["demo/a.mp4"],
        "test": ["demo/clips/b.mp4"],
    }


def test_the_order_is_that_of_the_dataset(dataset: Dataset) -> None:
    write(dataset, "video,part\nd.mp4,train\nclips/b.mp4,train\na.mp4,train\nc.mp4,train\n")
    assert load_split(dataset, "random1")["train"] == list(dataset)


def test_a_video_outside_the_split_is_in_no_part(dataset: Dataset) -> None:
    write(dataset, "video,part\nc.mp4,train\n")
    assert ids(load_split(dataset, "random1")) == {"train": ["demo/c.mp4"], "val": [], "test": []}


def test_all_parts_are_there_even_when_empty(dataset: Dataset) -> None:
    write(dataset, "video,part\n")
    assert load_split(dataset, "random1") == {part: [] for part in PARTS}


def test_a_byte_order_mark_is_not_part_of_the_header(dataset: Dataset) -> None:
    write(dataset, "\ufeffvideo,part\na.mp4,test\n")
    assert ids(load_split(dataset, "random1"))["test"] == ["demo/a.mp4"]


def test_an_unknown_split_lists_the_known_ones(dataset: Dataset) -> None:
    for name in ("random2", "scenes"):
        write(dataset, "video,part\n", name)
    with pytest.raises(DatasetError, match=r"random1\.csv: no such split; .*: random2, scenes$"):
        load_split(dataset, "random1")


def test_a_dataset_without_splits_says_so(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"the splits of this dataset: none$"):
        load_split(dataset, "random1")


def test_hashes_that_are_empty_or_in_one_part_are_no_overlap(dataset: Dataset) -> None:
    write(
        dataset,
        "video,part,sha256\na.mp4,train,77\nc.mp4,train,77\nd.mp4,test,\nclips/b.mp4,val,\n",
    )
    assert ids(load_split(dataset, "random1"))["train"] == ["demo/c.mp4", "demo/a.mp4"]


@dataclass(frozen=True)
class Bad:
    """A split that is refused: the row that the message names, and what it says."""

    id: str
    text: str
    row: int | None
    message: str


BAD = [
    Bad("swapped columns", "part,video\ntrain,a.mp4\n", None, "the columns must be video,part"),
    Bad("one column", "video\na.mp4\n", None, "the columns must be video,part"),
    Bad("no header", "a.mp4,train\n", None, "the columns must be video,part"),
    Bad("extra column", "video,part,fold\na.mp4,train,1\n", None, "columns must be video,part"),
    Bad("extra cell", "video,part\nx,a.mp4,train\n", None, "more cells than the header"),
    Bad("empty file", "", None, "not a UTF-8 CSV file"),
    Bad(
        "one content in two parts",
        "video,part,sha256\na.mp4,train,77\nc.mp4,train,\nd.mp4,test,77\n",
        None,
        "'a.mp4' .train. and 'd.mp4' .test. have the same content; make the split again",
    ),
    Bad("unknown part", "video,part\na.mp4,train\nc.mp4,dev\n", 3, "part 'dev' is not train"),
    Bad("capital", "video,part\na.mp4,Train\n", 2, "part 'Train' is not train, val or test"),
    Bad("no part", "video,part\na.mp4,\n", 2, "part '' is not train, val or test"),
    Bad("twice", "video,part\na.mp4,train\nc.mp4,val\na.mp4,test\n", 4, "'a.mp4' is in .* twice"),
    Bad("unknown video", "video,part\nz.mp4,val\n", 2, "'z.mp4' is not in the dataset's manifest"),
    Bad("id, not name", "video,part\ndemo/a.mp4,val\n", 2, "is not in the dataset's manifest"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_split_is_refused(dataset: Dataset, case: Bad) -> None:
    path = write(dataset, case.text)
    with pytest.raises(DatasetError, match=case.message) as caught:
        load_split(dataset, "random1")
    place = f"{path}, row {case.row}: " if case.row else f"{path}: "
    assert str(caught.value).startswith(place)


def test_another_encoding_is_refused(dataset: Dataset) -> None:
    write(dataset, "").write_bytes("video,part\nmüll,train\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="not a UTF-8 CSV file"):
        load_split(dataset, "random1")
