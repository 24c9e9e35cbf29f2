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
"""The index of answers: what identifies a question."""

METRICS = ("accuracy", "balanced_accuracy")
"""Balanced accuracy is the mean over the right answers; of all kinds, the mean over the kinds."""

ALL = "all questions"
"""The name of all kinds together."""

Answers = pd.Series
"""Answers as texts, by `INDEX`; None is an answer too, and a wrong one."""


def answers_by(rows: Iterable[tuple[str, str, str, str | None]]) -> "Answers[Any]":
    """Answers from rows of (video, kind, question, answer)."""
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
        "answered", "missing", "against"}}}, for the kinds that a model answers, in the order of the
        paper's Table 2. "labelled" is the number of questions with a right answer, "answered" how
        many of them this model answers, "n" how many all models answer; "missing" has the videos
        with a question that this model does not answer. "ci" and "against" are those of
        `finevq.evaluate.compare.comparison.compare`. The baseline of `ALL` gives each kind's most
        frequent answer. Where no question is answered by all models, the accuracy is None, with a
        "reason".
    """
    models = {name: answers[answers.index.isin(right.index)] for name, answers in models.items()}
    models = {name: answers for name, answers in models.items() if len(answers)}
    result: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in models}
    if not models:
        return result
    for kind in sorted(right.index.unique("kind"), key=kind_order):
        of_kind = {name: _of_kind(answers, kind) for name, answers in models.items()}
        of_kind = {name: answers for name, answers in of_kind.items() if len(answers)}
        if of_kind:
            for name, accuracies in _compare(of_kind, _of_kind(right, kind)).items():
                result[name][kind] = accuracies
    for name, accuracies in _compare(models, right).items():
        result[name][ALL] = accuracies
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
        return {name: _undefined(answers, right) for name, answers in models.items()}
    truth = right.loc[common]
    correct = np.stack([answers.loc[common] == truth for answers in models.values()], axis=1)
    statistic, videos = _accuracies(truth, correct)
    every_video_once = np.ones((1, videos), np.float32)
    values, resampled = statistic(every_video_once)[0], bootstrap.resampled(videos, statistic)
    most_frequent = truth.groupby("kind").agg(lambda kind: kind.value_counts().max())

    def differences(i: int, k: int) -> dict[str, Any]:
        value, drawn = values[i] - values[k], resampled[:, i] - resampled[:, k]
        return {
            metric: bootstrap.difference(value[m], drawn[:, m]) for m, metric in enumerate(METRICS)
        }

    names = list(enumerate(models))
    return {
        name: dict(zip(METRICS, map(float, values[i]), strict=True))
        | {
            "ci": {m: bootstrap.interval(resampled[:, i, k]) for k, m in enumerate(METRICS)},
            "majority_baseline": float(most_frequent.sum() / len(truth)),
            "n": len(truth),
            **_coverage(models[name], right),
            "against": {other: differences(i, k) for k, other in names if k != i},
        }
        for i, name in names
    }


def _undefined(answers: "Answers[Any]", right: "Answers[Any]") -> dict[str, Any]:
    """What stands in the place of accuracies where no question is answered by all models."""
    undefined: dict[str, Any] = dict.fromkeys(METRICS)
    return {
        **undefined,
        "ci": undefined,
        "majority_baseline": None,
        "n": 0,
        **_coverage(answers, right),
        "against": {},
        "reason": "no question is answered by all models",
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
    """Make the statistic that computes `METRICS` from the counts of the videos.

    Args:
        truth: the right answers.
        correct: whether each model gives the right answer, shape (questions, models).

    Returns:
        The statistic, whose values have the shape (resamples, models, 2), and how many videos there
        are.
    """
    video, videos = pd.factorize(truth.index.get_level_values("video"))
    kind = truth.index.get_level_values("kind")
    answer, answers = pd.factorize(pd.MultiIndex.from_arrays([kind, truth]))
    questions = np.zeros((len(answers), len(videos)))
    right = np.zeros((*questions.shape, correct.shape[1]))
    np.add.at(questions, (answer, video), 1)
    np.add.at(right, (answer, video), correct)
    of_kind = pd.factorize(answers.get_level_values(0))[0]

    def statistic(counts: Counts) -> Array:
        whole = (counts @ right.sum(axis=0)) / (counts @ questions.sum(axis=0))[:, None]
        # An answer, or a kind, that a resample does not draw is NaN and does not count in means.
        of_answers = bootstrap.ratio(counts @ right, (questions @ counts.T)[..., None])
        of_kinds = [_mean(of_answers[of_kind == one]) for one in range(of_kind.max() + 1)]
        return np.stack([whole, _mean(np.stack(of_kinds))], axis=-1)

    return statistic, len(videos)


def _mean(values: Array) -> Array:
    """The mean over the first axis, without NaN."""
    known = ~np.isnan(values)
    return bootstrap.ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))
