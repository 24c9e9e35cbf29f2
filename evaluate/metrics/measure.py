"""The content of metrics.json: all metrics of stored predictions.

The metrics of agreement.py are computed for each dimension and each category; the accuracies of
level words and of answers to questions stand beside a baseline, the accuracy of always giving the
most frequent answer.

A metric that is not defined is None, with a reason beside it, never 0 and never NaN. No video is
dropped in silence: "coverage" lists those that failed or are missing.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...dataset.videos import DIMENSIONS
from ...errors import FineVQError
from . import bootstrap, moments
from .agreement import CORRELATIONS, NO_INTERVAL, Agreement, Array, resample, with_intervals
from .bootstrap import CONFIDENCE, RESAMPLES, Counts

COLUMNS = (
    "video",
    "task",
    "item",
    "question",
    "prediction",
    "label",
    "weighted",
    "prediction_text",
    "label_text",
)
"""The columns of a table of predictions that metrics are computed from."""


def measure(
    predictions: pd.DataFrame,
    *,
    split: str,
    part: str,
    labelled: Sequence[str],
    failed: Mapping[str, str],
    mos_range: tuple[float, float],
    categories: Mapping[str, str] | None = None,
    labels: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Compute everything in `metrics.json` from one part's predictions.

    Args:
        predictions: a row for each score and each answer of a video, with the columns `COLUMNS`:
            `task` is "score" or "question", `item` a dimension or a question's kind, `prediction`
            and `label` are on the dataset's MOS scale, `weighted` is the second reading of the
            score, the texts are level words or answers. `label` is null where there is no label,
            `label_text` where there is no right answer.
        split: name of the split, to be recorded.
        part: "train", "val" or "test", to be recorded.
        labelled: ids of the part's videos that have a label; coverage is counted among them.
        failed: by video id, why a video has no features.
        mos_range: lowest and highest MOS, to be recorded; "rmse" is on this scale.
        categories: by video id, for those that have one.
        labels: by dimension, how many of the part's videos have a label; None counts the labels of
            predicted videos.

    Returns:
        Plain dicts, lists and Python numbers that are strict JSON; docs/evaluation.md describes
        them. The same predictions give the same numbers in any order of the rows.

    Raises:
        FineVQError: predictions that are incomplete, duplicated or of unknown dimensions, or a
            video both predicted and failed.
    """
    _check(predictions, failed)
    by_task = dict(list(predictions.groupby("task")))
    scores = by_task.get("score", predictions.iloc[:0])
    answers = by_task.get("question", predictions.iloc[:0])
    predicted, label = paired_scores(predictions)
    category = predicted.index.map(categories or {})
    measured = _scores(predicted, label, scores)
    for name, metrics in measured["dimensions"].items():
        metrics["labelled"] = metrics["n"] if labels is None else labels.get(name, 0)
    return {
        "split": split,
        "part": part,
        "mos_range": [float(bound) for bound in mos_range],
        "intervals": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": bootstrap.SEED},
        "coverage": _coverage(set(predictions["video"]), labelled, failed),
        **measured,
        "weighted": _scores(paired_scores(predictions, "weighted")[0], label),
        "categories": {
            name: _scores(predicted[category == name], label[category == name])
            for name in sorted(set(category.dropna()) - {""})
        },
        "questions": {
            kind: _accuracy(answers[answers["item"] == kind])
            for kind in sorted(answers["item"].unique(), key=kind_order)
        },
    }


