"""Questions in the official layout; the wordings are those of the official files."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevq.dataset.questions import LEVELS, Question, classify, level, load_questions
from finevq.dataset.videos import Dataset
from finevq.errors import DatasetError

YES_NO = (
    "If there is no {0} in the video, please answer [No]. "
    "If there is {0} in the video, please answer [Yes]."
)
EXISTS = (
    "Please select one distortion type from below options{A:[None], B:[low saturation], "
    "C:[high saturation], D:[other noise], E:[compression artifact]}"
    "Just answer the corresponding letter."
)
MOST = (
    "Which distortion dimension has the greatest impact on video quality, choose from the "
    "following options{A:[Noise], B:[Video quality is good], C:[Color], D:[Artifact]}"
    "(Just answer the corresponding letter)"
)
NOISE = YES_NO.format("noise")


@pytest.mark.parametrize(
    ("unit", "word"),
    [
        (0, "bad"),
        (0.19, "bad"),
        (0.2, "poor"),
        (0.4, "fair"),
        (0.5, "fair"),
        (0.6, "good"),
        (0.79, "good"),
        (0.8, "excellent"),
        (1, "excellent"),
        pytest.param(-0.3, "bad", id="below"),
        pytest.param(1.3, "excellent", id="above"),
    ],
)
def test_level(unit: float, word: str) -> None:
    assert level(unit) == word


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_boundary_belongs_to_the_better_level(step: int) -> None:
    boundary = step / 5
    assert LEVELS.index(level(boundary)) == step
    assert LEVELS.index(level(math.nextafter(boundary, 0))) == step - 1


@given(st.floats(-2, 3), st.floats(-2, 3))
def test_a_better_score_never_has_a_worse_level(one: float, other: float) -> None:
    worse, better = sorted((one, other))
    assert LEVELS.index(level(worse)) <= LEVELS.index(level(better))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (YES_NO.format("noise"), "yes-no noise"),
        (YES_NO.format("artifact"), "yes-no artifact"),
        (YES_NO.format("blur"), "yes-no blur"),
        (YES_NO.format("temporal distortion"), "yes-no temporal"),
        # As in the official files: no blank between the sentences.
        (YES_NO.format("color distortion").replace(". ", "."), "yes-no color"),
        (YES_NO.format("watermark"), "yes-no other"),
    ],
    ids=["noise", "artifact", "blur", "temporal", "color", "other"],
)
def test_yes_no_questions_are_grouped_by_dimension(text: str, kind: str) -> None:
    assert classify(text) == (kind, ("Yes", "No"))


def test_which_exists() -> None:
    assert classify(EXISTS) == ("which exists", ("A", "B", "C", "D", "E"))


def test_which_most() -> None:
    assert classify(MOST) == ("which most", ("A", "B", "C", "D"))


def test_options_in_other_scripts() -> None:
    text = "Please select one distortion type from below options{A:[饱和度过低], B:[脉冲噪声]}"
    assert classify(text) == ("which exists", ("A", "B"))


@pytest.mark.parametrize(
    "text",
    ["How would you rate the overall quality of this video?", "[Yes]?", "[No]?", ""],
    ids=["rating", "only yes", "only no", "empty"],
)
def test_a_question_without_options_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"offers neither \[Yes\] and \[No\] nor lettered"):
        classify(text)


def entry(video: Any = "a.mp4", text: Any = NOISE, answer: Any = "Yes") -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns}


def write(dataset: Dataset, *lines: Any, start: str = "") -> Path:
    path = dataset.settings.folder / "questions.jsonl"
    texts = [x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines]
    path.write_bytes((start + "".join(text + "\n" for text in texts)).encode())
    return path


def test_the_official_layout(dataset: Dataset) -> None:
    write(dataset, entry(), entry("clips/b.mp4", MOST, "C"))
    assert load_questions(dataset) == {
        "demo/a.mp4": [Question("yes-no noise", NOISE, ("Yes", "No"), "Yes")],
        "demo/clips/b.mp4": [Question("which most", MOST, ("A", "B", "C", "D"), "C")],
    }


def test_a_videos_questions_keep_the_order_of_the_file(dataset: Dataset) -> None:
    write(
        dataset,
        entry(text=EXISTS, answer="E"),
        entry("c.mp4"),
        entry(),
        entry(text=MOST, answer="A"),
    )
    found = load_questions(dataset)["demo/a.mp4"]
    assert [question.answer for question in found] == ["E", "Yes", "A"]


def test_no_file_is_no_questions(dataset: Dataset) -> None:
    assert dict(load_questions(dataset)) == {}


def test_a_video_without_questions_is_not_listed(dataset: Dataset) -> None:
    write(dataset, entry())
    assert set(load_questions(dataset)) == {"demo/a.mp4"}


def test_byte_order_marks_in_front_and_inside_names(dataset: Dataset) -> None:
    write(dataset, entry(), entry("\ufeffa.mp4", text=MOST, answer="A"), start="\ufeff")
    assert [q.answer for q in load_questions(dataset)["demo/a.mp4"]] == ["Yes", "A"]


def test_the_video_placeholder_is_not_part_of_the_question(dataset: Dataset) -> None:
    write(dataset, entry(text=f"<|video|> {NOISE}", answer=" Yes\n"))
    (question,) = load_questions(dataset)["demo/a.mp4"]
    assert (question.text, question.answer) == (NOISE, "Yes")


def test_blank_lines_and_windows_line_ends_are_skipped(dataset: Dataset) -> None:
    write(dataset, "\r", json.dumps(entry()) + "\r", "", "  ")
    assert len(load_questions(dataset)["demo/a.mp4"]) == 1


def test_a_line_separator_in_a_text_does_not_end_the_line(dataset: Dataset) -> None:
    write(dataset, entry(text=f"one\u2028two\x85 {NOISE}"))
    (question,) = load_questions(dataset)["demo/a.mp4"]
    assert question.text == f"one\u2028two\x85 {NOISE}"


def test_more_keys_do_no_harm(dataset: Dataset) -> None:
    write(dataset, entry() | {"mos": 50.9})
    assert len(load_questions(dataset)["demo/a.mp4"]) == 1


def turns(*speakers: str) -> dict[str, Any]:
    said = [{"from": speaker, "value": NOISE} for speaker in speakers]
    return {"video": "a.mp4", "conversations": said}


@dataclass(frozen=True)
class Bad:
    """A line that is refused, and what the message says."""

    id: str
    line: Any
    message: str


LAYOUT = "not in the official layout"
BAD = [
    Bad("not JSON", "{", LAYOUT),
    Bad("half a line", json.dumps(entry())[:-5], LAYOUT),
    Bad("a list", "[]", LAYOUT),
    Bad("a number", "5", LAYOUT),
    Bad("no video", {"conversations": entry()["conversations"]}, LAYOUT),
    Bad("no conversation", {"video": "a.mp4"}, LAYOUT),
    Bad("no turns", turns(), LAYOUT),
    Bad("one turn", turns("human"), LAYOUT),
    Bad("three turns", turns("human", "ai", "human"), LAYOUT),
    Bad("turns swapped", turns("ai", "human"), f"{LAYOUT}.*the turns are not human, ai"),
    Bad("video is a number", entry(video=5), LAYOUT),
    Bad("question is a number", entry(text=5), LAYOUT),
    Bad("answer is a number", entry(answer=5), LAYOUT),
    Bad("answer is null", entry(answer=None), LAYOUT),
    Bad("unknown video", entry("z.mp4"), "'z.mp4' is not in the dataset's manifest"),
    Bad("wrong answer", entry(answer="Maybe"), "the answer 'Maybe' is not among Yes, No"),
    Bad("wrong case", entry(answer="yes"), "the answer 'yes' is not among Yes, No"),
    Bad("letter beyond", entry(text=MOST, answer="E"), "'E' is not among A, B, C, D"),
    Bad("asked twice", entry(answer="No"), "'a.mp4' is asked the same question twice"),
    Bad("no options", entry(text="How good is it?"), "'How good is it\\?' offers neither"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_line_is_refused(dataset: Dataset, case: Bad) -> None:
    path = write(dataset, entry(), "", case.line)
    with pytest.raises(DatasetError, match=case.message) as caught:
        load_questions(dataset)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_another_encoding_is_refused(dataset: Dataset) -> None:
    write(dataset).write_bytes(b'{"video": "\xfc"}\n')
    with pytest.raises(DatasetError, match=r"questions\.jsonl: not a UTF-8 file"):
        load_questions(dataset)
