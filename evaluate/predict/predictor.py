"""Predictions of a checkpoint, made once for each video and kept in predictions.parquet.

All prompts of a video are answered behind one visual prefix, in one sequence or, where they do not
fit into it, in several. Sequences are packed into batches; their padding is seen by none, so that
neither company nor order nor the division changes a video's numbers by more than rounding: in
float32 scores and probabilities stay within 1e-5 (tests/evaluate/predict/test_predictor.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from ...dataset.questions import LEVELS, Question
from ...dataset.videos import Dataset, Video
from ...errors import ConfigError, FineVQError
from ...train.model.finevq import FineVQ
from ...train.model.packing import Layout, Packer, collate
from ...train.prompts import TURN_END, ProfileName, Prompt, prompts_for
from .free_text import greedy

KEY = ["video", "task", "item", "question"]
PREDICTED = [
    "prediction",
    "prediction_text",
    "weighted",
    "options",
    "probabilities",
    "generated",
    "free_text",
]
LABELLED = ["label", "label_text"]
"""The columns of predictions.parquet; docs/evaluation.md says what they hold."""

FORMAT = "3"
"""Of predictions.parquet; a file of another is made anew."""

FOLDER = "checkpoint_folder"
"""Where the file names its checkpoint's folder, which may be another one later."""

LEVEL_VALUES = tuple((k + 0.5) / len(LEVELS) for k in range(len(LEVELS)))
"""The score in [0, 1] that each level word stands for: the middle of its fifth of the scale."""

Inputs = tuple[np.ndarray, np.ndarray, Sequence[Prompt]]
"""A video: spatial (F, T, D) and motion (C, M) features as the store has them, and its prompts; or
a sequence of it, with some of them."""


@dataclass(frozen=True)
class Answer:
    """What the model says to one prompt.

    Attributes:
        prompt: the question.
        probabilities: of each of its options, which the choice is constrained to; they sum to 1.
        score: the score head's value; in [0, 1] but for small overshoots.
        generated: the answer in the model's own words; None if it was not asked for.
    """

    prompt: Prompt
    probabilities: tuple[float, ...]
    score: float
    generated: str | None = None

    @property
    def choice(self) -> str:
        """The most likely option; the first of several."""
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
            max_tokens: of a sequence; without it what the base model can read.
            free_text: tokens of an answer in the model's own words, at most; 0 for no such answer.
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
        """Answer all prompts of some videos, with as many sequences as videos in a forward pass.

        Args:
            videos: with features of the same shapes; prompts in any order and number.

        Raises:
            CheckpointError: a prompt does not fit into a sequence.
            ConfigError: nor does the free text behind it.
        """
        sequences = [
            (spatial, motion, prompts)
            for spatial, motion, asked in videos
            for prompts in self.packer.plan(
                _layout(spatial, motion), asked, self.max_tokens, learn=False
            )
        ]
        answers = (
            answer
            for start in range(0, len(sequences), max(1, len(videos)))  # a process may have none
            for answer in self._forward(sequences[start : start + len(videos)])
        )
        return [list(islice(answers, len(asked))) for _, _, asked in videos]

    @torch.inference_mode()
    def _forward(self, sequences: Sequence[Inputs]) -> list[Answer]:
        """The answers of sequences, one after the other."""
        batch = self._batch(sequences)
        output = self.model(**batch)
        logits = self.model.vocabulary(output.decisions).cpu()
        scores = output.scores.cpu()
        texts = self._written(sequences) if self.free_text else None
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

    def _written(self, sequences: Sequence[Inputs]) -> list[list[str]]:
        """The free text to each prompt of each sequence."""
        # Without its stem a prompt ends where the answer starts.
        unled = [
            (spatial, motion, [replace(prompt, stem="") for prompt in prompts])
            for spatial, motion, prompts in sequences
        ]
        batch = self._batch(unled)
        room = self.packer.max_positions - 1 - int(batch["positions"].max())
        if self.free_text > room:
            raise ConfigError(
                f"evaluate.free_text = {self.free_text}: the base model has room for {room} tokens "
                "behind a video and a question; set it to at most that"
            )
        (stop,) = self.packer.encode(TURN_END)
        written = greedy(self.model, batch, stop=stop, limit=self.free_text)
        return [[self.packer.tokenizer.decode(ids) for ids in row] for row in written]

    def _answer(
        self, prompt: Prompt, logits: torch.Tensor, score: float, generated: str | None
    ) -> Answer:
        among = logits[self.packer.option_ids(prompt)].double().softmax(-1)
        return Answer(prompt, tuple(among.tolist()), score, generated)


