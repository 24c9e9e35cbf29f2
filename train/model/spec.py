"""How a checkpoint reads a video: what training, a start from it and prediction share."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from ..prompts import ProfileName
from ..settings import Selection


@dataclass(frozen=True)
class Spec:
    """How a checkpoint reads a video; stored in its checkpoint.json.

    Trained weights mean something in the reading that they were trained in and in no other.

    Attributes:
        profile: the wording of the ratings, a key of `finevq.train.prompts.PROFILES`.
        final_relu: whether a ReLU ends the score head, as in the official model.
        frames: how many of the stored frames the model reads, see `selected_indices`.
        clips: how many of the stored clips.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    profile: ProfileName = "finevq"
    final_relu: bool = False
    frames: Selection = "all"
    clips: Selection = "all"

    def __str__(self) -> str:
        head = "a" if self.final_relu else "no"
        return (
            f"{self.profile} wording, {head} final ReLU in the score head, "
            f"frames {self.frames}, clips {self.clips}"
        )


DEFAULT = Spec()
"""Our wording and score head, and all that is stored."""


def selected_indices(stored: int, selection: Selection) -> list[int]:
    """Which of the stored frames or clips the model reads: the middles of equal segments.

    Args:
        stored: how many frames or clips of a video there are.
        selection: how many are read, at most `stored`; they are divided into as many segments.
    """
    count = stored if selection == "all" else selection
    return [(2 * k + 1) * stored // (2 * count) for k in range(count)]
