"""Questions on the distortions of a video and their answers, from `questions.jsonl`.

The file has the layout of the official FineVQ data: one JSON object a line, with the video's
relative path and a conversation of two turns, "human" and "ai".
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from .videos import DIMENSIONS, Dataset

LEVELS = ("bad", "poor", "fair", "good", "excellent")
"""The five words of the rating scale, worst first (paper, section 3.2)."""


def level(unit: float) -> str:
    """The word for a score in [0, 1]: five equal steps."""
    return LEVELS[min(max(int(unit * len(LEVELS)), 0), len(LEVELS) - 1)]


@dataclass(frozen=True)
class Question:
    """One question on a video.

    Attributes:
        kind: what is asked, such as "yes-no noise" or "which most"; results are grouped by it.
        text: the question as the model reads it.
        options: the answers to choose from.
        answer: the right option.
    """

    kind: str
    text: str
    options: tuple[str, ...]
    answer: str


def rated_dimension(text: str) -> str | None:
    """The dimension that a question asks to rate; None if it asks something else.

    The official wordings: "How would you rate the overall quality of this video?" and
    "Considering the noise dimension, how would you rate the quality of this video?".
    """
    if "how would you rate the" not in text.lower():
        return None
    return next((d for d in DIMENSIONS if d in text.lower()), "overall")


def load_questions(dataset: Dataset) -> Mapping[str, list[Question]]:
    """The questions of each video, by its id, in the order of the file; none if there is no file.

    Lines that ask for a rating are skipped: training asks for all ratings itself, from the MOS.

    Raises:
        DatasetError: a line is not in the official layout, an answer is not among the options, a
            video is asked the same question twice, or it is not in the manifest.
    """
    path = dataset.settings.folder / "questions.jsonl"
    questions: dict[str, list[Question]] = defaultdict(list)
    if not path.is_file():
        return questions
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a UTF-8 file: {error}") from error
    known = set(dataset.ids)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        video, question = _parse(path, number, line)
        video_id = dataset.video_id(video)
        if video_id not in known:
            raise DatasetError(f"{path}, line {number}: {video!r} is not in the dataset's manifest")
        if question is None:
            continue
        if any(other.text == question.text for other in questions[video_id]):
            raise DatasetError(f"{path}, line {number}: {video!r} is asked the same question twice")
        questions[video_id].append(question)
    return questions


def _parse(path: Path, number: int, line: str) -> tuple[str, Question | None]:
    """Video and question of a line; no question if it asks for a rating."""
    try:
        entry = json.loads(line)
        human, ai = entry["conversations"]
        # Some official files start a name with a byte-order mark in the middle of the file.
        video, answer = entry["video"].lstrip("\ufeff"), ai["value"].strip()
        text = human["value"].removeprefix("<|video|>").strip()
        if (human["from"], ai["from"]) != ("human", "ai"):
            raise ValueError("the turns are not human, ai")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path}, line {number}: not in the official layout ({type(error).__name__}: {error})"
        ) from error
    if rated_dimension(text):
        return video, None
    try:
        kind, options = classify(text)
    except DatasetError as error:
        raise DatasetError(f"{path}, line {number}: {error}") from error
    if answer not in options:
        raise DatasetError(
            f"{path}, line {number}: the answer {answer!r} is not among {', '.join(options)}"
        )
    return video, Question(kind, text, options, answer)


def classify(text: str) -> tuple[str, tuple[str, ...]]:
    """The kind of a question and the answers it allows, from its wording (paper, section 5.2).

    Raises:
        DatasetError: the question offers no options.
    """
    letters = tuple(re.findall(r"\b([A-Z]):\[", text))
    if letters:
        return ("which most" if "impact" in text else "which exists"), letters
    if "[Yes]" in text and "[No]" in text:
        dimension = next((d for d in DIMENSIONS if d in text), "other")
        return f"yes-no {dimension}", ("Yes", "No")
    raise DatasetError(
        f"the question {text!r} offers neither [Yes] and [No] nor lettered options; scores and "
        "levels are asked for by finevq itself"
    )
