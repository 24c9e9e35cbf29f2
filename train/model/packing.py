"""Packing: all questions of a video behind one visual prefix.

Each question sees the prefix and itself, never its neighbours, and its positions go on from the
prefix's end, so that it reads exactly what it would read alone:

              prefix    q1     q2
    prefix  [ causal                  ]     positions  0 .. P-1
    q1      [  all     causal         ]                P .. P+len(q1)-1
    q2      [  all      -      causal ]                P .. P+len(q2)-1

With P of about 2,100 and 13 questions of about 30 tokens this is a tenth of the tokens of asking
one by one, with the same loss and gradients (tests/train/model/test_finevq.py). A video whose
questions do not fit into one sequence takes several, each with the prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..base.tokenizer import Tokenizer
from ..prompts import IMAGE, SPECIAL, TURN_END, Chat, Prompt
from .spec import DEFAULT, Spec, selected_indices

PREFIX, PADDING = 0, -1
"""Segment numbers; the questions are numbered from 1."""

IGNORE = -100
"""Label of a token that takes no part in the language loss, as torch's cross entropy has it."""


@dataclass(frozen=True)
class Layout:
    """The numbers of visual tokens in a prefix."""

    frames: int
    tokens: int
    clips: int


@dataclass(frozen=True)
class Packed:
    """One video's token sequence, L tokens with Q questions; all tensors are int64 but `targets`.

    Attributes:
        input_ids: (L,); visual tokens are placeholders.
        positions: (L,), for the rotary embedding.
        segments: (L,), 0 for the prefix and k for the k-th question.
        labels: (L,), the token itself where it is to be learned, else -100.
        decisions: (Q,), index of the token that predicts the choice, where the score is read.
        targets: (Q,), float32 scores in [0, 1]; NaN where there is none to learn.
    """

    input_ids: Tensor
    positions: Tensor
    segments: Tensor
    labels: Tensor
    decisions: Tensor
    targets: Tensor


