"""The rating of one video file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...dataset.questions import level

DISAGREE = 2
"""Levels between word and score from which they contradict each other; neighbours can be as near as
their border."""


@dataclass(frozen=True)
class Rating:
    """One dimension of a video.

    Attributes:
        score: on the scale of the training data.
        level: the level word, such as "good".
        probabilities: of the five level words.
        weighted: the second reading of the score: the words' values, weighted by probability.
        percentile: how many percent of the training videos have a MOS below the score; None where
            the checkpoint does not hold their MOS.
        apart: levels between the word and the level that the score lies in, 0 to 4. Score and word
            are two answers of the model: from `DISAGREE` on they contradict each other.
    """

    score: float
    level: str
    probabilities: dict[str, float]
    weighted: float
    percentile: float | None = None
    apart: int = 0

    @property
    def disagrees(self) -> bool:
        """Whether word and score contradict each other."""
        return self.apart >= DISAGREE

    def contradiction(self, scale: tuple[float, float]) -> str | None:
        """What the score means, where the word says something else; None where they agree."""
        if not self.disagrees:
            return None
        low, high = scale
        meant = level((self.score - low) / (high - low))
        return f"word and score disagree, the score means {meant}"


@dataclass(frozen=True)
class Reply:
    """The answer to one question.

    Attributes:
        kind: of the question, such as "yes-no noise".
        answer: the most likely of the options.
        probabilities: of the options.
    """

    kind: str
    answer: str
    probabilities: dict[str, float]

    @property
    def distortion(self) -> str:
        """What is asked for, such as "noise"."""
        return self.kind.rpartition(" ")[2]


@dataclass(frozen=True)
class ScoreCard:
    """All that the model says of one file.

    Attributes:
        video: the path as it was given.
        scale: lowest and highest score.
        ratings: by dimension, all six; empty if the file could not be rated.
        error: why the file could not be rated, else None.
        replies: to the yes-or-no question of each of the five distortions.
        seconds: the video's duration, None where its file does not say.
        concealed: number of its frames that the decoder made up because they are damaged.
        missing: number of its frames that the file should show and that it did not give.
    """

    video: str
    scale: tuple[float, float]
    ratings: dict[str, Rating]
    error: str | None = None
    replies: list[Reply] = field(default_factory=list)
    seconds: float | None = None
    concealed: int = 0
    missing: int = 0

    @property
    def damage(self) -> str | None:
        """What the ratings of a damaged video leave out or make up, in words; None if intact."""
        found = []
        if self.concealed:
            found.append(f"the decoder made up {_frames(self.concealed)}")
        if self.missing:
            found.append(f"{_frames(self.missing)} missing")
        return f"damaged: {', '.join(found)}" if found else None

    def overall_first(self) -> Iterator[tuple[str, Rating]]:
        """The ratings with their dimensions, as people read them."""
        return iter(sorted(self.ratings.items(), key=lambda named: named[0] != "overall"))


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
