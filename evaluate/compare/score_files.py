"""Scores, labels and answers by video: read from files, and matched by the videos' names.

A model is a checkpoint's stored predictions or a CSV file of anyone's: the first column names the
video, further columns hold scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...dataset.questions import load_questions
from ...dataset.splits import Part, load_split
from ...dataset.tables import read_csv
from ...dataset.videos import DIMENSIONS, Dataset
from ...errors import DatasetError, FineVQError
from ...train.model.checkpoint import digest
from ...train.prompts import PROFILES
from ..metrics.agreement import Array
from ..metrics.answers import Answers, answers_by
from ..predict.predictor import KEY, read_predictions

PREDICTIONS = "predictions.parquet"

_MEND = "delete it and evaluate again"
_DAMAGED = f"damaged; {_MEND}"


@dataclass(frozen=True)
class Scores:
    """Scores and answers of one model, or the labels and right answers.

    Attributes:
        name: of the model.
        table: floats, a row a video by its name, columns dimensions; NaN where there is none.
        answers: to questions, by `finevq.evaluate.metrics.answers.INDEX`; a CSV file has none.
        stored: whether these are a checkpoint's stored predictions.
        checkpoint: the folder of this checkpoint, None where it is not known.
    """

    name: str
    table: pd.DataFrame
    answers: "Answers[Any]" = field(default_factory=lambda: answers_by([]))
    stored: bool = False
    checkpoint: Path | None = None


def read_scores(text: str, name: str = "") -> Scores:
    """Read FILE.csv or FILE.csv:COLUMN.

    Without a column named, those of the six dimensions are taken, else the only one there is, as
    "overall".

    Raises:
        DatasetError: no such file or column, a choice of columns, a video twice, or a cell that is
            not a number; an empty cell is no score.
    """
    path, column = _path_and_column(text)
    table = read_csv(path)
    video, *others = table.columns
    if column and column not in others:
        raise DatasetError(f"{path}: no column {column!r}; the columns are {', '.join(others)}")
    if column:
        named = {"overall": column}
    elif found := [dimension for dimension in DIMENSIONS if dimension in others]:
        named = {dimension: dimension for dimension in found}
    elif len(others) == 1:
        named = {"overall": others[0]}
    else:
        raise DatasetError(
            f"{path}: which column? write {path}:COLUMN with one of {', '.join(others) or 'none'}"
        )
    if (twice := table[video].duplicated()).any():
        raise DatasetError(f"{path}: {table[video][twice].iloc[0]!r} is in the file twice")
    columns = {dimension: _numbers(path, table[c]) for dimension, c in named.items()}
    return Scores(name or path.stem, pd.DataFrame(columns, index=pd.Index(table[video])))


def read_model(text: str, trained: Sequence[Path] = ()) -> Scores:
    """Read NAME=FILE.csv[:COLUMN], FILE.csv[:COLUMN], or a folder with predictions.

    Args:
        text: as it is typed.
        trained: checkpoints that may have made the predictions, besides those that lie beside.

    Raises:
        FineVQError: as `read_scores`, a folder without predictions of its checkpoint, or ones that
            are damaged, twice there, or no finite number.
    """
    name, rest = _named(text)
    path = Path(rest)
    if not path.is_dir() and path.suffix != ".parquet":
        return read_scores(rest, name)
    file = path if path.is_file() else _predictions_of(path)
    rows = _stored(file)
    scores, asked = rows[rows["task"] == "score"], rows[rows["task"] == "question"]
    table = scores.pivot(index="video", columns="item", values="prediction").astype(float)
    # The tag that one profile puts in front is not part of the question.
    texts = asked["question"].str.removeprefix(PROFILES["official"].tag)
    given = asked["prediction_text"].astype(object).where(asked["prediction_text"].notna(), None)
    answers = answers_by(zip(asked["video"], asked["item"], texts, given, strict=True))
    checkpoint = _checkpoint_of(file, [path, *trained])
    return Scores(name or path.resolve().name, table, answers, stored=True, checkpoint=checkpoint)


def read_labels(text: str) -> Scores:
    """Read NAME=FILE.csv[:COLUMN] or FILE.csv[:COLUMN].

    Raises:
        DatasetError: as `read_scores`.
    """
    name, rest = _named(text)
    return read_scores(rest, name)


def dataset_labels(dataset: Dataset, part: Part = "test") -> Scores:
    """The labels and right answers of one part of a dataset's split.

    Raises:
        DatasetError: no such split, an empty part, or questions that cannot be read.
    """
    split = dataset.settings.split
    videos = load_split(dataset, split)[part]
    if not videos:
        raise DatasetError(f"split {split} has no videos in the part {part}")
    table = pd.DataFrame([dict(v.labels) for v in videos], index=[v.id for v in videos])
    table = table.reindex(columns=list(DIMENSIONS)).astype(float)
    questions = load_questions(dataset)
    right = [(v.id, q.kind, q.text, q.answer) for v in videos for q in questions.get(v.id, [])]
    return Scores(dataset.settings.name, table, answers_by(right))


def matched(model: Scores, labels: Scores) -> Scores:
    """A model's scores under the names that the labels give to the videos.

    A video may be named by its id or by its path alone: `LIVE-VQC/Video/A001.mp4` or
    `Video/A001.mp4`.

    Raises:
        DatasetError: none of its videos has a label, one is there under both names, or a path alone
            may be that of several.
    """
    known = set(labels.table.index)
    by_path: dict[str, list[str]] = {}
    for name in known:
        if path := _path_alone(name):
            by_path.setdefault(path, []).append(name)

    def label_of(name: str) -> str:
        if name in known:
            return name
        may_be = sorted({*by_path.get(name, []), *({_path_alone(name)} & known)})
        if len(may_be) > 1:
            raise DatasetError(
                f"{model.name}: {name!r} may be {may_be[0]!r} or {may_be[1]!r}; name the videos "
                "as the labels do"
            )
        return may_be[0] if may_be else name

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
    """Labels whose videos all have the dataset's name in front."""
    front = f"{labels.name}/"
    names = labels.table.index
    if names.str.startswith(front).all():
        return labels
    return replace(labels, table=labels.table.set_axis(front + names, axis=0))


