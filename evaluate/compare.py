"""Models side by side on the videos that all of them predict, with paired bootstrap.

A model is a checkpoint's stored predictions or a CSV file of anyone's: the first column names the
video, further columns hold scores. All models are drawn the same videos in every resample, so that
a difference is judged without what the draw of videos does to both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ..dataset.questions import load_questions
from ..dataset.splits import Part, load_split
from ..dataset.videos import DIMENSIONS, Dataset, read_csv
from ..errors import DatasetError, FineVQError
from ..train.checkpoint import digest
from ..train.prompts import PROFILES
from . import bootstrap
from .agreement import METRICS, Agreement, Array, resample
from .answers import Answers, answers_by, compare_answers
from .predict import KEY

PREDICTIONS = "predictions.parquet"

QUESTIONS = "questions"
"""Where a model's accuracies stand among its dimensions."""


@dataclass(frozen=True)
class Scores:
    """Scores and answers of one model, or the labels and right answers.

    Attributes:
        name: of the model.
        table: floats, a row a video by its name, columns dimensions; NaN where there is none.
        answers: to questions, by `finevq.evaluate.answers.INDEX`; a CSV file has none.
    """

    name: str
    table: pd.DataFrame
    answers: "Answers[Any]" = field(default_factory=lambda: answers_by([]))


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


def read_model(text: str) -> Scores:
    """Read NAME=FILE.csv[:COLUMN], FILE.csv[:COLUMN], or a folder with predictions.

    Raises:
        FineVQError: as `read_scores`, or a folder without predictions of its checkpoint.
    """
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        name, rest = "", text
    path = Path(rest)
    if not path.is_dir() and path.suffix != ".parquet":
        return read_scores(rest, name)
    file = path if path.is_file() else _predictions_of(path)
    rows = pd.read_parquet(file, columns=[*KEY, "prediction", "prediction_text"])
    rows = rows.astype({"video": str, "item": str})
    scores, asked = rows[rows["task"] == "score"], rows[rows["task"] == "question"]
    table = scores.pivot(index="video", columns="item", values="prediction").astype(float)
    # The tag that one profile puts in front is not part of the question.
    texts = asked["question"].str.removeprefix(PROFILES["official"].tag)
    given = asked["prediction_text"].astype(object).where(asked["prediction_text"].notna(), None)
    answers = answers_by(zip(asked["video"], asked["item"], texts, given, strict=True))
    return Scores(name or path.resolve().name, table, answers)


def dataset_labels(dataset: Dataset, split: str | None = None, part: Part = "test") -> Scores:
    """The labels and right answers of a dataset's videos, or of one part of a split.

    Raises:
        DatasetError: no such split, or questions that cannot be read.
    """
    videos = load_split(dataset, split)[part] if split else list(dataset)
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
        DatasetError: none of its videos has a label, or one is there under both names.
    """
    known = {name: name for name in labels.table.index}
    short = {name.partition("/")[2]: name for name in known}
    names = [
        known.get(name) or short.get(name) or known.get(name.partition("/")[2], name)
        for name in model.table.index
    ]
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
    return Scores(model.name, table, answers)


def compare(models: Sequence[Scores], labels: Scores) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure models on the labelled videos that all of them predict.

    Args:
        models: of different names.
        labels: of the videos.

    Returns:
        {name: {dimension: {"srcc", "krcc", "plcc", "plcc_fitted", "rmse", "rmse_fitted", "n",
        "labelled", "ci", "against"}}}: "ci" has the interval of each metric, "labelled" is the
        number of videos with a label, "against" has for each other model the "difference" of each
        metric, its interval and its two-sided p-value. For models with answers, where right ones
        are known, `QUESTIONS` is a further key, with what `compare_answers` returns for the model.
        Strict JSON.

    Raises:
        FineVQError: two models of one name, or no labelled video that all predict.
    """
    names = [model.name for model in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FineVQError(f"two models are called {twice[0]}; name one, as in other={twice[0]}.csv")
    models = [matched(model, labels) for model in models]
    result: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for dimension in DIMENSIONS:
        if dimension not in labels.table or labels.table[dimension].isna().all():
            continue
        having = [model for model in models if dimension in model.table]
        if not having:
            continue
        for name, found in _compare_dimension(having, labels, dimension).items():
            result[name][dimension] = found
    if not any(result.values()):
        raise FineVQError("the models and the labels have no dimension in common")
    answers = {model.name: model.answers for model in models}
    for name, accuracies in compare_answers(answers, labels.answers).items():
        result[name][QUESTIONS] = accuracies
    return result


def _compare_dimension(
    models: Sequence[Scores], labels: Scores, dimension: str
) -> dict[str, dict[str, Any]]:
    label = labels.table[dimension].dropna()
    both = pd.concat([m.table[dimension] for m in models], axis=1, join="inner").dropna()
    videos = sorted(label.index.intersection(both.index))
    if not videos:
        raise FineVQError(f"no video with a label in {dimension} is predicted by all models")
    truth = label.loc[videos].to_numpy()
    agreements = [Agreement(m.table[dimension].loc[videos].to_numpy(), truth) for m in models]
    resampled = resample(agreements, len(videos))
    found = {}
    for i, (model, one) in enumerate(zip(models, agreements, strict=True)):
        described = one.described(resampled[:, i])
        ci = {metric: described.pop(f"{metric}_ci") for metric in METRICS}
        found[model.name] = described | {"labelled": len(label), "ci": ci, "against": {}}
    for i, k in combinations(range(len(models)), 2):
        for a, b in ((i, k), (k, i)):
            difference = _differences(
                agreements[a], agreements[b], resampled[:, a] - resampled[:, b]
            )
            found[models[a].name]["against"][models[b].name] = difference
    return found


def _differences(one: Agreement, other: Agreement, resampled: Array) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, metric in enumerate(METRICS):
        a, b = one.values[metric], other.values[metric]
        if a is not None and b is not None:
            found[metric] = bootstrap.difference(a - b, resampled[:, column])
    return found


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


def _made_by(file: Path) -> Mapping[bytes, bytes]:
    metadata: Mapping[bytes, bytes] | None = pq.read_schema(file).metadata
    return metadata or {}
