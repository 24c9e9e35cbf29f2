"""What the language model reads: one visual prefix a video, then its questions.

The wording and the chat template are those of the official FineVQ and InternVL2 (`internlm2-chat`),
in which the video comes first and the question last. That order is what lets all questions of a
video share one prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..dataset.questions import LEVELS, Question, level
from ..dataset.videos import DIMENSIONS, Dataset, Video

PROMPTS_VERSION = 1
"""Part of a checkpoint; raise it with any change of the wording below."""

IMAGE, IMAGE_START, IMAGE_END = "<IMG_CONTEXT>", "<img>", "</img>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
BEGIN, PAD = "<s>", "</s>"
SPECIAL = (BEGIN, PAD, TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE)

# "You are the multimodal model InternVL of Shanghai AI Laboratory and SenseTime, a helpful and
# harmless assistant": the system message that InternVL2 was trained with.
SYSTEM = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
    "是一个有用无害的人工智能助手。"
)


@dataclass(frozen=True)
class Prompt:
    """One question on one video.

    The model's choice is read at the last token before the option: level words, Yes and No, or
    letters are compared there, and the score head reads the hidden state of the same token.

    Attributes:
        task: "score" for a rating in one dimension, "question" for any other.
        item: the dimension, or the kind of question.
        text: the question.
        stem: how the answer starts, up to the choice.
        options: the choices.
        answer: the right choice, None where it is not known.
        target: the right score in [0, 1], None where there is none.
    """

    task: str
    item: str
    text: str
    stem: str
    options: tuple[str, ...]
    answer: str | None = None
    target: float | None = None

    def reply(self, option: str) -> str:
        """The whole answer with one of the options."""
        return f"{self.stem} {option}." if self.stem else option


def rating(dimension: str, target: float | None = None) -> Prompt:
    """The prompt that asks for the level and the score of one dimension."""
    text = f"Considering the {dimension} dimension, how would you rate the quality of this video?"
    if dimension == "overall":
        text = "How would you rate the overall quality of this video?"
    return Prompt(
        task="score",
        item=dimension,
        text=text,
        # The dimension comes last but one, next to where the score is read.
        stem=f"Its quality {'' if dimension == 'overall' else 'in '}{dimension} is",
        options=LEVELS,
        answer=None if target is None else level(target),
        target=target,
    )


def prompts_for(dataset: Dataset, video: Video, questions: Sequence[Question]) -> list[Prompt]:
    """All prompts of a video: six ratings, with targets where it has labels, and its questions."""
    ratings = [
        rating(d, dataset.unit(video.labels[d]) if d in video.labels else None) for d in DIMENSIONS
    ]
    asked = [Prompt("question", q.kind, q.text, "", q.options, q.answer) for q in questions]
    return ratings + asked


def prefix(frames: int, tokens: int, clips: int) -> str:
    """The shared part: system message, frames and motion, up to where the question starts.

    Args:
        frames: spatial frames.
        tokens: image tokens a frame.
        clips: motion tokens, one a clip.
    """
    pictures = "".join(
        f"Frame{number}: {IMAGE_START}{IMAGE * tokens}{IMAGE_END}\n"
        for number in range(1, frames + 1)
    )
    motion = f"Motion Feature: {IMAGE_START}{IMAGE * clips}{IMAGE_END}"
    system = f"{BEGIN}{TURN_START}system\n{SYSTEM}{TURN_END}"
    return f"{system}{TURN_START}user\n{pictures}{motion}"


def question(prompt: Prompt) -> str:
    """The part that follows the prefix, up to where the answer starts."""
    return f"{prompt.text}{TURN_END}{TURN_START}assistant\n"
