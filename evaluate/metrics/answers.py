"""Models side by side on questions, the paper's Table 2: accuracies with paired bootstrap.

All models of a kind of question are measured on the questions that all of them answer. Videos are
resampled, each with all its questions, the same for all models.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import bootstrap
from .bootstrap import Array, Counts
from .measure import kind_order

INDEX = ["video", "kind", "question"]
"""What an answer is known by."""

METRICS = ("accuracy", "balanced_accuracy")
"""The second is the mean over the right answers, and of all kinds the mean of the kinds."""

ALL = "all questions"
"""The name of all kinds together."""

Answers = pd.Series
"""Answers as texts, by `INDEX`; None is an answer too, and a wrong one."""


def answers_by(rows: Iterable[tuple[str, str, str, str | None]]) -> "Answers[Any]":
    """The answers of rows of a video, a kind, a question and its answer."""
    table = pd.DataFrame(list(rows), columns=[*INDEX, "answer"], dtype=object)
    return table.set_index(INDEX)["answer"]


def compare_answers(
    models: Mapping[str, "Answers[Any]"], right: "Answers[Any]"
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure the accuracies of models on each kind of question, and on `ALL` of them.

    Args:
        models: their answers, by name.
        right: the right answers.

    Returns:
        {name: {kind: {"accuracy", "balanced_accuracy", "ci", "majority_baseline", "n", "labelled",
        "answered", "missing", "against"}}}, in the order of the paper's Table 2, for the kinds that
        a model answers: "n" of the "labelled" questions with a right answer are answered by all, so
        many by the model, which lacks some of the videos "missing". "ci" and "against" are those of
        `finevq.evaluate.compare.comparison.compare`. `ALL`'s baseline gives each kind's most
        frequent answer. Where no question is answered by all, the accuracy is None, with a
        "reason".
    """
    models = {name: found[found.index.isin(right.index)] for name, found in models.items()}
    models = {name: found for name, found in models.items() if len(found)}
    result: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in models}
    if not models:
        return result
    for kind in sorted(right.index.unique("kind"), key=kind_order):
        asked = {name: _of_kind(found, kind) for name, found in models.items()}
        asked = {name: found for name, found in asked.items() if len(found)}
        if asked:
            for name, found in _compare(asked, _of_kind(right, kind)).items():
                result[name][kind] = found
    for name, found in _compare(models, right).items():
        result[name][ALL] = found
    return result


def _of_kind(answers: "Answers[Any]", kind: str) -> "Answers[Any]":
    return answers[answers.index.get_level_values("kind") == kind]


def _compare(
    models: Mapping[str, "Answers[Any]"], right: "Answers[Any]"
) -> dict[str, dict[str, Any]]:
    common = right.index
    for answers in models.values():
        common = common.intersection(answers.index)
    common = common.sort_values()
    if common.empty:
        reason = "no question is answered by all models"
        undefined: dict[str, Any] = dict.fromkeys(METRICS)
        nothing = undefined | {"ci": undefined, "majority_baseline": None, "n": 0}
        more = {"against": {}, "reason": reason}
        return {
            name: nothing | _coverage(answers, right) | more for name, answers in models.items()
        }
    truth = right.loc[common]
    correct = np.stack([answers.loc[common] == truth for answers in models.values()], axis=1)
    statistic, videos = _accuracies(truth, correct)
    once = np.ones((1, videos), np.float32)
    values, resampled = statistic(once)[0], bootstrap.resampled(videos, statistic)
    most = truth.groupby("kind").agg(lambda kind: kind.value_counts().max())

    def differences(i: int, k: int) -> dict[str, Any]:
        apart, drawn = values[i] - values[k], resampled[:, i] - resampled[:, k]
        return {
            metric: bootstrap.difference(apart[m], drawn[:, m]) for m, metric in enumerate(METRICS)
        }

    names = list(enumerate(models))
    return {
        name: dict(zip(METRICS, map(float, values[i]), strict=True))
        | {
            "ci": {m: bootstrap.interval(resampled[:, i, k]) for k, m in enumerate(METRICS)},
            "majority_baseline": float(most.sum() / len(truth)),
            "n": len(truth),
            **_coverage(models[name], right),
            "against": {other: differences(i, k) for k, other in names if k != i},
        }
        for i, name in names
    }


def _coverage(answers: "Answers[Any]", right: "Answers[Any]") -> dict[str, Any]:
    missing = right.index.difference(answers.index)
    return {
        "labelled": len(right),
        "answered": len(right) - len(missing),
        "missing": sorted(missing.unique("video")),
    }


def _accuracies(
    truth: "Answers[Any]", correct: npt.NDArray[np.bool_]
) -> tuple[bootstrap.Statistic, int]:
    """`METRICS` as a function of the videos' counts: (resamples, models, 2); and how many videos.

    Args:
        truth: the right answers.
        correct: shape (questions, models).
    """
    video, videos = pd.factorize(truth.index.get_level_values("video"))
    kind = truth.index.get_level_values("kind")
    answer, answers = pd.factorize(pd.MultiIndex.from_arrays([kind, truth]))
    asked = np.zeros((len(answers), len(videos)))
    right = np.zeros((*asked.shape, correct.shape[1]))
    np.add.at(asked, (answer, video), 1)
    np.add.at(right, (answer, video), correct)
    of_kind = pd.factorize(answers.get_level_values(0))[0]

    def statistic(counts: Counts) -> Array:
        whole = (counts @ right.sum(axis=0)) / (counts @ asked.sum(axis=0))[:, None]
        # An answer, or a kind, that a resample does not draw has no accuracy in it.
        of_answers = _ratio(counts @ right, (asked @ counts.T)[..., None])
        of_kinds = [_mean(of_answers[of_kind == one]) for one in range(of_kind.max() + 1)]
        return np.stack([whole, _mean(np.stack(of_kinds))], axis=-1)

    return statistic, len(videos)


def _ratio(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


def _mean(values: Array) -> Array:
    """Over the first axis, of what is not NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))