def _layout(spatial: np.ndarray, motion: np.ndarray) -> Layout:
    return Layout(spatial.shape[0], spatial.shape[1], motion.shape[0])


def expected(
    dataset: Dataset,
    videos: Iterable[Video],
    questions: Mapping[str, list[Question]],
    profile: ProfileName = "finevq",
) -> pd.DataFrame:
    """One row for each prompt of each video with its label, columns KEY and LABELLED."""
    rows = [
        _key(video, prompt)
        | {
            "label": video.labels.get(prompt.item) if prompt.task == "score" else None,
            "label_text": prompt.answer,
        }
        for video in videos
        for prompt in prompts_for(dataset, video, questions.get(video.id, []), profile)
    ]
    return _typed(pd.DataFrame(rows, columns=KEY + LABELLED))


def predict(
    predictor: Predictor,
    dataset: Dataset,
    videos: Sequence[Video],
    questions: Mapping[str, list[Question]],
    read: Callable[[str], tuple[np.ndarray, np.ndarray]],
    profile: ProfileName = "finevq",
    videos_per_batch: int = 1,
) -> Iterator[pd.DataFrame]:
    """Answer the prompts of videos; of several processes each answers its share of them.

    Yields:
        A table for each batch, or for one batch of each process, in all processes the same: columns
        KEY and PREDICTED, scores on the dataset's scale, videos in order.
    """
    state = PartialState()
    at_once = videos_per_batch * state.num_processes
    for start in range(0, len(videos), at_once):
        with state.split_between_processes(list(videos[start : start + at_once])) as batch:
            inputs = [
                (*read(video.id), prompts_for(dataset, video, questions.get(video.id, []), profile))
                for video in batch
            ]
            answers = zip(batch, predictor.answer_all(inputs), strict=True)
            rows = [
                _row(dataset, video, one) | {"free_text": predictor.free_text}
                for video, found in answers
                for one in found
            ]
        yield table_of(gather_object(rows))


def table_of(rows: Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """A table of predictions, columns KEY and PREDICTED, of the same types without rows."""
    return _typed(pd.DataFrame(list(rows), columns=KEY + PREDICTED))


def _row(dataset: Dataset, video: Video, answer: Answer) -> dict[str, object]:
    rated = answer.prompt.task == "score"
    return _key(video, answer.prompt) | {
        "prediction": dataset.mos(answer.score) if rated else None,
        "prediction_text": answer.choice,
        "weighted": dataset.mos(answer.weighted) if rated else None,
        "options": list(answer.prompt.options),
        "probabilities": list(answer.probabilities),
        "generated": answer.generated,
    }


def _key(video: Video, prompt: Prompt) -> dict[str, object]:
    question = prompt.text if prompt.task == "question" else None
    return {"video": video.id, "task": prompt.task, "item": prompt.item, "question": question}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = dict.fromkeys({"prediction", "weighted", "label"} & set(table), "float64")
    numbers |= dict.fromkeys({"free_text"} & set(table), "int64")
    lists = {name: table[name].map(list) for name in ("options", "probabilities") if name in table}
    texts = {name: "string" for name in table.columns if name not in {*numbers, *lists}}
    return table.astype(numbers | texts).assign(**lists)


def read_predictions(path: Path, made_by: Mapping[str, str]) -> pd.DataFrame:
    """The stored predictions, columns KEY and PREDICTED; none if the file is of an older format.

    Args:
        path: predictions.parquet, which need not exist.
        made_by: what the predictions must come from: the checkpoint's digest and the features';
            `FOLDER` among it is not compared.

    Raises:
        FineVQError: the file is damaged, or others made it.
    """
    if not path.is_file():
        return table_of()
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FineVQError(f"{path}: damaged; delete it and evaluate again") from error
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if metadata.get("format") != FORMAT:
        return table_of()
    for what, wanted in made_by.items():
        if what != FOLDER and (found := metadata.get(what, "")) != wanted:
            maker = metadata.get(FOLDER, "of an unknown folder")
            raise FineVQError(
                f"{path}: made with the {what} {found[:12]} (checkpoint {maker}), not with "
                f"{wanted[:12]}, and would be lost; set evaluate.out to another folder, or delete "
                "the file"
            )
    return _typed(table.to_pandas()[KEY + PREDICTED])


def write_predictions(path: Path, predictions: pd.DataFrame, made_by: Mapping[str, str]) -> None:
    """Store predictions with what they come from; a reader never sees half a file."""
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), **made_by, "format": FORMAT}
    table = table.replace_schema_metadata(metadata)
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)
