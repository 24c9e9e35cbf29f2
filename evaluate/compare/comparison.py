"""Models side by side on the videos that all of them predict, with paired bootstrap.

All models are drawn the same videos in every resample, so that a difference is judged without what
the draw of videos does to both.
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
from .score_files import Scores, matched, with_ids

QUESTIONS = "questions"
"""Where a model's accuracies stand among its dimensions."""

LEAKAGE = "leakage"
"""Where it stands there which videos a checkpoint was trained on."""


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
        "labelled", "predicted", "missing", "ci", "against"}}}: "n" videos are measured, of the
        "labelled" ones the model has "predicted" so many and those "missing" not, "ci" has the
        interval of each metric, "against" has for each other model the "difference" of each
        metric, its interval and its two-sided p-value. For models with answers, where right ones
        are known, `QUESTIONS` is a further key, with what `compare_answers` returns for the model;
        for stored predictions `LEAKAGE`, with what `leakage` returns. Strict JSON.

    Raises:
        FineVQError: two models of one name, or no labelled video that all predict.
        DatasetError: as `matched`, or videos that a checkpoint was trained on.
    """
    names = [model.name for model in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FineVQError(f"two models are called {twice[0]}; name one, as in other={twice[0]}.csv")
    given, models = models, [matched(model, labels) for model in models]
    leaked = {
        model.name: _leakage(model, named, labels, hashes, allow_leakage)
        for model, named in zip(given, models, strict=True)
        if model.stored
    }
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
    for name, found in leaked.items():
        result[name][LEAKAGE] = found
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
        datasets: labels, of different names. Where there are several, a video without the dataset's
            name in front gets it, so that the ids of all videos differ.
        hashes: as `compare` takes them.
        allow_leakage: as `compare` takes it.

    Returns:
        {dataset: ...}, of `compare`, with the models that have predictions of the dataset.

    Raises:
        FineVQError: two datasets of one name, or one that no model predicts; or as `compare`.
    """
    names = [labels.name for labels in datasets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FineVQError(f"two datasets are called {twice[0]}; name one, as in other=FILE.csv")
    if len(datasets) == 1:
        return {names[0]: compare(models, datasets[0], hashes, allow_leakage=allow_leakage)}
    datasets = [with_ids(labels) for labels in datasets]
    everything = Scores("all datasets", pd.concat([labels.table for labels in datasets]))
    models = [matched(model, everything) for model in models]
    found = {}
    for labels in datasets:
        having = [m for m in models if m.table.index.isin(labels.table.index).any()]
        if not having:
            raise FineVQError(f"no model has predictions of {labels.name}; leave it out")
        found[labels.name] = compare(having, labels, hashes, allow_leakage=allow_leakage)
    return found


def _leakage(
    model: Scores, named: Scores, labels: Scores, hashes: Mapping[str, str], allowed: bool
) -> dict[str, Any]:
    names = dict(zip(model.table.index, named.table.index, strict=True))
    labelled = {video: name for video, name in names.items() if name in labels.table.index}
    found = leakage(model, labelled, hashes)
    if not allowed:
        refuse_leakage(model, found, len(labelled))
    return found


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
        missing = sorted(label.index.difference(model.table[dimension].dropna().index))
        coverage = {"labelled": len(label), "predicted": len(label) - len(missing)}
        found[model.name] = described | coverage | {"missing": missing, "ci": ci, "against": {}}
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
