"""Splits as files: written, checked, and refused where content is in two parts."""

import json
from pathlib import Path

import pytest

from finevq.dataset.splits import load_split
from finevq.dataset.splitting.checking import check_split
from finevq.dataset.splitting.writing import SplitRequest, write_splits
from finevq.dataset.videos import Dataset, load_dataset
from finevq.errors import DatasetError

from .._videos import scene, write_video


@pytest.fixture
def files(tmp_path: Path, make_settings) -> Dataset:
    """Thirty files, of which 0 and 1 have the same content; 0 to 9 are one source."""
    rows = "".join(f"{i}.mp4,{i // 10},{i}\n" for i in range(30))
    (tmp_path / "videos.csv").write_text("video,source,overall\n" + rows)
    for i in range(30):
        (tmp_path / f"{i}.mp4").write_text(f"content {max(i, 1)}")
    return load_dataset(make_settings())


def test_a_written_split_can_be_read_and_checked(files: Dataset) -> None:
    written = write_splits(files, SplitRequest("random", "4:1", rounds=3))
    assert list(written.counts) == ["random1", "random2", "random3"]
    for name, counts in written.counts.items():
        split = load_split(files, name)
        assert {part: len(split[part]) for part in counts} == counts
        assert check_split(files, name) == []
    rounds = {load_split(files, name)["test"][0].id for name in written.counts}
    assert len(rounds) > 1


def test_one_content_stays_together_in_every_round(files: Dataset) -> None:
    written = write_splits(files, SplitRequest("random", "1:1", rounds=8))
    assert "1 contents with several names kept together" in written.notes
    for name in written.counts:
        parts = {v.id: part for part, found in load_split(files, name).items() for v in found}
        assert parts["demo/0.mp4"] == parts["demo/1.mp4"]


def test_how_a_split_was_made_stands_beside_it(files: Dataset) -> None:
    written = write_splits(files, SplitRequest("s", "4:1:1", seed=7, stratify=True))
    made = json.loads((files.settings.folder / "splits" / "s.json").read_text())
    assert (made["ratio"], made["seed"], made["stratify"]) == ("4:1:1", 7, True)
    assert made["sha256"] == written.digests["s"]


def test_a_column_keeps_its_groups_together(files: Dataset) -> None:
    write_splits(files, SplitRequest("s", "2:1", group="source"))
    split = load_split(files, "s")
    sources = {part: {int(v.path.stem) // 10 for v in found} for part, found in split.items()}
    assert not sources["train"] & sources["test"]
    assert len(split["train"]) == 20


def test_an_unknown_column_is_refused(files: Dataset) -> None:
    with pytest.raises(DatasetError, match="no column 'scene'; the columns are video, source"):
        write_splits(files, SplitRequest("s", "4:1", group="scene"))


def test_a_split_is_not_overwritten(files: Dataset) -> None:
    write_splits(files, SplitRequest("s", "4:1"))
    with pytest.raises(DatasetError, match=r"s\.csv is already there"):
        write_splits(files, SplitRequest("s", "4:1"))


def test_missing_files_are_said(files: Dataset) -> None:
    (files.settings.folder / "5.mp4").unlink()
    written = write_splits(files, SplitRequest("s", "4:1"))
    assert "1 video files are missing; their content is not compared" in written.notes
    assert check_split(files, "s") == [
        "1 of 30 files are missing, such as demo/5.mp4: their content is not compared"
    ]


def test_a_copied_video_in_another_part_is_found(files: Dataset) -> None:
    path = files.settings.folder / "splits" / "hand.csv"
    path.parent.mkdir()
    path.write_text("video,part\n0.mp4,train\n1.mp4,test\n2.mp4,test\n")
    (problem,) = check_split(files, "hand")
    assert problem == "the same content in two parts: demo/0.mp4 (train), demo/1.mp4 (test)"


def test_a_changed_file_is_found(files: Dataset) -> None:
    write_splits(files, SplitRequest("s", "4:1"))
    (files.settings.folder / "7.mp4").write_text("another")
    (problem,) = check_split(files, "s")
    assert problem == "demo/7.mp4: the file has changed since the split was made"


@pytest.fixture
def clips(tmp_path: Path, make_settings) -> Dataset:
    """Scenes a and b, and each once more, strongly compressed and smaller."""
    (tmp_path / "videos.csv").write_text("video\na.mp4\nb.mp4\nc.mp4\na2.mp4\nb2.mp4\n")
    for seed, name in enumerate("abc"):
        write_video(tmp_path / f"{name}.mp4", scene(seed))
        if name != "c":
            write_video(tmp_path / f"{name}2.mp4", scene(seed)[:, ::2, ::2], crf=35)
    return load_dataset(make_settings())


def test_near_duplicates_are_kept_together_on_request(clips: Dataset) -> None:
    written = write_splits(clips, SplitRequest("s", "1:1", rounds=6, near_duplicates=True))
    assert "2 pairs of videos look alike; kept together" in written.notes
    for name in written.counts:
        assert check_split(clips, name, alike=True) == []


def test_near_duplicates_in_two_parts_are_found(clips: Dataset) -> None:
    path = clips.settings.folder / "splits" / "hand.csv"
    path.parent.mkdir()
    path.write_text("video,part\na.mp4,train\na2.mp4,test\nb.mp4,test\nb2.mp4,test\nc.mp4,train\n")
    assert check_split(clips, "hand") == []
    (problem,) = check_split(clips, "hand", alike=True)
    assert problem.endswith("in two parts: demo/a.mp4 (train), demo/a2.mp4 (test)")
