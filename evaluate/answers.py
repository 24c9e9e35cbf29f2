"""Models side by side on questions, the paper's Table 2: accuracies with paired bootstrap.

All models of a kind of question are measured on the questions that all of them answer. Videos are
resampled, each with all its questions, the same for all models.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import bootstrap
from .bootstrap import Array, Counts
from .metrics import kind_order

INDEX = ["video", "kind", "question"]
"""What an answer is known by."""

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
    """Measure the accuracy of models on each kind of question, and on `ALL` of them.

    Args:
        models: their answers, by name.
        right: the right answers.

    Returns:
        {name: {kind: {"accuracy", "ci", "majority_baseline", "n", "labelled", "against"}}}, in the
        order of the paper's Table 2, for the kinds that a model answers: "n" of the "labelled"
        questions with a right answer are answered by all. "ci" and "against" are those of
        `finevq.evaluate.compare.compare`. `ALL`'s baseline gives each kind's most frequent answer.
        Where no question is answered by all, the accuracy is None, with a "reason".
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
        nothing = {"accuracy": None, "ci": {"accuracy": None}, "majority_baseline": None, "n": 0}
        more = {"labelled": len(right), "against": {}, "reason": reason}
        return dict.fromkeys(models, nothing | more)
    truth = right.loc[common]
    correct = np.stack([answers.loc[common] == truth for answers in models.values()], axis=1)
    accuracy = correct.mean(axis=0)
    resampled = _resampled(common.get_level_values("video"), correct)
    most = truth.groupby("kind").agg(lambda kind: kind.value_counts().max())

    def difference(i: int, k: int) -> dict[str, Any]:
        return bootstrap.difference(accuracy[i] - accuracy[k], resampled[:, i] - resampled[:, k])

    names = list(enumerate(models))
    return {
        name: {
            "accuracy": float(accuracy[i]),
            "ci": {"accuracy": bootstrap.interval(resampled[:, i])},
            "majority_baseline": float(most.sum() / len(truth)),
            "n": len(truth),
            "labelled": len(right),
            "against": {other: {"accuracy": difference(i, k)} for k, other in names if k != i},
        }
        for i, name in names
    }


def _resampled(videos: "pd.Index[str]", correct: Array) -> Array:
    """Accuracies in resamples of the videos: (questions, models) to (resamples, models)."""
    video, names = pd.factorize(videos)
    asked = np.bincount(video).astype(np.float64)
    right = np.zeros((len(names), correct.shape[1]))
    np.add.at(right, video, correct)

    def statistic(counts: Counts) -> Array:
        found: Array = (counts @ right) / (counts @ asked)[:, None]
        return found

    return bootstrap.resampled(len(names), statistic)
