"""A model that answers all prompts of a video.

All prompts of a video are answered behind one visual prefix, in one sequence or, where they do not
fit into it, in several. Sequences are batched; no token attends to padding or to another video. So
batch size, order and the division into sequences change a video's numbers by rounding alone: in
float32 scores and probabilities stay within 1e-5 (tests/evaluate/predict/test_predictor.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from ...dataset.questions import LEVELS
from ...errors import ConfigError
from ...train.model.finevq import FineVQ
from ...train.model.packing import Layout, Packer, collate
from ...train.prompts import TURN_END, Prompt
from .free_text import greedy

LEVEL_VALUES = tuple((k + 0.5) / len(LEVELS) for k in range(len(LEVELS)))
"""The score in [0, 1] that each level word stands for: the middle of its fifth of the scale."""

Inputs = tuple[np.ndarray, np.ndarray, Sequence[Prompt]]
"""A video, or one of its sequences: spatial (F, T, D) and motion (C, M) features as the store has
them, and all of its prompts or those of the sequence."""


@dataclass(frozen=True)
class Answer:
    """The model's answer to one prompt.

    Attributes:
        prompt: the question.
        probabilities: of each of its options, the only answers it may choose from; they sum to 1.
        score: the score head's value, in [0, 1] or slightly outside.
        generated: the answer in the model's own words; None if it was not asked for.
    """

    prompt: Prompt
    probabilities: tuple[float, ...]
    score: float
    generated: str | None = None

    @property
    def choice(self) -> str:
        """The most likely option; the first of several that are equally likely."""
        return self.prompt.options[int(np.argmax(self.probabilities))]

    @property
    def weighted(self) -> float:
        """The second reading of a rating: the level words' values, weighted by probability."""
        return float(np.dot(self.probabilities, LEVEL_VALUES))


class Predictor:
    """A model in evaluation mode on a device."""

    def __init__(
        self,
        model: FineVQ,
        packer: Packer,
        device: torch.device,
        *,
        max_tokens: int | None = None,
        free_text: int = 0,
    ) -> None:
        """Move the model to the device.

        Args:
            model: of any mode, on any device.
            packer: of its tokenizer.
            device: to predict on.
            max_tokens: longest sequence; None for the longest that the base model can read.
            free_text: most tokens of an answer in the model's own words; 0 for no such answer.
        """
        self.model = model.eval().to(device)
        self.packer = packer
        self.device = device
        self.max_tokens = packer.max_positions if max_tokens is None else max_tokens
        self.free_text = free_text

    def answer(
        self, spatial: np.ndarray, motion: np.ndarray, prompts: Sequence[Prompt]
    ) -> list[Answer]:
        """Answer all prompts of one video; see `answer_all`."""
        return self.answer_all([(spatial, motion, prompts)])[0]

    def answer_all(self, videos: Sequence[Inputs]) -> list[list[Answer]]:
        """Answer all prompts of some videos.

        A forward pass has at most as many sequences as there are videos.

        Args:
            videos: with features of the same shapes; prompts in any order and number.

        Raises:
            CheckpointError: a prompt does not fit into a sequence.
            ConfigError: a prompt leaves too little room for its free text.
        """
        sequences = [
            (spatial, motion, packed)
            for spatial, motion, prompts in videos
            for packed in self.packer.plan(
                _layout(spatial, motion), prompts, self.max_tokens, learn=False
            )
        ]
        answers = (
            answer
            for start in range(0, len(sequences), max(1, len(videos)))  # a process may have none
            for answer in self._forward(sequences[start : start + len(videos)])
        )
        return [list(islice(answers, len(prompts))) for _, _, prompts in videos]

    @torch.inference_mode()
    def _forward(self, sequences: Sequence[Inputs]) -> list[Answer]:
        """The answers of sequences, one after the other."""
        batch = self._batch(sequences)
        output = self.model(**batch)
        logits = self.model.vocabulary(output.decisions).cpu()
        scores = output.scores.cpu()
        texts = self._free_texts(sequences) if self.free_text else None
        return [
            self._answer(
                prompt,
                logits[row, column],
                float(scores[row, column]),
                None if texts is None else texts[row][column],
            )
            for row, (_, _, prompts) in enumerate(sequences)
            for column, prompt in enumerate(prompts)
        ]

    def _batch(self, sequences: Sequence[Inputs]) -> dict[str, torch.Tensor]:
        """The model's arguments."""
        packed = [
            self.packer.pack(_layout(spatial, motion), prompts, learn=False)
            for spatial, motion, prompts in sequences
        ]
        batch = collate(packed, pad_id=self.packer.pad_id)
        for unused in ("labels", "targets"):
            del batch[unused]
        batch |= {
            "spatial": torch.from_numpy(np.stack([spatial for spatial, _, _ in sequences])),
            "motion": torch.from_numpy(np.stack([motion for _, motion, _ in sequences])),
        }
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _free_texts(self, sequences: Sequence[Inputs]) -> list[list[str]]:
        """The free text to each prompt of each sequence."""
        # Without its stem a prompt ends where the answer starts.
        without_stem = [
            (spatial, motion, [replace(prompt, stem="") for prompt in prompts])
            for spatial, motion, prompts in sequences
        ]
        batch = self._batch(without_stem)
        room = self.packer.max_positions - 1 - int(batch["positions"].max())
        if self.free_text > room:
            raise ConfigError(
                f"evaluate.free_text = {self.free_text}: the base model has room for {room} tokens "
                "behind a video and a question; set it to at most that"
            )
        (stop,) = self.packer.encode(TURN_END)
        texts = greedy(self.model, batch, stop=stop, limit=self.free_text)
        return [[self.packer.tokenizer.decode(ids) for ids in row] for row in texts]

    def _answer(
        self, prompt: Prompt, logits: torch.Tensor, score: float, generated: str | None
    ) -> Answer:
        probabilities = logits[self.packer.option_ids(prompt)].double().softmax(-1)
        return Answer(prompt, tuple(probabilities.tolist()), score, generated)


def _layout(spatial: np.ndarray, motion: np.ndarray) -> Layout:
    return Layout(spatial.shape[0], spatial.shape[1], motion.shape[0])
