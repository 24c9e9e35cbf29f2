"""Which files are scored, and the file of results that a later run goes on with."""

import json
from pathlib import Path

import pandas as pd
import pytest

from finevq.dataset.videos import DIMENSIONS
from finevq.errors import DatasetError
from finevq.evaluate.listing import Results, listed
from finevq.evaluate.scorecard import Rating, ScoreCard


def card(video: str, error: str | None = None) -> ScoreCard:
    rating = Rating(61.5, "good", {"good": 1.0}, 70.0)
    return ScoreCard(video, (0.0, 100.0), {} if error else dict.fromkeys(DIMENSIONS, rating), error)


def test_folders_and_lists_become_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.mp4", "b/y.MKV", "notes.md"):
        (tmp_path / "a" / name).touch()
    (tmp_path / "list.txt").write_text("a/z.mp4\n\nhttp-like.mp4\n")
    found = listed(["odd.name", str(tmp_path / "a"), str(tmp_path / "list.txt")])
    relative = [name.removeprefix(f"{tmp_path}/") for name in found]
    assert relative == ["odd.name", "a/b/y.MKV", "a/z.mp4", "http-like.mp4"]


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no videos in"):
        listed([str(tmp_path)])


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.txt: not a list of files"):
        listed([str(tmp_path / "gone.txt")])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_second_run_goes_on(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    with Results(path) as first:
        first.add(card("a,b.mp4"))
        first.add(card("broken.mp4", "is damaged"))
    again = Results(path)
    assert again.videos == {"a,b.mp4", "broken.mp4"}
    with again:
        again.add(card("c.mp4"))
    assert Results(path).videos == {"a,b.mp4", "broken.mp4", "c.mp4"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_line_that_was_cut_short_is_taken_away(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    with Results(path) as results:
        results.add(card("a.mp4"))
        results.add(card("b.mp4"))
    path.write_bytes(path.read_bytes()[:-3])
    assert Results(path).videos == {"a.mp4"}


def test_the_files_hold_scores_words_and_errors(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        with Results(tmp_path / f"o.{suffix}") as results:
            results.add(card("a.mp4"))
            results.add(card("b.mp4", "is damaged"))
    table = pd.read_csv(tmp_path / "o.csv").set_index("video")
    assert table.loc["a.mp4", "blur"] == 61.5
    assert table.loc["a.mp4", "blur_level"] == "good"
    assert table.loc["b.mp4", "error"] == "is damaged"
    first, second = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert first["ratings"]["blur"]["score"] == 61.5
    assert (second["ratings"], second["error"]) == ({}, "is damaged")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.xlsx", None, r"FILE\.csv or FILE\.jsonl"),
        ("o.csv", "a,b\n1,2\n", "not a file of scores"),
        ("o.jsonl", "[1]\n", "not a file of scores"),
    ],
)
def test_another_file_is_never_written_into(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=message):
        Results(tmp_path / name)
    if content is not None:
        assert (tmp_path / name).read_text() == content
