"""The question set of the paper from MOS and attribute labels (section 3.2, appendix B.2).

Each video is asked eight questions: yes or no for each of the five dimensions, which distortion
exists, which dimension matters most, and the overall level. The levels of all dimensions and a
one-sentence description are written beside them. The wordings are those of the official files.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DatasetError
from ..manifest import refuse_existing
from ..questions import LEVELS, level
from ..videos import DIMENSIONS, Dataset, Video, read_csv
from .rating_files import NO_DISTORTION

DISTORTIONS = DIMENSIONS[:-1]
"""The dimensions that have attributes: all but `overall`."""

SEVERE = ("noise", "artifact", "blur")
"""The dimensions that are rated by severity."""

SEVERITIES = ("severe", "strong", "mild", "slight", "undistorted")
"""Their words, worst first; the other dimensions have `LEVELS` (paper, section 3.2)."""

TYPES: Mapping[str, tuple[str, ...]] = {
    "color": (
        "low saturation",
        "high saturation",
        "over dark",
        "over bright",
        "low contrast ratio",
        "high contrast ratio",
        "other color distortion",
    ),
    "noise": ("gaussian noise", "pulse noise", "stripe noise", "moire pattern", "other noise"),
    "artifact": ("compression artifact", "square artifact", "ring artifact", "other artifact"),
    "blur": (
        "resolution blur",
        "shooting system blur",
        "exposure blur",
        "gaussian blur",
        "motion blur",
        "compression blur",
        "other blur",
    ),
    "temporal": ("shaking", "flickering", "lagging", "other temporal distortion"),
}
"""The attributes of the official files, from which distractors are drawn."""

GOOD = "Video quality is good"
"""The answer to "which most" for a video without any distortion."""

DISTRACTORS = 3

Line = dict[str, Any]


@dataclass
class QuestionSet:
    """What was composed, as lines in the official layout.

    Attributes:
        questions: eight a video (fewer where a MOS is missing).
        levels: a level and its MOS for each labelled dimension.
        descriptions: one a video.
        answers: how often each answer is right, by kind of question.
        letters: the same by letter, of the "which" questions.
    """

    questions: list[Line] = field(default_factory=list)
    levels: list[Line] = field(default_factory=list)
    descriptions: list[Line] = field(default_factory=list)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    letters: Counter[str] = field(default_factory=Counter)


def load_attribute_labels(dataset: Dataset, path: Path) -> dict[str, dict[str, list[str]]]:
    """The distortions of each video, by id and dimension, from `video,dimension,attribute` rows.

    A video without rows for a dimension has no distortion there; neither has one with "none".

    Raises:
        DatasetError: no such file, a missing column, an unknown video or dimension, or "none"
            beside another attribute.
    """
    table = read_csv(path)
    missing = {"video", "dimension", "attribute"} - set(table.columns)
    if missing:
        raise DatasetError(
            f"{path}: no column {min(missing)!r}; needed are video,dimension,attribute"
        )
    known = set(dataset.ids)
    found: dict[str, dict[str, list[str]]] = {}
    rows = zip(table["video"], table["dimension"], table["attribute"], strict=True)
    for row, (video, dimension, attribute) in enumerate(rows, start=2):
        place, video_id = f"{path}, row {row}", dataset.video_id(video)
        if video_id not in known:
            raise DatasetError(f"{place}: {video!r} is not in the dataset's manifest")
        if dimension not in DISTORTIONS:
            raise DatasetError(f"{place}: {dimension!r} is not one of {', '.join(DISTORTIONS)}")
        found.setdefault(video_id, {}).setdefault(dimension, []).append(attribute)
    for video_id, by_dimension in found.items():
        for dimension, attributes in by_dimension.items():
            if NO_DISTORTION in attributes:
                if len(attributes) > 1:
                    raise DatasetError(
                        f"{path}: {video_id} has none and {attributes} in {dimension}"
                    )
                attributes.clear()
    return found


def word(dimension: str, unit: float) -> str:
    """The level word of a dimension for a score in [0, 1]: five equal steps."""
    plain = level(unit)
    return SEVERITIES[LEVELS.index(plain)] if dimension in SEVERE else plain


def compose(
    dataset: Dataset, attributes: Mapping[str, Mapping[str, Sequence[str]]], seed: int = 0
) -> QuestionSet:
    """The questions on all videos; a video's own depend on the seed and its id alone.

    Args:
        dataset: with MOS; "which most" goes by the worst MOS of the distorted dimensions.
        attributes: what `load_attribute_labels` returned.
        seed: of the choice and order of options.

    Raises:
        DatasetError: a video has a distortion in two dimensions or more and no MOS to say which is
            worst.
    """
    made = QuestionSet()
    for video in dataset:
        chance = random.Random(f"{seed} {video.id}")
        labels = {d: dataset.unit(mos) for d, mos in video.labels.items()}
        present = {d: list(attributes.get(video.id, {}).get(d, ())) for d in DISTORTIONS}
        name = video.id.removeprefix(f"{dataset.settings.name}/")
        for dimension in DISTORTIONS:
            _add(made, name, f"yes-no {dimension}", *_yes_no(dimension, present[dimension]))
        for kind, (text, letter, answer) in {
            "which exists": _which_exists(present, chance),
            "which most": _which_most(video, labels, present, chance),
        }.items():
            _add(made, name, kind, text, letter, answer)
            made.letters[letter] += 1
        _add_levels(made, name, video, labels)
        if labels:
            made.descriptions.append(
                _line(name, "Describe the quality of this video.", _sentence(labels, present))
            )
    return made


def write_questions(dataset: Dataset, made: QuestionSet) -> None:
    """Write `questions.jsonl`, `levels.jsonl` and `descriptions.jsonl` into the dataset's folder.

    Raises:
        DatasetError: one of them is there.
    """
    files = {
        "questions": made.questions,
        "levels": made.levels,
        "descriptions": made.descriptions,
    }
    for name in files:
        refuse_existing(dataset.settings.folder / f"{name}.jsonl")
    for name, lines in files.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (dataset.settings.folder / f"{name}.jsonl").write_text(text, "utf-8", newline="\n")


def _line(video: str, text: str, answer: str, **more: float) -> Line:
    turns = [{"from": "human", "value": f"<|video|> {text}"}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns} | more


def _add(
    made: QuestionSet, video: str, kind: str, text: str, answer: str, meaning: str = ""
) -> None:
    made.questions.append(_line(video, text, answer))
    made.answers.setdefault(kind, Counter())[meaning or answer] += 1


def _yes_no(dimension: str, attributes: Sequence[str]) -> tuple[str, str]:
    what = f"{dimension} distortion" if dimension in ("color", "temporal") else dimension
    text = (
        f"If there is no {what} in the video, please answer [No]. "
        f"If there is {what} in the video, please answer [Yes]."
    )
    return text, "Yes" if attributes else "No"


def _which_exists(
    present: Mapping[str, Sequence[str]], chance: random.Random
) -> tuple[str, str, str]:
    """Question, right letter and what it stands for; "None" is always offered."""
    existing = {attribute for attributes in present.values() for attribute in attributes}
    answer = chance.choice(sorted(existing)) if existing else "None"
    absent = [name for names in TYPES.values() for name in names if name not in existing]
    options = [*{"None", answer}, *chance.sample(absent, DISTRACTORS)]
    offered, letter = _lettered(options, answer, chance)
    text = (
        f"Please select one distortion type from below options{offered}"
        "Just answer the corresponding letter."
    )
    return text, letter, answer


def _which_most(
    video: Video,
    labels: Mapping[str, float],
    present: Mapping[str, Sequence[str]],
    chance: random.Random,
) -> tuple[str, str, str]:
    """The same for the dimension that matters most: the distorted one with the lowest MOS."""
    distorted = [d for d in DISTORTIONS if present[d]]
    if len(distorted) > 1 and not all(d in labels for d in distorted):
        raise DatasetError(
            f"{video.id}: distorted in {', '.join(distorted)}, but not all have a MOS to say which "
            "matters most; fill in videos.csv"
        )
    worst = min((labels.get(d, 0.0) for d in distorted), default=0.0)
    tied = [d for d in distorted if labels.get(d, 0.0) == worst]
    answer = chance.choice(tied).capitalize() if tied else GOOD
    # Dimensions that tie with the answer would be right too.
    wrong = [d.capitalize() for d in DISTORTIONS if d not in tied]
    if answer != GOOD:
        wrong.append(GOOD)
    options = [answer, *chance.sample(wrong, min(DISTRACTORS, len(wrong)))]
    offered, letter = _lettered(options, answer, chance)
    text = (
        "Which distortion dimension has the greatest impact on video quality, choose from the "
        f"following options{offered}(Just answer the corresponding letter)"
    )
    return text, letter, answer


def _lettered(options: Sequence[str], answer: str, chance: random.Random) -> tuple[str, str]:
    """The options in a drawn order, `{A:[...], B:[...]}`, and the letter of the answer."""
    drawn = sorted(options)
    chance.shuffle(drawn)
    letters = "ABCDEFGH"[: len(drawn)]
    text = ", ".join(f"{letter}:[{name}]" for letter, name in zip(letters, drawn, strict=True))
    return f"{{{text}}}", letters[drawn.index(answer)]


def _add_levels(made: QuestionSet, name: str, video: Video, labels: Mapping[str, float]) -> None:
    for dimension, unit in labels.items():
        right = word(dimension, unit)
        if dimension == "overall":
            text = "How would you rate the overall quality of this video?"
            answer = f"The overall quality of the video is {right}."
            _add(made, name, "level overall", text, answer, right)
        else:
            text = (
                f"Considering the {dimension} dimension, how would you rate the quality of this "
                "video?"
            )
            what = dimension if dimension in SEVERE else f"{dimension} quality"
            answer = f"The {what} of this video is {right}."
        made.levels.append(_line(name, text, answer, mos=video.labels[dimension]))


def _sentence(labels: Mapping[str, float], present: Mapping[str, Sequence[str]]) -> str:
    """One sentence: the overall level, then each dimension with its word and distortions."""
    parts = []
    for dimension in DISTORTIONS:
        if dimension in labels:
            right = word(dimension, labels[dimension])
            what = dimension if dimension in SEVERE else f"{dimension} quality"
            named = f" ({', '.join(present[dimension])})" if present[dimension] else ""
            parts.append(f"{right.replace('undistorted', 'no visible')} {what}{named}")
    whole = "This video"
    if "overall" in labels:
        whole = f"The overall quality of this video is {word('overall', labels['overall'])}"
    if not parts:
        return f"{whole}."
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"{whole}, with {listed}." if "overall" in labels else f"{whole} has {listed}."
