"""The file of results: what a later run goes on with, and what is never touched."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from finevq.dataset.videos import DIMENSIONS
from finevq.errors import DatasetError
from finevq.evaluate.score.results import Results
from finevq.evaluate.score.scorecard import Rating, ScoreCard

ONE, OTHER = "1" * 64, "2" * 64
"""Checkpoints."""

each_kind = pytest.mark.parametrize("suffix", ["csv", "jsonl"])


def card(video: str, error: str | None = None) -> ScoreCard:
    rating = Rating(61.5, "good", {"good": 1.0}, 70.0)
    return ScoreCard(video, (0.0, 100.0), {} if error else dict.fromkeys(DIMENSIONS, rating), error)


def written(path: Path, *cards: ScoreCard) -> Path:
    with Results(path, ONE, [card.video for card in cards]) as results:
        for one in cards:
            results.add(one)
    return path


def left(path: Path, *videos: str) -> list[str]:
    return Results(path, ONE, videos).unscored


@each_kind
def test_a_second_run_goes_on(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"new/o.{suffix}", card("a,b.mp4"))
    before = path.read_bytes()
    assert left(path, "a,b.mp4", "c.mp4") == ["c.mp4"]
    written(path, card("c.mp4"))
    assert path.read_bytes().startswith(before)
    assert left(path, "a,b.mp4", "c.mp4") == []


def test_damage_stands_beside_the_scores(tmp_path: Path) -> None:
    damaged = replace(card("a.mp4"), concealed=14, missing=2)
    table = pd.read_csv(written(tmp_path / "o.csv", damaged, card("b.mp4")))
    assert table[["concealed", "missing"]].to_numpy().tolist() == [[14, 2], [0, 0]]
    (line,) = written(tmp_path / "o.jsonl", damaged).read_text().splitlines()
    assert json.loads(line).items() >= {"concealed": 14, "missing": 2}.items()


@each_kind
def test_a_file_that_failed_is_tried_again_and_stands_once(tmp_path: Path, suffix: str) -> None:
    failed = card("b.mp4", "is damaged"), card("of another run.mp4", "is damaged")
    path = written(tmp_path / f"o.{suffix}", card("a.mp4"), *failed)
    assert left(path, "a.mp4", "b.mp4") == ["b.mp4"]
    written(path, card("b.mp4"))
    assert left(path, "a.mp4", "b.mp4", "of another run.mp4") == ["of another run.mp4"]
    assert path.read_text().count("b.mp4") == 1
    assert path.read_text().count("of another run.mp4") == 1


@each_kind
def test_scores_of_two_checkpoints_are_never_mixed(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"o.{suffix}", card("a.mp4"))
    with pytest.raises(DatasetError, match=f"another checkpoint \\({ONE[:12]}, not {OTHER[:12]}"):
        Results(path, OTHER, ["b.mp4"])


@each_kind
@pytest.mark.parametrize("size", [0, 1, 20, -400, -3, -1])
def test_a_line_that_was_cut_short_is_taken_away(tmp_path: Path, suffix: str, size: int) -> None:
    whole = written(tmp_path / f"o.{suffix}", card("a.mp4")).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[:size])
    assert left(path, "a.mp4") == ["a.mp4"]
    assert path.read_bytes() == whole[:size]  # until there is something to write
    assert written(path, card("a.mp4")).read_bytes() == whole


@each_kind
def test_a_name_may_have_line_ends_and_bytes_that_are_no_text(tmp_path: Path, suffix: str) -> None:
    name = os.fsdecode(b'caf\xe9\n"b".mp4')
    path = written(tmp_path / f"o.{suffix}", card("a.mp4"), card(name))
    assert left(path, name, "a.mp4") == []
    path.write_bytes(path.read_bytes()[:-100])
    assert left(path, name, "a.mp4") == [name]


def test_a_name_that_was_cut_at_its_line_end_is_taken_away(tmp_path: Path) -> None:
    path = written(tmp_path / "o.csv", card("a.mp4"), card("b\nc.mp4"))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"b\nc.mp4") + 2])
    assert left(path, "a.mp4", "b\nc.mp4") == ["b\nc.mp4"]


def test_the_files_hold_scores_words_errors_and_the_checkpoint(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        written(tmp_path / f"o.{suffix}", card("a.mp4"), card("b.mp4", "is damaged"))
    table = pd.read_csv(tmp_path / "o.csv", dtype={"checkpoint": str}).set_index("video")
    assert table.loc["a.mp4", "blur"] == 61.5
    assert table.loc["a.mp4", "blur_level"] == "good"
    assert table.loc["b.mp4", "error"] == "is damaged"
    assert set(table["checkpoint"]) == {ONE}
    first, second = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert first["ratings"]["blur"]["score"] == 61.5
    assert first["checkpoint"] == ONE
    assert (second["ratings"], second["error"]) == ({}, "is damaged")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.xlsx", b"", r"FILE\.csv or FILE\.jsonl"),
        ("o.csv", b"a,b\n1,2\n", "not a file of scores"),
        ("notes.csv", b"day,note\n1,two\n3,four", "not a file of scores"),
        ("one.csv", b"day,note", "not a file of scores"),
        ("blank.csv", b"\n", "not a file of scores"),
        ("zero.csv", b"video\n\0\n", "not a file of scores"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n", "not a file of scores"),
        ("o.jsonl", b"[1]\n", "not a file of scores"),
        ("one.jsonl", b'{"video": "a.mp4"}', "not a file of scores"),
        ("mos.jsonl", b'{"video": "a.mp4", "mos": 3}\n', "not a file of scores"),
        ("deep.jsonl", b"[" * 100_000 + b"\n", "not a file of scores"),
    ],
)
def test_another_file_is_never_written_into(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        Results(tmp_path / name, ONE, ["a.mp4"])
    assert (tmp_path / name).read_bytes() == content


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        path = written(tmp_path / f"o.{suffix}", card("a.mp4"))
        path.write_text(path.read_text() + "\n\n")
        assert left(path, "a.mp4", "b.mp4") == ["b.mp4"]
        written(path, card("b.mp4"))
        assert left(path, "a.mp4", "b.mp4") == []


def test_a_row_that_lacks_cells_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "o.csv", card("a.mp4"), card("b.mp4"))
    header, first, second = path.read_text().splitlines()
    path.write_text("\n".join([header, first[:20], second, ""]))
    with pytest.raises(DatasetError, match="not a file of scores"):
        left(path, "a.mp4")


def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"o\.csv: cannot be (read|written)"):
        written(tmp_path / "file/o.csv", card("a.mp4"))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DatasetError, match=r"d\.csv: cannot be read"):
        left(tmp_path / "d.csv", "a.mp4")


def test_a_link_stays_one(tmp_path: Path) -> None:
    written(tmp_path / "there.csv", card("a.mp4", "is damaged"))
    (tmp_path / "o.csv").symlink_to("there.csv")
    written(tmp_path / "o.csv", card("a.mp4"))
    assert (tmp_path / "o.csv").is_symlink()
    assert "is damaged" not in (tmp_path / "there.csv").read_text()
