"""Metrics of stored predictions, each with its number of videos, its interval or its reason.

SRCC, KRCC and PLCC are those of the paper (section 5.2), on raw scores: nothing is fitted to the
labels first. Beside them stand the error on the MOS scale, the accuracy of the level words, and
the accuracy on questions with the baseline of always giving the most frequent answer.

A metric that is not defined is None with a reason beside it, never 0 and never NaN. A video is
never dropped in silence: those that failed or were forgotten are listed under "coverage".
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ..dataset.videos import DIMENSIONS
from ..errors import FineVQError

COLUMNS = (
    "video",
    "task",
    "item",
    "question",
    "prediction",
    "label",
    "prediction_text",
    "label_text",
)
"""The columns of a table of predictions that metrics are computed from."""

RESAMPLES = 1000
"""Bootstrap resamples behind an interval."""

CONFIDENCE = 95.0
"""Confidence of an interval, in percent."""

_FEWEST = 3  # videos in a correlation; over two it is always 1 or -1
_BLOCK = 2_000_000  # resampled videos held at once, 16 MB an array
_ENOUGH = 0.95  # of the resamples must define SRCC, else their percentiles say little

_NO_INTERVAL = "too few distinct values for an interval"

Array = npt.NDArray[np.float64]


def measure(
    predictions: pd.DataFrame,
    *,
    split: str,
    part: str,
    labelled: Sequence[str],
    failed: Mapping[str, str],
    mos_range: tuple[float, float],
) -> dict[str, Any]:
    """Compute everything in `metrics.json` from one part's predictions.

    Args:
        predictions: a row for each score and each answer of a video, with the columns `COLUMNS`:
            `task` is "score" or "question", `item` a dimension or a question's kind, `prediction`
            and `label` are on the dataset's MOS scale, the texts are level words or answers.
            A null label is no label; a null `label_text` no right answer.
        split: name of the split, recorded.
        part: "train", "val" or "test", recorded.
        labelled: ids of the part's videos that have a label; coverage is counted among them.
        failed: the reason for each video that has no features.
        mos_range: lowest and highest MOS, recorded: the unit of "rmse".

    Returns:
        Plain dicts, lists and Python numbers that are strict JSON. The same predictions give the
        same numbers in any order of the rows.

    Raises:
        FineVQError: predictions that are incomplete, duplicated or of unknown dimensions, or a
            video both predicted and failed.
    """
    _check(predictions, failed)
    by_task = dict(list(predictions.groupby("task")))
    scores = by_task.get("score", predictions.iloc[:0])
    answers = by_task.get("question", predictions.iloc[:0])
    predicted, label = (table.to_numpy() for table in paired_scores(predictions))
    resampled = _resampled_srcc(predicted, label)
    dimensions = {
        name: _dimension(
            predicted[:, i], label[:, i], scores[scores["item"] == name], resampled[:, i]
        )
        for i, name in enumerate(DIMENSIONS)
    }
    return {
        "split": split,
        "part": part,
        "mos_range": [float(bound) for bound in mos_range],
        "coverage": _coverage(set(predictions["video"]), labelled, failed),
        "dimensions": dimensions,
        "mean": _mean(dimensions, resampled),
        "questions": {
            kind: _accuracy(answers[answers["item"] == kind])
            for kind in sorted(answers["item"].unique(), key=_kind_order)
        },
    }


def paired_scores(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The predicted scores and their labels, aligned.

    Returns:
        Two tables of floats of shape (videos, 6): rows are the scored videos sorted by id, columns
        the dimensions; NaN where there is no prediction or no label.
    """
    scores = predictions[predictions["task"] == "score"]

    def table(column: str) -> pd.DataFrame:
        wide = scores.pivot(index="video", columns="item", values=column)
        return wide.reindex(columns=list(DIMENSIONS)).astype(float)

    return table("prediction"), table("label")


def _check(predictions: pd.DataFrame, failed: Mapping[str, str]) -> None:
    """Refuse what would make a number wrong without a sign of it."""
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
    """Predicted + labelled failures + missing = labelled; a failure without label is listed too."""
    return {
        "predicted": len(predicted & set(labelled)),
        "labelled": len(set(labelled)),
        "failed": [{"video": video, "reason": failed[video]} for video in sorted(failed)],
        "missing": sorted(set(labelled) - predicted - set(failed)),
    }


def _dimension(
    predicted: Array, label: Array, rows: pd.DataFrame, resampled: Array
) -> dict[str, Any]:
    """All metrics of one dimension, over the videos that have its label."""
    has_label = ~np.isnan(label)
    x, y = predicted[has_label], label[has_label]
    words = rows[rows["label"].notna() & rows["label_text"].notna()]
    undefined = _why_no_correlation(x, y)
    defined = undefined is None
    interval = _interval(resampled) if defined else None
    reasons = [
        undefined,
        _NO_INTERVAL if defined and interval is None else None,
        "the labels have no level words" if words.empty and len(x) else None,
    ]
    reason = "; ".join(filter(None, reasons))
    return {
        "srcc": float(stats.spearmanr(x, y).statistic) if defined else None,
        "srcc_ci": interval,
        "krcc": float(stats.kendalltau(x, y).statistic) if defined else None,
        "plcc": float(stats.pearsonr(x, y).statistic) if defined else None,
        "rmse": float(np.sqrt(np.mean((x - y) ** 2))) if len(x) else None,
        "level_accuracy": None if words.empty else float(_right(words).mean()),
        "n": len(x),
        **({"reason": reason} if reason else {}),
    }