def _path_alone(name: str) -> str:
    """A video's name without the dataset's in front; empty where there is none."""
    return name.partition("/")[2]


def _named(text: str) -> tuple[str, str]:
    """NAME=REST, where the whole is not a path that is there."""
    name, equals, rest = text.partition("=")
    return (name, rest) if equals and not Path(text).exists() else ("", text)


def _path_and_column(text: str) -> tuple[Path, str]:
    path, colon, column = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Path(text), ""
    return Path(path), column


def _numbers(path: Path, column: "pd.Series[str]") -> Array:
    blank = column.str.strip() == ""
    numbers = pd.to_numeric(column.where(~blank), errors="coerce")
    wrong = ~blank & ~np.isfinite(numbers)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"{path}, row {row + 2}: {column.name} is {column.iloc[row]!r}, not a finite number; "
            "leave a cell empty where there is none"
        )
    return np.asarray(numbers, dtype=np.float64)


def _stored(file: Path) -> pd.DataFrame:
    """Stored predictions, whoever made them; each prompt once, each score a finite number."""
    try:
        rows = read_predictions(file, {}).astype({"video": str, "item": str})
    except (KeyError, TypeError, ValueError) as error:
        raise FineVQError(f"{file}: {_DAMAGED}") from error
    if rows.empty:
        raise FineVQError(f"{file}: has no predictions that this version reads; evaluate again")
    if (twice := rows.duplicated(KEY)).any():
        row = rows[twice].iloc[0]
        what = f"the {row['task']} {row['item']!r} of {row['video']}"
        raise FineVQError(f"{file}: {what} is there twice; {_MEND}")
    scores = rows[rows["task"] == "score"]
    if (wrong := ~np.isfinite(scores["prediction"])).any():
        row = scores[wrong].iloc[0]
        what = f"the score {row['item']!r} of {row['video']} is {row['prediction']}"
        raise FineVQError(f"{file}: {what}, not a finite number; {_MEND}")
    return rows


def _predictions_of(folder: Path) -> Path:
    """The stored predictions of an evaluation's folder, or of a checkpoint's evaluation."""
    places = [folder, folder / "evaluation", folder.parent / "evaluation"]
    files = [place / PREDICTIONS for place in places if (place / PREDICTIONS).is_file()]
    if (folder / "checkpoint.json").is_file():
        wanted = digest(folder).encode()
        files = [file for file in files if _made_by(file).get(b"checkpoint") == wanted]
    if not files:
        raise FineVQError(
            f"{folder}: no {PREDICTIONS} of this checkpoint there or in an `evaluation` beside it; "
            "run `finevq evaluate`, or name the folder that it wrote to (evaluate.out)"
        )
    return files[0]


def _checkpoint_of(file: Path, folders: Sequence[Path]) -> Path | None:
    """The checkpoint that made stored predictions, among some folders and those beside the file."""
    made_by = _made_by(file).get(b"checkpoint", b"").decode()
    beside = [file.parent.parent, file.parent.parent / "checkpoint"]
    found = [folder for folder in [*folders, *beside] if (folder / "checkpoint.json").is_file()]
    return next((folder for folder in found if digest(folder) == made_by), None)


def _made_by(file: Path) -> Mapping[bytes, bytes]:
    try:
        metadata: Mapping[bytes, bytes] | None = pq.read_schema(file).metadata
    except (pa.ArrowException, OSError) as error:
        raise FineVQError(f"{file}: {_DAMAGED}") from error
    return metadata or {}
