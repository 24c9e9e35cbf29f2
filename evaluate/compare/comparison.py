"""Models side by side on the videos that all of them predict, with paired bootstrap.

Every resample has the same videos for all models. So the draw of the videos changes both models of
a pair alike, and does not blur their difference.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

import pandas as pd

from ...dataset.videos import DIMENSIONS
from ...errors import FineVQError
from ..metrics import bootstrap
from ..metrics.agreement import METRICS, Agreement, Array, resample
from ..metrics.answers import compare_answers
from .leakage import leakage, refuse_leakage
from .scores import Scores, matched, with_ids

QUESTIONS = "questions"
"""The key of a model's accuracies, beside its dimensions."""

LEAKAGE = "leakage"
"""The key of the videos that a model's checkpoint was trained on, beside its dimensions."""


def compare(
    models: Sequence[Scores],
    labels: Scores,
    hashes: Mapping[str, str] = MappingProxyType({}),
    *,
    allow_leakage: bool = False,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure models on the labelled videos that all of them predict.

    Args:
        models: of different names.
        labels: of the videos.
        hashes: of the videos' bytes, by their ids.
        allow_leakage: measure videos that a checkpoint was trained on too, and say so.

    Returns:
        {name: {dimension: {"srcc", "krcc", "plcc", "plcc_fitted", "rmse", "rmse_fitted", "n",
        "labelled", "predicted", "missing", "ci", "against"}}}, strict JSON. "labelled" is the
        number of videos with a label, "predicted" how many of them this model predicts, "missing"
        which it does not, "n" how many are measured: those that all models predict. "ci" has the
        interval of each metric; "against" has, for each other model, the "difference" of each
        metric, its interval and its two-sided p-value. A model with answers has the key
        `QUESTIONS`, of `compare_answers`, where the right answers are known; stored predictions
        have the key `LEAKAGE`, of `leakage`.

    Raises:
        FineVQError: two models of one name, or no labelled video that all predict.
        DatasetError: as `matched`, or videos that a checkpoint was trained on.
    """
    names = [model.name for model in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FineVQError(f"two models are called {twice[0]}; name one, as in other={twice[0]}.csv")
    as_read, models = models, [matched(model, labels) for model in models]
    leaked = {
        model.name: _leakage(model, renamed, labels, hashes, allow_leakage)
        for model, renamed in zip(as_read, models, strict=True)
        if model.stored
    }
    result: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for dimension in DIMENSIONS:
        if dimension not in labels.table or labels.table[dimension].isna().all():
            continue
        scored = [model for model in models if dimension in model.table]
        if not scored:
            continue
        for name, metrics in _compare_dimension(scored, labels, dimension).items():
            result[name][dimension] = metrics
    if not any(result.values()):
        raise FineVQError("the models and the labels have no dimension in common")
    answers = {model.name: model.answers for model in models}
    for name, accuracies in compare_answers(answers, labels.answers).items():
        result[name][QUESTIONS] = accuracies
    for name, videos in leaked.items():
        result[name][LEAKAGE] = videos
    return result


def compare_datasets(
    models: Sequence[Scores],
    datasets: Sequence[Scores],
    hashes: Mapping[str, str] = MappingProxyType({}),
    *,
    allow_leakage: bool = False,
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Measure models on several datasets.

    Args:
        models: several of one name are one model's predictions of several datasets.
        datasets: the labels of each, under different names. If there are several, the dataset's
            name is put in front of a video's name that lacks it, so that all names differ.
        hashes: as `compare` takes them.
        allow_leakage: as `compare` takes it.

    Returns:
        By the dataset's name, what `compare` returns for the models that predict any of its videos.

    Raises:
        FineVQError: two datasets of one name, or one that no model predicts; or as `compare`.
    """
    names = [labels.name for labels in datasets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FineVQError(f"two datasets are called {twice[0]}; name one, as in other=FILE.csv")
    if len(datasets) == 1:
        return {names[0]: compare(models, datasets[0], hashes, allow_leakage=allow_leakage)}
    datasets = [with_ids(labels) for labels in datasets]
    all_labels = Scores("all datasets", pd.concat([labels.table for labels in datasets]))
    models = [matched(model, all_labels) for model in models]
    results = {}
    for labels in datasets:
        predicting = [m for m in models if m.table.index.isin(labels.table.index).any()]
        if not predicting:
            raise FineVQError(f"no model has predictions of {labels.name}; leave it out")
        results[labels.name] = compare(predicting, labels, hashes, allow_leakage=allow_leakage)
    return results


def _leakage(
    model: Scores, renamed: Scores, labels: Scores, hashes: Mapping[str, str], allowed: bool
) -> dict[str, Any]:
    """The leakage of a model, given as read and with the videos renamed as in the labels."""
    names = dict(zip(model.table.index, renamed.table.index, strict=True))
    labelled = {video: name for video, name in names.items() if name in labels.table.index}
    found = leakage(model, labelled, hashes)
    if not allowed:
        refuse_leakage(model, found, len(labelled))
    return found


def _compare_dimension(
    models: Sequence[Scores], labels: Scores, dimension: str
) -> dict[str, dict[str, Any]]:
    label = labels.table[dimension].dropna()
    predicted = pd.concat([m.table[dimension] for m in models], axis=1, join="inner").dropna()
    videos = sorted(label.index.intersection(predicted.index))
    if not videos:
        raise FineVQError(f"no video with a label in {dimension} is predicted by all models")
    truth = label.loc[videos].to_numpy()
    agreements = [Agreement(m.table[dimension].loc[videos].to_numpy(), truth) for m in models]
    resampled = resample(agreements, len(videos))
    result = {}
    for i, (model, agreement) in enumerate(zip(models, agreements, strict=True)):
        metrics = agreement.described(resampled[:, i])
        ci = {metric: metrics.pop(f"{metric}_ci") for metric in METRICS}
        missing = sorted(label.index.difference(model.table[dimension].dropna().index))
        coverage = {"labelled": len(label), "predicted": len(label) - len(missing)}
        result[model.name] = metrics | coverage | {"missing": missing, "ci": ci, "against": {}}
    for i, k in combinations(range(len(models)), 2):
        for a, b in ((i, k), (k, i)):
            difference = _differences(
                agreements[a], agreements[b], resampled[:, a] - resampled[:, b]
            )
            result[models[a].name]["against"][models[b].name] = difference
    return result


def _differences(one: Agreement, other: Agreement, resampled: Array) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for column, metric in enumerate(METRICS):
        a, b = one.values[metric], other.values[metric]
        if a is not None and b is not None:
            differences[metric] = bootstrap.difference(a - b, resampled[:, column])
    return differences
