"""Which files are scored."""

from pathlib import Path

import pytest

from finevq.errors import DatasetError
from finevq.evaluate.score.listing import list_videos


def test_folders_and_lists_become_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.mp4", "b/y.MKV", "notes.md"):
        (tmp_path / "a" / name).touch()
    (tmp_path / "list.txt").write_text("a/z.mp4\n\nhttp-like.mp4\n")
    found = list_videos(["odd.name", str(tmp_path / "a"), str(tmp_path / "list.txt")])
    relative = [name.removeprefix(f"{tmp_path}/") for name in found]
    assert relative == ["odd.name", "a/b/y.MKV", "a/z.mp4", "http-like.mp4"]


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no videos in"):
        list_videos([str(tmp_path)])


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.txt: not a list of files"):
        list_videos([str(tmp_path / "gone.txt")])


def test_a_list_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.mp4\n\0\0\n")
    with pytest.raises(DatasetError, match=r"list\.txt: not a list of files"):
        list_videos([str(tmp_path / "list.txt")])


def test_a_name_that_no_file_can_have_is_left_to_scoring() -> None:
    assert list_videos(["x" * 5000]) == ["x" * 5000]
