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
from .run import Progress, evaluate, results_name, write_metrics
from .settings import EvaluateSettings

ACCURACIES = ("level_accuracy", "level_balanced_accuracy", "accuracy", "balanced_accuracy")

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
    """Measure each split, and write rounds.json and the page rounds.html into `settings.out`.

    A round's results go to the folder `results_name` in `settings.out`. Its predictions go to
    `settings.out`/SPLIT if each round has a checkpoint of its own; a checkpoint that serves all
    rounds predicts a video only once.

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
        "values" of all rounds; "questions" has these of the accuracies on each kind.

    Raises:
        FineVQError: a split is named twice; or as `evaluate`.
    """
    if len(set(splits)) < len(splits):
        raise FineVQError(f"a split is named twice: {', '.join(splits)}")
    rounds = []
    for split in splits:
        results = settings.out / results_name(split, settings.part)
        apart = settings.model_copy(update={"out": settings.out / split})
        own = apart if ROUND in checkpoint else settings
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
        "questions": {
            kind: _spread([one["questions"].get(kind, {}) for one in rounds])
            for kind in sorted({k for one in rounds for k in one["questions"]}, key=kind_order)
        },
    }
    if PartialState().is_main_process:
        path = settings.out / f"{results_name('rounds', settings.part)}.json"
        write_metrics(path, found)
        _write_page(path.with_suffix(".html"), found, checkpoint, dataset.settings.mos_range)
    return found


def _write_page(
    path: Path, found: dict[str, Any], checkpoint: str, mos_range: tuple[float, float]
) -> None:
    splits = found["splits"]
    html = template("rounds.html", mos_range).render(
        title=f"FineVQ on {found['dataset']}: {len(splits)} rounds, part {found['part']}",
        facts={"Checkpoint": checkpoint, "Splits": ", ".join(splits)},
        rounds=found,
        correlations=CORRELATIONS,
    )
    path.write_text(html + "\n", encoding="utf-8", newline="\n")


def _spread(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the metrics that a round has; a round without one of them counts as one with null."""
    return {
        metric: _summary([one.get(metric) for one in rounds])
        for metric in (*METRICS, *ACCURACIES)
        if any(metric in one for one in rounds)
    }


def _summary(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "median": float(np.median(known)) if known else None,
        "mean": float(np.mean(known)) if known else None,
        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": list(values),
    }
