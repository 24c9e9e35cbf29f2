"""The demo's questions: five yes-or-no and two "which" a video, in the official layout."""

import json
from pathlib import Path

import numpy as np

from ..study.wording import (
    GOOD_QUALITY,
    NO_ATTRIBUTE,
    letter_of,
    which_exists_question,
    which_most_question,
    yes_no_question,
)
from ..videos import DISTORTION_DIMENSIONS
from .distortions import TYPES
from .plan import DemoVideo

VISIBLE = 0.3
"""A distortion of more than this strength is there, as far as the questions go."""


def write_questions(path: Path, videos: list[DemoVideo], rng: np.random.Generator) -> None:
    """Write the questions on all videos, one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for video in videos:
            for text, answer in _questions(video, rng):
                turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
                file.write(json.dumps({"video": video.name, "conversations": turns}) + "\n")


def _questions(video: DemoVideo, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The questions on a video, each with its answer."""
    strengths = video.recipe.strengths
    questions = [
        (yes_no_question(d), "Yes" if strengths[d] > VISIBLE else "No")
        for d in DISTORTION_DIMENSIONS
    ]
    worst = max(DISTORTION_DIMENSIONS, key=lambda d: strengths[d])
    good = strengths[worst] <= VISIBLE
    absent = [d for d in DISTORTION_DIMENSIONS if strengths[d] <= VISIBLE and d != worst]

    right = NO_ATTRIBUTE if good else video.recipe.types[worst]
    wrong = [str(rng.choice(TYPES[d])) for d in absent[:3]] + ([] if good else [NO_ATTRIBUTE])
    options = _shuffled(right, wrong, rng)
    questions.append((which_exists_question(options), letter_of(right, options)))

    right = GOOD_QUALITY if good else worst.capitalize()
    wrong = [d.capitalize() for d in DISTORTION_DIMENSIONS if d != worst][:3]
    wrong += [] if good else [GOOD_QUALITY]
    options = _shuffled(right, wrong[-3:], rng)
    questions.append((which_most_question(options), letter_of(right, options)))
    return questions


def _shuffled(right: str, wrong: list[str], rng: np.random.Generator) -> list[str]:
    return [str(option) for option in rng.permutation([right, *wrong])]