def paired_scores(
    predictions: pd.DataFrame, reading: str = "prediction"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The predicted scores and their labels, aligned.

    Args:
        predictions: with the columns `COLUMNS`.
        reading: "prediction" or "weighted".

    Returns:
        Two tables of floats of shape (videos, 6): rows are the scored videos sorted by id, columns
        the dimensions; NaN where there is no prediction or no label.
    """
    scores = predictions[predictions["task"] == "score"]

    def table(column: str) -> pd.DataFrame:
        wide = scores.pivot(index="video", columns="item", values=column)
        return wide.reindex(columns=list(DIMENSIONS)).astype(float)

    return table(reading), table("label")


def _check(predictions: pd.DataFrame, failed: Mapping[str, str]) -> None:
    """Refuse predictions that would make a number wrong without notice."""
    if absent := [column for column in COLUMNS if column not in predictions.columns]:
        raise FineVQError(f"predictions have no column {', '.join(absent)}; predict again")
    key = ["video", "task", "item", "question"]
    if (twice := predictions.duplicated(key)).any():
        row = predictions.loc[twice, key].sort_values(key).iloc[0]
        raise FineVQError(
            f"{row['video']}: the {row['task']} {row['item']!r} is predicted twice; predict again"
        )
    _check_known(predictions)
    if both := sorted(set(predictions["video"]) & set(failed)):
        raise FineVQError(
            f"{both[0]} is predicted, yet failed with {failed[both[0]]!r}: the predictions are of "
            "another state of the feature store; predict again"
        )


def _check_known(predictions: pd.DataFrame) -> None:
    tasks = predictions["task"]
    if unknown := sorted(map(str, set(tasks) - {"score", "question"})):
        raise FineVQError(f"unknown task {unknown[0]!r} in the predictions: not score or question")
    scores = predictions[tasks == "score"]
    if unknown := sorted(map(str, set(scores["item"]) - set(DIMENSIONS))):
        raise FineVQError(f"unknown dimension {unknown[0]!r}: not one of {', '.join(DIMENSIONS)}")
    infinite = ~np.isfinite(scores["prediction"].astype(float))
    infinite |= np.isinf(scores["label"].astype(float))
    if infinite.any():
        row = scores[infinite].sort_values(["video", "item"]).iloc[0]
        raise FineVQError(
            f"{row['video']}: the {row['item']} score {row['prediction']} (label {row['label']}) "
            "is not a finite number; predict again with a checkpoint that trained well"
        )


def _coverage(
    predicted: set[Hashable], labelled: Sequence[str], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Which videos are predicted, failed and missing.

    Every labelled video is one of the three. Failed videos are listed with or without a label.
    """
    return {
        "predicted": len(predicted & set(labelled)),
        "labelled": len(set(labelled)),
        "failed": [{"video": video, "reason": failed[video]} for video in sorted(failed)],
        "missing": sorted(set(labelled) - predicted - set(failed)),
    }


def _scores(
    predicted: pd.DataFrame, label: pd.DataFrame, rows: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Metrics of each dimension and their mean; with level words if their rows are given."""
    agreements = [
        Agreement(predicted[name].to_numpy(), label[name].to_numpy()) for name in DIMENSIONS
    ]
    resampled = resample(agreements, len(label))
    dimensions = {
        name: one.described(resampled[:, i])
        for i, (name, one) in enumerate(zip(DIMENSIONS, agreements, strict=True))
    }
    if rows is not None:
        for name, metrics in dimensions.items():
            _add_level_accuracy(metrics, rows[rows["item"] == name])
    return {"dimensions": dimensions, "mean": _mean(agreements, resampled)}


def _add_level_accuracy(metrics: dict[str, Any], rows: pd.DataFrame) -> None:
    accuracy = _accuracy(rows[rows["label"].notna()])
    reason, n = accuracy.pop("reason", None), accuracy.pop("n")
    metrics |= {f"level_{name}": value for name, value in accuracy.items()}
    if not n and metrics["n"]:
        reason = "the labels have no level words"
    elif not n:
        reason = None  # the metrics say already that there are no labels
    if reasons := [text for text in (metrics.get("reason"), reason) if text]:
        metrics["reason"] = "; ".join(reasons)


def _mean(agreements: Sequence[Agreement], resampled: Array) -> dict[str, Any]:
    """The mean of each correlation over the dimensions that define it."""
    values: dict[str, float | None] = {}
    means = []
    for i, metric in enumerate(CORRELATIONS):
        dimensions = [k for k, one in enumerate(agreements) if one.values[metric] is not None]
        defined = [value for one in agreements if (value := one.values[metric]) is not None]
        values[metric] = float(np.mean(defined)) if defined else None
        # NaN where one dimension is undefined, so that all resamples average the same dimensions.
        undefined = np.full(len(resampled), np.nan)
        means.append(resampled[:, dimensions, i].mean(axis=1) if dimensions else undefined)
    mean = with_intervals(values, np.stack(means, axis=1))
    mean["dimensions"] = sum(one.defined for one in agreements)
    if not mean["dimensions"]:
        mean["reason"] = "no dimension has a defined correlation"
    elif any(mean[m] is not None and mean[f"{m}_ci"] is None for m in CORRELATIONS):
        mean["reason"] = NO_INTERVAL
    elif mean["plcc_fitted"] is None:
        mean["reason"] = "no dimension has a logistic fit"
    return mean


def kind_order(kind: str) -> tuple[int, str]:
    """A key that sorts kinds of questions as the paper's Table 2: by dimension, others last."""
    dimension = kind.rpartition(" ")[2]
    known = dimension in DIMENSIONS
    return (DIMENSIONS.index(dimension) if known else len(DIMENSIONS), kind)


def _accuracy(answers: pd.DataFrame) -> dict[str, Any]:
    """Accuracy of one kind of question, with the balanced accuracy and the majority baseline."""
    answers = answers[answers["label_text"].notna()].sort_values(["video", "question"])
    names = ("accuracy", "balanced_accuracy")
    if answers.empty:
        undefined = {f"{name}{end}": None for name in names for end in ("", "_ci")}
        reason = "no question has a right answer to compare with"
        return {**undefined, "majority_baseline": None, "n": 0, "reason": reason}
    right = _right(answers)
    values: dict[str, float | None] = {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(right.groupby(answers["label_text"]).mean().mean()),
    }
    return {
        **with_intervals(values, _resampled_accuracy(answers, np.asarray(right, dtype=np.float64))),
        "majority_baseline": float(answers["label_text"].value_counts(normalize=True).max()),
        "n": len(answers),
    }


def _resampled_accuracy(answers: pd.DataFrame, right: Array) -> Array:
    """Accuracy and balanced accuracy in resamples of the videos, each with all its questions."""
    videos, names = pd.factorize(answers["video"])
    truth = pd.factorize(answers["label_text"])[0]
    classes = [np.flatnonzero(truth == one) for one in range(truth.max() + 1)]
    accuracy, of_class = moments.mean(right), [moments.mean(right[rows]) for rows in classes]

    def statistic(counts: Counts) -> Array:
        drawn = np.take(counts, videos, axis=1)  # each question as often as its video
        recalls = [
            recall(np.take(drawn, rows, axis=1))
            for recall, rows in zip(of_class, classes, strict=True)
        ]
        # A class that a resample does not draw is NaN, and does not count in its mean.
        known = ~np.isnan(recalls)
        balanced = np.where(known, recalls, 0).sum(axis=0) / known.sum(axis=0)
        return np.stack([accuracy(drawn), balanced], axis=1)

    return bootstrap.resampled(len(names), statistic)


def _right(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each predicted text is the right one; a missing text is wrong."""
    return rows["prediction_text"].astype(object) == rows["label_text"].astype(object)