def _why_no_correlation(predicted: Array, label: Array) -> str | None:
    if (n := len(label)) < _FEWEST:
        return f"{n} labelled prediction{'s' * (n != 1)}, at least {_FEWEST} are needed"
    for name, values in (("predictions", predicted), ("labels", label)):
        # A spread of rounding error counts as none: scipy warns of it, and its result is noise.
        if np.linalg.norm(values - values.mean()) <= 1e-11 * abs(values.mean()):
            return f"the {name} are constant"
    return None


def _mean(dimensions: Mapping[str, dict[str, Any]], resampled: Array) -> dict[str, Any]:
    """The mean of each correlation over the dimensions that define it."""
    defined = [i for i, name in enumerate(DIMENSIONS) if dimensions[name]["srcc"] is not None]
    mean: dict[str, Any] = {
        metric: float(np.mean([dimensions[DIMENSIONS[i]][metric] for i in defined]))
        if defined
        else None
        for metric in ("srcc", "krcc", "plcc")
    }
    # A resample in which one dimension is undefined is left out, so that each averages the same.
    mean["srcc_ci"] = _interval(resampled[:, defined].mean(axis=1)) if defined else None
    mean["dimensions"] = len(defined)
    if not defined:
        mean["reason"] = "no dimension has a defined correlation"
    elif mean["srcc_ci"] is None:
        mean["reason"] = _NO_INTERVAL
    return mean


def _kind_order(kind: str) -> tuple[int, str]:
    """Order of the paper's Table 2: yes-no by dimension, then the rest."""
    dimension = kind.rpartition(" ")[2]
    known = dimension in DIMENSIONS
    return (DIMENSIONS.index(dimension) if known else len(DIMENSIONS), kind)


def _accuracy(answers: pd.DataFrame) -> dict[str, Any]:
    """Accuracy of one kind of question, with the two numbers that tell it from guessing."""
    answers = answers[answers["label_text"].notna()]
    if answers.empty:
        undefined = dict.fromkeys(("accuracy", "majority_baseline", "balanced_accuracy"))
        return {**undefined, "n": 0, "reason": "no question has a right answer to compare with"}
    right = _right(answers)
    return {
        "accuracy": float(right.mean()),
        "majority_baseline": float(answers["label_text"].value_counts(normalize=True).max()),
        "balanced_accuracy": float(right.groupby(answers["label_text"]).mean().mean()),
        "n": len(answers),
    }


def _right(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each predicted text is the right one; no text at all is wrong."""
    return rows["prediction_text"].astype(object) == rows["label_text"].astype(object)


def _resampled_srcc(predicted: Array, label: Array) -> Array:
    """SRCC of each dimension in bootstrap resamples of the videos.

    A resample draws the same videos for all dimensions, so that their mean can be taken resample
    by resample. It is held as the number of times that each video is drawn: a video's rank then
    follows from running sums over the videos sorted once, and no resample is sorted.

    Args:
        predicted: shape (videos, dimensions).
        label: the same shape, NaN where there is no label.

    Returns:
        Shape (`RESAMPLES`, dimensions), NaN where a resample leaves SRCC undefined.
    """
    has_label = ~np.isnan(label)
    some = has_label.any(axis=1)
    predicted, label, has_label = predicted[some], label[some], has_label[some]
    videos = len(label)
    rng = np.random.default_rng(0)  # fixed: an interval is a property of the predictions
    result = np.full((RESAMPLES, label.shape[1]), np.nan)
    block = max(1, _BLOCK // max(videos, 1))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = rng.integers(0, videos, size=(size, videos)) + videos * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * videos).reshape(size, videos)
        for column, has in enumerate(has_label.T):
            result[start : start + size, column] = _weighted_srcc(
                counts[:, has], predicted[has, column], label[has, column]
            )
    return result


def _weighted_srcc(counts: npt.NDArray[np.int64], x: Array, y: Array) -> Array:
    """SRCC of x and y, shape (videos,), under each row of counts, shape (resamples, videos)."""
    rank_x, rank_y = _centred_ranks(counts, x), _centred_ranks(counts, y)
    covariance = (counts * rank_x * rank_y).sum(axis=1)
    spread = np.sqrt((counts * rank_x**2).sum(axis=1) * (counts * rank_y**2).sum(axis=1))
    srcc = np.full(len(counts), np.nan)
    np.divide(covariance, spread, out=srcc, where=spread > 0)
    return srcc


def _centred_ranks(counts: npt.NDArray[np.int64], values: Array) -> Array:
    """Ranks of the values, ties at their middle, minus the mean rank; exact in halves."""
    order = np.argsort(values)
    below = np.zeros((len(counts), len(values) + 1))
    np.cumsum(counts[:, order], axis=1, out=below[:, 1:])
    first = np.searchsorted(values[order], values, side="left")
    last = np.searchsorted(values[order], values, side="right")
    centred: Array = (below[:, first] + below[:, last] - below[:, -1:]) / 2
    return centred


def _interval(resampled: Array) -> list[float] | None:
    """Percentile interval of resampled values, None where too few resamples are defined."""
    defined = resampled[~np.isnan(resampled)]
    if defined.size < _ENOUGH * resampled.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    return [float(bound) for bound in np.percentile(defined, [tail, 100 - tail])]
