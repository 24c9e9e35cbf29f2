"""The text that the language model reads: one visual prefix a video, then its questions.

The chat templates are those of the published InternVL models, the order that of the official
FineVQ: the video comes first and the question last. That order is what lets all questions of a
video share one prefix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..dataset.questions import LEVELS, Question, level
from ..dataset.videos import DIMENSIONS, Dataset, Video

PROMPTS_VERSION = 1
"""Part of a checkpoint; raise it with any change of the wording below."""

IMAGE, IMAGE_START, IMAGE_END = "<IMG_CONTEXT>", "<img>", "</img>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
SPECIAL = (TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE)
"""The tokenizer of any base model must read each of these as one token."""


@dataclass(frozen=True)
class Prompt:
    """One question on one video.

    The model chooses at the last token before the option: there the options' probabilities are
    compared (level words, Yes and No, or letters), and there the score head reads the hidden state.

    Attributes:
        task: "score" for a rating in one dimension, "question" for any other.
        item: the dimension, or the kind of question.
        text: the question.
        stem: how the answer starts, up to the choice.
        options: the choices.
        answer: the right option, None where it is not known.
        target: the right score in [0, 1], None where it is not known.
    """

    task: str
    item: str
    text: str
    stem: str
    options: tuple[str, ...]
    answer: str | None = None
    target: float | None = None

    def reply(self, option: str) -> str:
        """The whole answer, with one of the options as the choice."""
        return f"{self.stem} {option}." if self.stem else option


@dataclass(frozen=True)
class Chat:
    """The template in which a base model learned to talk.

    Attributes:
        system: the system message.
        between: what stands between two turns.
        begin: what the base model's tokenizer puts in front of every text, such as "<s>".
    """

    system: str
    between: str = ""
    begin: str = ""

    def prefix(self, frames: int, tokens: int, clips: int) -> str:
        """The part that all questions share: system message, frames and motion.

        Args:
            frames: number of frames.
            tokens: image tokens a frame.
            clips: motion tokens, one a clip; with none the prefix does not mention motion.
        """
        pictures = "".join(
            f"Frame{number}: {IMAGE_START}{IMAGE * tokens}{IMAGE_END}\n"
            for number in range(1, frames + 1)
        )
        motion = f"Motion Feature: {IMAGE_START}{IMAGE * clips}{IMAGE_END}" if clips else ""
        system = f"{self.begin}{TURN_START}system\n{self.system}{TURN_END}{self.between}"
        return f"{system}{TURN_START}user\n{pictures}{motion}"

    def question(self, prompt: Prompt) -> str:
        """The part that follows the prefix, up to where the answer starts."""
        return f"{prompt.text}{TURN_END}{self.between}{TURN_START}assistant\n"


# "You are the multimodal model InternVL of Shanghai AI Laboratory and SenseTime, a helpful and
# harmless assistant": InternVL2 was trained with it.
INTERNVL2 = Chat(
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
    "是一个有用无害的人工智能助手。"
)

# "You are InternVL, a multimodal large language model of Shanghai AI Laboratory, Tsinghua
# University and partners": InternVL2.5, 3 and 3.5.
INTERNVL2_5 = Chat(
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的"  # noqa: RUF001
    "多模态大语言模型。",
    between="\n",
)

CHATS: Mapping[str, Chat] = {
    "internlm2-chat": INTERNVL2,
    "Hermes-2": INTERNVL2,  # the same text, for bases that are not InternLM2
    "internvl2_5": INTERNVL2_5,
}
"""By the `template` of a published config.json."""


@dataclass(frozen=True)
class Profile:
    """The wording of the ratings.

    Attributes:
        tag: what stands in front of every question.
        overall: the stem of the answer to the overall rating.
        other: the stem of the answers to the others; `{}` in it stands for the dimension.
    """

    tag: str
    overall: str
    other: str


ProfileName = Literal["finevq", "official"]

PROFILES: Mapping[ProfileName, Profile] = {
    # The dimension is the last word but one: the score is read right behind it.
    "finevq": Profile("", "Its quality overall is", "Its quality in {} is"),
    # In the data files of the published models the tag is plain text in the question.
    "official": Profile(
        "<|video|> ", "The overall quality of the video is", "The quality of this video is"
    ),
}


def rating(dimension: str, target: float | None = None, profile: ProfileName = "finevq") -> Prompt:
    """The prompt that asks for level and score in one dimension."""
    wording = PROFILES[profile]
    text = f"Considering the {dimension} dimension, how would you rate the quality of this video?"
    if dimension == "overall":
        text = "How would you rate the overall quality of this video?"
    return Prompt(
        task="score",
        item=dimension,
        text=wording.tag + text,
        stem=wording.overall if dimension == "overall" else wording.other.format(dimension),
        options=LEVELS,
        answer=None if target is None else level(target),
        target=target,
    )


def prompts_for(
    dataset: Dataset,
    video: Video,
    questions: Sequence[Question],
    profile: ProfileName = "finevq",
) -> list[Prompt]:
    """All prompts of a video: six ratings, with targets where it has labels, and its questions."""
    ratings = [
        rating(d, dataset.unit(video.labels[d]) if d in video.labels else None, profile)
        for d in DIMENSIONS
    ]
    tag = PROFILES[profile].tag
    others = [Prompt("question", q.kind, tag + q.text, "", q.options, q.answer) for q in questions]
    return ratings + others
