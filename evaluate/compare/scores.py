"""Scores, labels and answers by video, and matching a model's names of videos with the labels'."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import DatasetError
from ..metrics.answers import Answers, answers_by


@dataclass(frozen=True)
class Scores:
    """Scores and answers of one model, or the labels and right answers.

    Attributes:
        name: of the model.
        table: scores or labels, a row for each video by its name, a column for each dimension; NaN
            where there is none.
        answers: to questions, by `finevq.evaluate.metrics.answers.INDEX`; a CSV file has none.
        stored: whether these are a checkpoint's stored predictions.
        checkpoint: the folder of this checkpoint, None where it was not found.
    """

    name: str
    table: pd.DataFrame
    answers: "Answers[Any]" = field(default_factory=lambda: answers_by([]))
    stored: bool = False
    checkpoint: Path | None = None


def matched(model: Scores, labels: Scores) -> Scores:
    """A model's scores under the names that the labels give to the videos.

    A video may be named by its id or by its path alone: `LIVE-VQC/Video/A001.mp4` or
    `Video/A001.mp4`.

    Raises:
        DatasetError: none of its videos has a label, a video is there under both names, or a path
            alone fits several labels.
    """
    known = set(labels.table.index)
    by_path: dict[str, list[str]] = {}
    for name in known:
        if path := _path_alone(name):
            by_path.setdefault(path, []).append(name)

    def label_of(name: str) -> str:
        if name in known:
            return name
        candidates = sorted({*by_path.get(name, []), *({_path_alone(name)} & known)})
        if len(candidates) > 1:
            raise DatasetError(
                f"{model.name}: {name!r} may be {candidates[0]!r} or {candidates[1]!r}; name the "
                "videos as the labels do"
            )
        return candidates[0] if candidates else name

    names = [label_of(name) for name in model.table.index]
    table = model.table.set_axis(pd.Index(names), axis=0)
    if table.index.duplicated().any():
        twice = table.index[table.index.duplicated()][0]
        raise DatasetError(f"{model.name}: {twice!r} is there under two names")
    if not table.index.isin(labels.table.index).any():
        raise DatasetError(
            f"{model.name}: none of its {len(table)} videos has a label; it names them like "
            f"{model.table.index[0]!r}, the labels like {labels.table.index[0]!r}"
            if len(table)
            else f"{model.name}: has no videos"
        )
    answers = model.answers.rename(index=dict(zip(model.table.index, names, strict=True)), level=0)
    return replace(model, table=table, answers=answers)


def with_ids(labels: Scores) -> Scores:
    """Labels under the videos' ids, which have the dataset's name in front."""
    prefix = f"{labels.name}/"
    names = labels.table.index
    if names.str.startswith(prefix).all():
        return labels
    return replace(labels, table=labels.table.set_axis(prefix + names, axis=0))


def _path_alone(name: str) -> str:
    """A video's name without the dataset's name in front; empty for a name without a folder."""
    return name.partition("/")[2]
