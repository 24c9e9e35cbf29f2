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
from .agreement import METRICS
from .run import Progress, evaluate, write_metrics
from .settings import EvaluateSettings

ROUND = "{split}"
"""Stands for the round's split in the checkpoint's path."""


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
    """Measure each split and write rounds.json into `settings.out`.

    A round's results go to `settings.out`/SPLIT. Its predictions go there too if each round has a
    checkpoint of its own; a checkpoint that serves all rounds predicts a video only once.

    Args:
        dataset: with the splits.
        store: features of its videos.
        checkpoint: folder, in which "{split}" stands for the name of the round's split.
        settings: which part, and where the results go.
        splits: names.
        device: as `evaluate` takes it.
        max_tokens: as `evaluate` takes it.
        allow_leakage: as `evaluate` takes it.
        progress: gives each round its progress.

    Returns:
        The content of rounds.json: for each dimension and their mean, for each metric, its
        "median", "mean" and "deviation" (of a sample) over the rounds that define it, and the
        "values" of all rounds.

    Raises:
        FineVQError: a split is named twice; or as `evaluate`.
    """
    if len(set(splits)) < len(splits):
        raise FineVQError(f"a split is named twice: {', '.join(splits)}")
    rounds = []
    for split in splits:
        results = settings.out / split
        own = settings.model_copy(update={"out": results}) if ROUND in checkpoint else settings
        there = dataset.settings.model_copy(update={"split": split})
        rounds.append(
            evaluate(
                Dataset(there, dataset.videos),
                store,
                Path(checkpoint.replace(ROUND, split)),
                own,
                results=results,
                device=device,
                max_tokens=max_tokens,
                allow_leakage=allow_leakage,
                progress=progress(split),
            )
        )
    found = {
        "dataset": dataset.settings.name,
        "part": settings.part,
        "splits": list(splits),
        "dimensions": {
            name: _spread([one["dimensions"][name] for one in rounds])
            for name in rounds[0]["dimensions"]
        },
        "mean": _spread([one["mean"] for one in rounds]),
    }
    if PartialState().is_main_process:
        write_metrics(settings.out / "rounds.json", found)
    return found


def _spread(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        metric: _summary([one[metric] for one in rounds])
        for metric in METRICS
        if metric in rounds[0]
    }


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "median": float(np.median(known)) if known else None,
        "mean": float(np.mean(known)) if known else None,
        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": list(values),
    }
