"""Multi-round cross-validation: one evaluation for each of several splits, and their spread.

The paper's protocol on five databases is the median or mean over rounds of random 4:1 splits
(section 5.3). Each round has a model of its own, trained on its train part.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from ..cache.store import FeatureStore
from ..dataset.videos import Dataset
from ..errors import FineVQError
from .metrics.agreement import CORRELATIONS, METRICS
from .metrics.measure import kind_order
from .pages.page import template
from .predict.predictions import Progress
from .results import results_name, write_metrics
from .run import evaluate
from .settings import EvaluateSettings

ACCURACIES = ("level_accuracy", "level_balanced_accuracy", "accuracy", "balanced_accuracy")

ROUND = "{split}"
"""In the checkpoint's path, the placeholder for the round's split."""


def evaluate_rounds(
    dataset: Dataset,
    store: FeatureStore,
    checkpoint: str,
    settings: EvaluateSettings,
    splits: Sequence[str],
    *,
    device: str = "auto",
    max_tokens: int | None = None,
    allow_leakage: bool = False,
    progress: Callable[[str], Progress] = lambda split: lambda done, total: None,
) -> dict[str, Any]:
    """Measure each split, and write rounds.json and the page rounds.html into `settings.out`.

    The results of a round go to the folder `results_name` in `settings.out`. If each round has a
    checkpoint of its own, its predictions go to `settings.out`/SPLIT; a checkpoint that serves all
    rounds predicts a video only once, into `settings.out`.

    Args:
        dataset: with the splits.
        store: features of its videos.
        checkpoint: folder; "{split}" in it stands for the name of the round's split.
        settings: which part, and where the results go.
        splits: their names, one for each round.
        device: as `evaluate` takes it.
        max_tokens: as `evaluate` takes it.
        allow_leakage: as `evaluate` takes it.
        progress: makes the progress callback of a round, from the name of its split.

    Returns:
        The content of rounds.json. Each metric of each dimension, and of their mean, has its
        "median", "mean" and sample "deviation" over the rounds that define it, and the "values" of
        all rounds; so have the accuracies on each kind of question, in "questions".

    Raises:
        FineVQError: a split is named twice; or as `evaluate`.
    """
    if len(set(splits)) < len(splits):
        raise FineVQError(f"a split is named twice: {', '.join(splits)}")
    metrics = []
    for split in splits:
        own_folder = settings.model_copy(update={"out": settings.out / split})
        dataset_settings = dataset.settings.model_copy(update={"split": split})
        metrics.append(
            evaluate(
                Dataset(dataset_settings, dataset.videos),
                store,
                Path(checkpoint.replace(ROUND, split)),
                own_folder if ROUND in checkpoint else settings,
                results=settings.out / results_name(split, settings.part),
                device=device,
                max_tokens=max_tokens,
                allow_leakage=allow_leakage,
                progress=progress(split),
            )
        )
    rounds = {
        "dataset": dataset.settings.name,
        "part": settings.part,
        "splits": list(splits),
        **_spreads(metrics),
    }
    if PartialState().is_main_process:
        path = settings.out / f"{results_name('rounds', settings.part)}.json"
        write_metrics(path, rounds)
        _write_page(path.with_suffix(".html"), rounds, checkpoint, dataset.settings.mos_range)
    return rounds


def _spreads(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The spread of each metric over the rounds, from the metrics.json of each round."""
    kinds = {kind for metrics in rounds for kind in metrics["questions"]}
    return {
        "dimensions": {
            name: _spread([metrics["dimensions"][name] for metrics in rounds])
            for name in rounds[0]["dimensions"]
        },
        "mean": _spread([metrics["mean"] for metrics in rounds]),
        "questions": {
            kind: _spread([metrics["questions"].get(kind, {}) for metrics in rounds])
            for kind in sorted(kinds, key=kind_order)
        },
    }


def _write_page(
    path: Path, rounds: dict[str, Any], checkpoint: str, mos_range: tuple[float, float]
) -> None:
    splits = rounds["splits"]
    html = template("rounds.html", mos_range).render(
        title=f"FineVQ on {rounds['dataset']}: {len(splits)} rounds, part {rounds['part']}",
        facts={"Checkpoint": checkpoint, "Splits": ", ".join(splits)},
        rounds=rounds,
        correlations=CORRELATIONS,
    )
    path.write_text(html + "\n", encoding="utf-8", newline="\n")


def _spread(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The spread of each metric that any round has; a round that lacks it has the value None."""
    return {
        metric: _summary([metrics.get(metric) for metrics in rounds])
        for metric in (*METRICS, *ACCURACIES)
        if any(metric in metrics for metrics in rounds)
    }


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "median": float(np.median(known)) if known else None,
        "mean": float(np.mean(known)) if known else None,
        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": list(values),
    }
