"""The official JSON lines, with the flaws of the official files."""

import json
from pathlib import Path
from typing import Any

import pytest

from finevq.config import load_config
from finevq.dataset.databases.importing import import_database
from finevq.dataset.databases.official import read_official
from finevq.dataset.questions import load_questions
from finevq.dataset.splits import load_split
from finevq.dataset.videos import load_dataset
from finevq.errors import DatasetError

RATE = "<|video|> How would you rate the overall quality of this video?"
RATE_BLUR = (
    "<|video|> Considering the blur dimension, how would you rate the quality of this video?"
)
NOISE = (
    "If there is no noise in the video, please answer [No]. "
    "If there is noise in the video, please answer [Yes]."
)
WHICH = "Please select one distortion type from below options{A:[None], B:[%s]}Just answer."


def entry(video: str, text: str, answer: str, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns} | more


def rated(video: str, mos: Any, text: str = RATE, word: str = "fair") -> dict[str, Any]:
    return entry(video, text, f"The quality of this video is {word}.", mos=mos)


@pytest.fixture
def write(tmp_path: Path):
    """Write official files and give their paths."""

    def write(**files: list[Any]) -> list[Path]:
        paths = []
        for name, entries in files.items():
            path = tmp_path / f"{name}.jsonl"
            lines = (json.dumps(e, ensure_ascii=False) + "\n" for e in entries)
            path.write_text("".join(lines), "utf-8")
            paths.append(path)
        return paths

    return write


def test_scores_by_dimension(write) -> None:
    found = read_official(write(train=[rated("a", 50), rated("a", 41.5, RATE_BLUR)]))
    assert found.labels == {"a": {"overall": 50, "blur": 41.5}}
    assert found.questions == []


def test_parts_are_in_the_files_names(write) -> None:
    paths = write(mos_train=[rated("a", 50)], mos_test=[rated("b", 50)], other=[rated("c", 50)])
    assert read_official(paths).parts == {"a": "train", "b": "test"}


def test_a_mark_inside_a_name_is_taken_out(write) -> None:
    found = read_official(write(x=[entry("\ufeffa", NOISE, "Yes"), rated("a", 50)]))
    assert set(found.labels) == {"a"}
    assert found.questions[0]["video"] == "a"
    assert "1 byte-order marks taken out of names" in found.notes


@pytest.mark.parametrize(
    ("option", "english"),
    [("高斯噪声", "gaussian noise"), ("gussian noise", "gaussian noise"), ("lagging", "lagging")],
)
def test_options_are_english_and_well_spelt(write, option: str, english: str) -> None:
    found = read_official(write(x=[entry("a", WHICH % option, "B")]))
    assert found.questions[0]["conversations"][0]["value"] == WHICH % english


def test_a_question_in_both_languages_is_kept_once(write) -> None:
    both = [entry("a", WHICH % text, "B") for text in ("高斯噪声", "gussian noise")]
    found = read_official(write(abcd_test=both[:1], abcd_test_en=both[1:]))
    assert len(found.questions) == 1
    assert "1 questions asked in both languages were kept once" in found.notes
    assert found.rows == {"abcd_test.jsonl": 1, "abcd_test_en.jsonl": 1}


def test_level_words_that_do_not_fit_are_counted(write) -> None:
    found = read_official(write(x=[rated("a", 50, word="fair"), rated("b", 50, word="good")]))
    assert found.notes == [
        "1 level words that are not those of the MOS in [0, 100]; levels are made from the MOS"
    ]


BAD = {
    "two MOS": ([rated("a", 50), rated("a", 51)], "'a' has two MOS in overall"),
    "no MOS": ([rated("a", None)], "the rating of 'a' has the mos None, not 0 to 100"),
    "out of range": ([rated("a", 101)], "the mos 101, not 0 to 100"),
    "two answers": (
        [entry("a", NOISE, "Yes"), entry("a", NOISE, "No")],
        "'a' has two answers to the same question",
    ),
    "other layout": ([{"video": "a"}], "line 1: not in the official layout"),
    "no object": (["a"], "line 1: not in the official layout"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_refused(write, case: str) -> None:
    entries, message = BAD[case]
    with pytest.raises(DatasetError, match=message):
        read_official(write(x=entries))


def test_a_video_in_two_parts_is_refused(write) -> None:
    with pytest.raises(DatasetError, match="'a' is in test and in train"):
        read_official(write(x_train=[rated("a", 50)], x_test=[entry("a", NOISE, "No")]))


def test_an_import_is_what_the_stages_work_on(write, tmp_path: Path) -> None:
    write(
        y_train=[entry("\ufeffa.mp4", NOISE, "Yes"), rated("a.mp4", 40)],
        y_test=[entry("b.mp4", WHICH % "高斯噪声", "A")],
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.mp4").touch()
    out = tmp_path / "out"
    import_database("official", tmp_path, out)
    dataset = load_dataset(load_config(out / "dataset.toml")[0].dataset)
    assert [(v.id, dict(v.labels)) for v in dataset] == [
        ("out/b.mp4", {}),
        ("out/deep/a.mp4", {"overall": 40}),
    ]
    questions = load_questions(dataset)
    assert {v: [q.answer for q in asked] for v, asked in questions.items()} == {
        "out/b.mp4": ["A"],
        "out/deep/a.mp4": ["Yes"],
    }
    split = load_split(dataset, "public")
    assert [v.id for v in split["train"]] == ["out/deep/a.mp4"]


def test_without_files_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no \*\.jsonl files"):
        import_database("finevd", tmp_path, tmp_path / "out")