class Packer:
    """Makes packed sequences with one tokenizer."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat: Chat,
        max_positions: int,
        spec: Spec = DEFAULT,
    ) -> None:
        """Look up the special tokens of a tokenizer.

        Args:
            tokenizer: the base model's.
            chat: the base model's template.
            max_positions: length of the longest sequence that the base model can read.
            spec: tells how many of the stored frames and clips have tokens in the prefix.

        Raises:
            CheckpointError: the tokenizer lacks a token of the template.
        """
        self.tokenizer = tokenizer
        self.chat = chat
        self.max_positions = max_positions
        self.spec = spec
        ids = {token: self.encode(token) for token in SPECIAL}
        for token, found in ids.items():
            if len(found) != 1:
                raise CheckpointError(
                    f"the base model's tokenizer has no token {token}; a base model must be an "
                    "InternVL"
                )
        self.image_id = ids[IMAGE][0]
        self.pad_id = ids[TURN_END][0]  # any will do: nothing sees padding
        self._prefixes: dict[Layout, list[int]] = {}

    def encode(self, string: str) -> list[int]:
        """Token ids; special tokens are recognised in the text and none is added."""
        return list(self.tokenizer.encode(string, add_special_tokens=False))

    def prefix(self, layout: Layout) -> list[int]:
        """Token ids of the shared prefix of features of this layout."""
        if layout not in self._prefixes:
            frames = selected_indices(layout.frames, self.spec.frames)
            clips = selected_indices(layout.clips, self.spec.clips)
            string = self.chat.prefix(len(frames), layout.tokens, len(clips))
            self._prefixes[layout] = self.encode(string)
        return self._prefixes[layout]

    def option_ids(self, prompt: Prompt) -> list[int]:
        """The first token of each option, by which the options are told apart.

        Raises:
            CheckpointError: the tokenizer gives two options the same first token.
        """
        stem = len(self.encode(prompt.stem))
        ids = [self.encode(prompt.reply(option))[stem] for option in prompt.options]
        if len(set(ids)) < len(ids):
            raise CheckpointError(
                f"the tokenizer does not tell the options {', '.join(prompt.options)} apart by "
                "their first token"
            )
        return ids

    def plan(
        self, layout: Layout, prompts: Sequence[Prompt], max_tokens: int, *, learn: bool
    ) -> list[list[Prompt]]:
        """Divide the questions of one video into sequences of at most `max_tokens`.

        Args:
            layout: of the stored features.
            prompts: in order, which is kept; each sequence takes as many as fit.
            max_tokens: of a sequence, its prefix included.
            learn: as in `pack`.

        Raises:
            CheckpointError: one question with the prefix is longer, or longer than the base model
                can read.
        """
        # A trained model reads the frames that it was trained on, whatever train.frames says.
        fewer = ", or train.frames to fewer" if learn else ""
        prefix = len(self.prefix(layout))
        plan: list[list[Prompt]] = []
        room = 0
        for prompt in prompts:
            question, _, answer = self._tokens(prompt, learn)
            length = len(question) + len(answer)
            self._check_positions(layout, prefix + length)
            if prefix + length > max_tokens:
                raise CheckpointError(
                    f"a video's {prefix} tokens and a question make a sequence of "
                    f"{prefix + length}; set train.max_tokens = {max_tokens} to as many{fewer}"
                )
            if length > room:
                plan.append([])
                room = max_tokens - prefix
            plan[-1].append(prompt)
            room -= length
        return plan

    def pack(self, layout: Layout, prompts: Sequence[Prompt], *, learn: bool) -> Packed:
        """Pack the questions of one video.

        Args:
            layout: of the stored features.
            prompts: the questions, in the order that they get in the sequence.
            learn: with True right answers, where they are known, follow their questions and are
                labelled; with False every question ends where its choice is made.

        Raises:
            CheckpointError: the sequence is longer than the base model can read.
        """
        ids = list(self.prefix(layout))
        start = len(ids)
        positions, segments = list(range(start)), [PREFIX] * start
        labels, decisions = [IGNORE] * start, []
        for number, prompt in enumerate(prompts, start=1):
            question, stem, answer = self._tokens(prompt, learn)
            decisions.append(len(ids) + len(question) + len(stem) - 1)
            ids += question + answer
            learned = learn and prompt.answer is not None
            labels += [IGNORE] * len(question) + (answer if learned else [IGNORE] * len(answer))
            positions += range(start, start + len(question) + len(answer))
            segments += [number] * (len(question) + len(answer))
        self._check_positions(layout, max(positions) + 1)
        targets = [float("nan") if p.target is None else p.target for p in prompts]
        return Packed(
            input_ids=torch.tensor(ids),
            positions=torch.tensor(positions),
            segments=torch.tensor(segments),
            labels=torch.tensor(labels),
            decisions=torch.tensor(decisions, dtype=torch.int64),
            targets=torch.tensor(targets, dtype=torch.float32),
        )

    def _tokens(self, prompt: Prompt, learn: bool) -> tuple[list[int], list[int], list[int]]:
        """Token ids of the question, of the stem, and of all that follows the question."""
        question, stem = self.encode(self.chat.question(prompt)), self.encode(prompt.stem)
        if not learn or prompt.answer is None:
            return question, stem, stem
        answer = self.encode(prompt.reply(prompt.answer) + TURN_END)
        if answer[: len(stem)] != stem:
            raise CheckpointError(
                f"the tokenizer splits {prompt.stem!r} in another way when an answer follows it"
            )
        return question, stem, answer

    def _check_positions(self, layout: Layout, count: int) -> None:
        if count > self.max_positions:
            raise CheckpointError(
                f"{layout.frames} frames of {layout.tokens} tokens and a question make a sequence "
                f"of {count} tokens; the base model reads {self.max_positions}: extract fewer "
                "frames, or shorten the question"
            )


def collate(packed: Sequence[Packed], *, pad_id: int) -> dict[str, Tensor]:
    """Stack sequences of B videos to the length L of the longest, and Q to the most questions.

    Returns:
        Fields of `Packed` with a batch dimension in front. Padding has segment -1; the decisions of
        questions that a video does not have are -1.
    """
    padding = {
        "input_ids": pad_id,
        "positions": 0,
        "segments": PADDING,
        "labels": IGNORE,
        "decisions": -1,
        "targets": float("nan"),
    }
    return {
        field: torch.nn.utils.rnn.pad_sequence(
            [getattr(one, field) for one in packed], batch_first=True, padding_value=value
        )
        for field, value in padding.items()
    }


def attention_mask(segments: Tensor, rows: int | None = None) -> Tensor:
    """Which token sees which, by the rule in this module's docstring.

    Args:
        segments: (B, L).
        rows: R, to get only the rows of the last R tokens, as when the keys and values of the
            others are cached; None for all.

    Returns:
        Bool (B, 1, R, L), True where the row's token sees the column's. Padding sees only itself,
        because a row without any True would be NaN after the softmax.
    """
    length = segments.shape[1]
    first = 0 if rows is None else length - rows
    place = torch.arange(length, device=segments.device)
    row, column = segments[:, first:, None], segments[:, None, :]
    causal, itself = place <= place[first:, None], place == place[first:, None]
    seen = ((column == PREFIX) | (column == row)) & (column != PADDING) & causal
    return (seen | itself)[:, None]
