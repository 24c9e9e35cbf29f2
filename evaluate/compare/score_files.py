"""Reading models and labels: CSV files, stored predictions, a part of a dataset.

A model is a checkpoint's stored predictions or a CSV file of anyone's: the first column names the
video, further columns hold scores.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
from ..metrics.answers import answers_by
from ..predict.stored import KEY, PREDICTIONS, read_predictions
from .scores import Scores

_REMEDY = "delete it and evaluate again"
_DAMAGED = f"damaged; {_REMEDY}"


def read_scores(text: str, name: str = "") -> Scores:
    """Read FILE.csv or FILE.csv:COLUMN.

    A column is read as "overall". If none is named, the columns of the six dimensions are read; if
    there are none of these either, the only column, as "overall". An empty cell is no score.

    Raises:
        DatasetError: no such file or column, several columns to choose from, a video that is there
            twice, or a cell that is not a number.
    """
    path, column = _path_and_column(text)
    table = read_csv(path)
    video, *others = table.columns
    if column and column not in others:
        raise DatasetError(f"{path}: no column {column!r}; the columns are {', '.join(others)}")
    if column:
        chosen = {"overall": column}
    elif dimensions := [dimension for dimension in DIMENSIONS if dimension in others]:
        chosen = {dimension: dimension for dimension in dimensions}
    elif len(others) == 1:
        chosen = {"overall": others[0]}
    else:
        raise DatasetError(
            f"{path}: which column? write {path}:COLUMN with one of {', '.join(others) or 'none'}"
        )
    if (twice := table[video].duplicated()).any():
        raise DatasetError(f"{path}: {table[video][twice].iloc[0]!r} is in the file twice")
    columns = {dimension: _numbers(path, table[c]) for dimension, c in chosen.items()}
    return Scores(name or path.stem, pd.DataFrame(columns, index=pd.Index(table[video])))


def read_model(text: str, trained: Sequence[Path] = ()) -> Scores:
    """Read NAME=FILE.csv[:COLUMN], FILE.csv[:COLUMN], or a folder with predictions.

    Args:
        text: as it is typed.
        trained: checkpoints that may have made the predictions, besides those beside the file.

    Raises:
        FineVQError: as `read_scores`; a folder without predictions of its checkpoint; predictions
            that are damaged, there twice, or not finite numbers.
    """
    name, rest = _split_name(text)
    path = Path(rest)
    if not path.is_dir() and path.suffix != ".parquet":
        return read_scores(rest, name)
    file = path if path.is_file() else _predictions_of(path)
    rows = _read_stored(file)
    scores, answered = rows[rows["task"] == "score"], rows[rows["task"] == "question"]
    table = scores.pivot(index="video", columns="item", values="prediction").astype(float)
    # The tag that one profile puts in front is not part of the question.
    questions = answered["question"].str.removeprefix(PROFILES["official"].tag)
    texts = answered["prediction_text"]
    texts = texts.astype(object).where(texts.notna(), None)
    answers = answers_by(zip(answered["video"], answered["item"], questions, texts, strict=True))
    checkpoint = _checkpoint_of(file, [path, *trained])
    return Scores(name or path.resolve().name, table, answers, stored=True, checkpoint=checkpoint)


def read_labels(text: str) -> Scores:
    """Read NAME=FILE.csv[:COLUMN] or FILE.csv[:COLUMN].

    Raises:
        DatasetError: as `read_scores`.
    """
    name, rest = _split_name(text)
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


def _split_name(text: str) -> tuple[str, str]:
    """Split NAME=REST; the name is empty if the whole text is an existing path."""
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


def _read_stored(file: Path) -> pd.DataFrame:
    """Stored predictions of any checkpoint; each prompt once, each score a finite number."""
    try:
        rows = read_predictions(file, {}).astype({"video": str, "item": str})
    except (KeyError, TypeError, ValueError) as error:
        raise FineVQError(f"{file}: {_DAMAGED}") from error
    if rows.empty:
        raise FineVQError(f"{file}: has no predictions that this version reads; evaluate again")
    if (twice := rows.duplicated(KEY)).any():
        row = rows[twice].iloc[0]
        prompt = f"the {row['task']} {row['item']!r} of {row['video']}"
        raise FineVQError(f"{file}: {prompt} is there twice; {_REMEDY}")
    scores = rows[rows["task"] == "score"]
    if (wrong := ~np.isfinite(scores["prediction"])).any():
        row = scores[wrong].iloc[0]
        value = f"the score {row['item']!r} of {row['video']} is {row['prediction']}"
        raise FineVQError(f"{file}: {value}, not a finite number; {_REMEDY}")
    return rows


def _predictions_of(folder: Path) -> Path:
    """The predictions.parquet of an evaluation's folder, or of a checkpoint's evaluation."""
    places = [folder, folder / "evaluation", folder.parent / "evaluation"]
    files = [place / PREDICTIONS for place in places if (place / PREDICTIONS).is_file()]
    if (folder / "checkpoint.json").is_file():
        own_digest = digest(folder).encode()
        files = [file for file in files if _made_by(file).get(b"checkpoint") == own_digest]
    if not files:
        raise FineVQError(
            f"{folder}: no {PREDICTIONS} of this checkpoint there or in an `evaluation` beside it; "
            "run `finevq evaluate`, or name the folder that it wrote to (evaluate.out)"
        )
    return files[0]


def _checkpoint_of(file: Path, folders: Sequence[Path]) -> Path | None:
    """The checkpoint that made stored predictions, if it is in `folders` or beside the file."""
    made_by = _made_by(file).get(b"checkpoint", b"").decode()
    beside = [file.parent.parent, file.parent.parent / "checkpoint"]
    for folder in (*folders, *beside):
        if (folder / "checkpoint.json").is_file() and digest(folder) == made_by:
            return folder
    return None


def _made_by(file: Path) -> Mapping[bytes, bytes]:
    """The metadata that name the checkpoint and the features."""
    try:
        metadata: Mapping[bytes, bytes] | None = pq.read_schema(file).metadata
    except (pa.ArrowException, OSError) as error:
        raise FineVQError(f"{file}: {_DAMAGED}") from error
    return metadata or {}
