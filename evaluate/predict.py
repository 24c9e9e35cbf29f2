"""Predictions of a checkpoint, made once for each video and kept in predictions.parquet.

All prompts of a video are answered in one forward pass behind one visual prefix, and each video is
by itself in it, so that neither its company nor the order can change its numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..dataset.questions import Question
from ..dataset.videos import Dataset, Video
from ..errors import FineVQError
from ..train.model import FineVQ
from ..train.packing import Layout, Packer, collate
from ..train.prompts import ProfileName, Prompt, prompts_for

KEY = ["video", "task", "item", "question"]
PREDICTED = ["prediction", "prediction_text"]
LABELLED = ["label", "label_text"]
"""The columns of predictions.parquet; `finevq.evaluate.metrics` says what they hold."""


@dataclass(frozen=True)
class Answer:
    """What the model says to one prompt.

    Attributes:
        prompt: the question.
        choice: the most likely of its options.
        score: the score head's value; in [0, 1] but for small overshoots.
    """

    prompt: Prompt
    choice: str
    score: float


class Predictor:
    """A model in evaluation mode on a device."""

    def __init__(self, model: FineVQ, packer: Packer, device: torch.device) -> None:
        self.model = model.eval().to(device)
        self.packer = packer
        self.device = device

    @torch.inference_mode()
    def answer(
        self, spatial: np.ndarray, motion: np.ndarray, prompts: Sequence[Prompt]
    ) -> list[Answer]:
        """Answer all prompts of one video in one forward pass.

        Args:
            spatial: (F, T, D), as the store has it.
            motion: (C, M).
            prompts: in any order.
        """
        layout = Layout(spatial.shape[0], spatial.shape[1], motion.shape[0])
        packed = self.packer.pack(layout, prompts, learn=False)
        batch = collate([packed], pad_id=self.packer.pad_id)
        for unused in ("labels", "targets"):
            del batch[unused]
        batch |= {
            "spatial": torch.from_numpy(spatial)[None],
            "motion": torch.from_numpy(motion)[None],
        }
        output = self.model(**{name: tensor.to(self.device) for name, tensor in batch.items()})
        logits = self.model.vocabulary(output.decisions[0]).cpu()
        scores = output.scores[0].cpu()
        return [
            Answer(
                prompt,
                choice=prompt.options[int(logits[row, self.packer.option_ids(prompt)].argmax())],
                score=float(scores[row]),
            )
            for row, prompt in enumerate(prompts)
        ]


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
    progress: Callable[[int, int], None],
    profile: ProfileName = "finevq",
) -> pd.DataFrame:
    """Answer the prompts of videos: columns KEY and PREDICTED, scores on the dataset's scale."""
    rows = []
    for done, video in enumerate(videos):
        progress(done, len(videos))
        prompts = prompts_for(dataset, video, questions.get(video.id, []), profile)
        for answer in predictor.answer(*read(video.id), prompts):
            score = dataset.mos(answer.score) if answer.prompt.task == "score" else None
            rows.append(
                _key(video, answer.prompt) | {"prediction": score, "prediction_text": answer.choice}
            )
    progress(len(videos), len(videos))
    return _typed(pd.DataFrame(rows, columns=KEY + PREDICTED))


def _key(video: Video, prompt: Prompt) -> dict[str, object]:
    question = prompt.text if prompt.task == "question" else None
    return {"video": video.id, "task": prompt.task, "item": prompt.item, "question": question}


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: "float64" for name in ("prediction", "label") if name in table}
    texts = {name: "string" for name in table.columns if name not in numbers}
    return table.astype(numbers | texts)


def read_predictions(path: Path, made_by: Mapping[str, str]) -> pd.DataFrame:
    """The stored predictions, columns KEY and PREDICTED; none if others made them.

    Args:
        path: predictions.parquet, which need not exist.
        made_by: what the predictions must come from: the checkpoint's digest and the features'.

    Raises:
        FineVQError: the file is damaged.
    """
    empty = _typed(pd.DataFrame(columns=KEY + PREDICTED))
    if not path.is_file():
        return empty
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FineVQError(f"{path}: damaged; delete it and evaluate again") from error
    metadata = table.schema.metadata or {}
    if any(metadata.get(key.encode()) != value.encode() for key, value in made_by.items()):
        return empty
    return _typed(table.to_pandas()[KEY + PREDICTED])


def write_predictions(path: Path, predictions: pd.DataFrame, made_by: Mapping[str, str]) -> None:
    """Store predictions with what they come from; a reader never sees half a file."""
    table = pa.Table.from_pandas(predictions, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **made_by})
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)
