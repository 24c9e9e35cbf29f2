"""Running stage three: predict what is not predicted yet, measure, report."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..cache.store import FeatureStore
from ..dataset.questions import Question, load_questions
from ..dataset.splits import load_split
from ..dataset.videos import Dataset, Video
from ..errors import DatasetError
from ..extract.encoder import pick_device
from ..train.checkpoint import digest, load_checkpoint, read_info
from ..train.prompts import ProfileName
from ..train.reading import in_store
from .metrics import measure
from .predict import (
    KEY,
    Predictor,
    expected,
    predict,
    read_predictions,
    write_predictions,
)
from .report import write_report
from .settings import EvaluateSettings

Progress = Callable[[int, int], None]
"""Called with the number of finished videos and their total."""


def evaluate(
    dataset: Dataset,
    store: FeatureStore,
    checkpoint: Path,
    settings: EvaluateSettings,
    *,
    device: str = "auto",
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Measure a checkpoint on one part of the dataset's split.

    Writes predictions.parquet, metrics.json and report.html into `settings.out`. Predictions that
    are there already, by the same checkpoint on the same features, are not made again.

    Args:
        dataset: videos with labels, questions and the split.
        store: their features.
        checkpoint: folder of the checkpoint.
        settings: which part, and where the results go.
        device: "auto", "cpu" or "cuda", for predictions that are missing.
        progress: told of every predicted video.

    Returns:
        The content of metrics.json.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        IdentityMismatch: it was trained on other features than those in the store.
        StoreError: videos of the part were not extracted yet.
    """
    info = read_info(checkpoint)
    info.check_features(store)
    split, part = dataset.settings.split, settings.part
    videos = load_split(dataset, split)[part]
    if not videos:
        raise DatasetError(f"split {split} has no videos in the part {part}")
    usable = in_store(store, videos, f"videos of the part {part}")
    failures = store.failures()
    failed = {video.id: failures[video.id] for video in videos if video.id in failures}

    settings.out.mkdir(parents=True, exist_ok=True)
    made_by = {"checkpoint": digest(checkpoint), "features": store.layout.identity.digest}
    questions = load_questions(dataset)
    wanted = expected(dataset, usable, questions, info.profile)
    path = settings.out / "predictions.parquet"
    predictions = read_predictions(path, made_by)
    missing = _unpredicted(wanted, predictions, usable)
    if missing:
        model, packer, _ = load_checkpoint(checkpoint)
        predictor = Predictor(model, packer, pick_device(device, "train.device"))
        new = predict(predictor, dataset, missing, questions, store.read, progress, info.profile)
        again = predictions["video"].isin([video.id for video in missing])
        predictions = pd.concat([predictions[~again], new], ignore_index=True)
    everything = _with_labels(predictions, dataset, questions, info.profile)
    write_predictions(path, everything, made_by)

    measured = everything.merge(wanted[KEY], on=KEY)
    metrics = measure(
        measured,
        split=split,
        part=part,
        labelled=[video.id for video in videos if video.labels],
        failed=failed,
        mos_range=dataset.settings.mos_range,
    )
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (settings.out / "metrics.json").write_text(text + "\n", "utf-8")
    write_report(
        settings.out / "report.html",
        metrics,
        measured,
        title=f"FineVQ on {dataset.settings.name}, split {split}, part {part}",
        mos_range=dataset.settings.mos_range,
        facts={
            "Checkpoint": f"{checkpoint} ({made_by['checkpoint'][:12]})",
            "Base model": info.base,
            "Features": f"{store.url} ({made_by['features'][:12]})",
            "Videos": f"{len(videos)} in the part, {len(usable)} with features",
        },
    )
    return metrics


def _unpredicted(
    wanted: pd.DataFrame, predictions: pd.DataFrame, videos: list[Video]
) -> list[Video]:
    """The videos with a prompt that has no prediction yet."""
    joined = wanted[KEY].merge(predictions[KEY], on=KEY, how="left", indicator=True)
    lacking = set(joined.loc[joined["_merge"] == "left_only", "video"])
    return [video for video in videos if video.id in lacking]


def _with_labels(
    predictions: pd.DataFrame,
    dataset: Dataset,
    questions: Mapping[str, list[Question]],
    profile: ProfileName,
) -> pd.DataFrame:
    """Predictions beside today's labels: a label may have changed since the model ran."""
    predicted = set(predictions["video"])
    videos = [video for video in dataset if video.id in predicted]
    return predictions.merge(expected(dataset, videos, questions, profile), on=KEY, how="left")
