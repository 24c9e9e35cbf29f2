"""The question set of the paper from MOS and attribute labels (section 3.2, appendix B.2).

Each video is asked eight questions: yes or no for each of the five dimensions, which distortion
exists, which dimension matters most, and the overall level. The levels of all dimensions and a
one-sentence description are written beside them.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import DatasetError
from ..manifest import refuse_existing
from ..videos import DISTORTION_DIMENSIONS, Dataset, Video
from .wording import (
    ATTRIBUTES,
    GOOD_QUALITY,
    NO_ATTRIBUTE,
    describe_quality,
    letter_of,
    level_answer,
    level_question,
    level_word,
    which_exists_question,
    which_most_question,
    yes_no_question,
)

DISTRACTORS = 3
"""Wrong options of a "which" question, beside "None" where that is wrong too."""

Line = dict[str, Any]
Attributes = Mapping[str, Sequence[str]]
"""The attributes of a video, by dimension."""


@dataclass
class QuestionSet:
    """The composed questions, as lines in the official layout.

    Attributes:
        questions: eight a video (seven where it has no overall MOS).
        levels: a level and its MOS for each labelled dimension.
        descriptions: one a video.
        answers: how often each answer is right, by kind of question.
        letters: how often each letter is right, in the "which" questions.
    """

    questions: list[Line] = field(default_factory=list)
    levels: list[Line] = field(default_factory=list)
    descriptions: list[Line] = field(default_factory=list)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    letters: Counter[str] = field(default_factory=Counter)

    def add_question(
        self, video: str, kind: str, text: str, answer: str, meaning: str = ""
    ) -> None:
        """Add a question and count its answer, under what it means if that is given."""
        self.questions.append(_line(video, text, answer))
        self.answers.setdefault(kind, Counter())[meaning or answer] += 1


def compose(dataset: Dataset, attributes: Mapping[str, Attributes], seed: int = 0) -> QuestionSet:
    """The questions on all videos; those on one video depend only on the seed and its id.

    Args:
        dataset: with MOS: the worst of the distorted dimensions is the answer to "which most".
        attributes: what `load_attribute_labels` returned.
        seed: of the choice and order of options.

    Raises:
        DatasetError: a video is distorted in two dimensions or more, and one of them has no MOS
            that would say which is worst.
    """
    question_set = QuestionSet()
    for video in dataset:
        rng = random.Random(f"{seed} {video.id}")
        units = {d: dataset.unit(mos) for d, mos in video.labels.items()}
        found = {d: list(attributes.get(video.id, {}).get(d, ())) for d in DISTORTION_DIMENSIONS}
        name = video.id.removeprefix(f"{dataset.settings.name}/")
        for dimension in DISTORTION_DIMENSIONS:
            answer = "Yes" if found[dimension] else "No"
            text = yes_no_question(dimension)
            question_set.add_question(name, f"yes-no {dimension}", text, answer)
        for kind, (text, letter, meaning) in {
            "which exists": _which_exists(found, rng),
            "which most": _which_most(video, units, found, rng),
        }.items():
            question_set.add_question(name, kind, text, letter, meaning)
            question_set.letters[letter] += 1
        _add_levels(question_set, name, video, units)
        if units:
            sentence = describe_quality(units, found)
            line = _line(name, "Describe the quality of this video.", sentence)
            question_set.descriptions.append(line)
    return question_set


def write_questions(dataset: Dataset, question_set: QuestionSet) -> None:
    """Write `questions.jsonl`, `levels.jsonl` and `descriptions.jsonl` into the dataset's folder.

    Raises:
        DatasetError: one of them exists.
    """
    files = {
        "questions": question_set.questions,
        "levels": question_set.levels,
        "descriptions": question_set.descriptions,
    }
    for name in files:
        refuse_existing(dataset.settings.folder / f"{name}.jsonl")
    for name, lines in files.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (dataset.settings.folder / f"{name}.jsonl").write_text(text, "utf-8", newline="\n")


def _line(video: str, text: str, answer: str, **more: float) -> Line:
    turns = [{"from": "human", "value": f"<|video|> {text}"}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns} | more


def _which_exists(attributes: Attributes, rng: random.Random) -> tuple[str, str, str]:
    """The question, the right letter and its option; "None" is always offered."""
    existing = {name for names in attributes.values() for name in names}
    answer = rng.choice(sorted(existing)) if existing else NO_ATTRIBUTE
    absent = [name for names in ATTRIBUTES.values() for name in names if name not in existing]
    options = [*{NO_ATTRIBUTE, answer}, *rng.sample(absent, DISTRACTORS)]
    return _lettered(which_exists_question, options, answer, rng)


def _which_most(
    video: Video, units: Mapping[str, float], attributes: Attributes, rng: random.Random
) -> tuple[str, str, str]:
    """The same; the right option is the distorted dimension with the lowest MOS."""
    distorted = [d for d in DISTORTION_DIMENSIONS if attributes[d]]
    if len(distorted) > 1 and not all(d in units for d in distorted):
        raise DatasetError(
            f"{video.id}: distorted in {', '.join(distorted)}, but not all have a MOS to say which "
            "matters most; fill in videos.csv"
        )
    worst = min((units.get(d, 0.0) for d in distorted), default=0.0)
    tied = [d for d in distorted if units.get(d, 0.0) == worst]
    answer = rng.choice(tied).capitalize() if tied else GOOD_QUALITY
    # Dimensions that tie with the answer would be right too.
    wrong = [d.capitalize() for d in DISTORTION_DIMENSIONS if d not in tied]
    if answer != GOOD_QUALITY:
        wrong.append(GOOD_QUALITY)
    options = [answer, *rng.sample(wrong, min(DISTRACTORS, len(wrong)))]
    return _lettered(which_most_question, options, answer, rng)


def _lettered(
    question: Callable[[Sequence[str]], str],
    options: Sequence[str],
    answer: str,
    rng: random.Random,
) -> tuple[str, str, str]:
    """The question with its options in a random order, the letter of the answer, and the answer."""
    shuffled = sorted(options)
    rng.shuffle(shuffled)
    return question(shuffled), letter_of(answer, shuffled), answer


def _add_levels(
    question_set: QuestionSet, name: str, video: Video, units: Mapping[str, float]
) -> None:
    for dimension, unit in units.items():
        text, answer = level_question(dimension), level_answer(dimension, unit)
        if dimension == "overall":
            word = level_word(dimension, unit)
            question_set.add_question(name, "level overall", text, answer, word)
        question_set.levels.append(_line(name, text, answer, mos=video.labels[dimension]))
