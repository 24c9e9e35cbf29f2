"""One evaluation: predict what is not predicted yet, measure, report."""

from collections import deque
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..cache.store import FeatureStore
from ..dataset.questions import load_questions
from ..dataset.videos import Dataset
from ..extract.device import pick_device
from ..train.model.checkpoint import digest, load_checkpoint, read_info
from .part import check_leakage, select_part
from .predict.predictions import Progress, predict, store_as_they_come, unpredicted
from .predict.predictor import Predictor
from .predict.stored import FOLDER, KEY, PREDICTIONS, expected, read_predictions
from .results import check_results, measure_part, read_metrics, write_results
from .settings import EvaluateSettings


def evaluate(
    dataset: Dataset,
    store: FeatureStore,
    checkpoint: Path,
    settings: EvaluateSettings,
    *,
    results: Path | None = None,
    device: str = "auto",
    max_tokens: int | None = None,
    allow_leakage: bool = False,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Measure a checkpoint on one part of the dataset's split.

    Stored predictions of the same checkpoint on the same features are not made again; if none is
    missing, the model is not loaded. Nothing of another checkpoint, split or part is overwritten.
    Started by `torchrun` on several processes, each predicts its share of the videos, and the first
    of them measures and writes.

    Args:
        dataset: videos with labels, questions and the split.
        store: their features.
        checkpoint: folder of the checkpoint.
        settings: which part; predictions.parquet is written into `settings.out`.
        results: folder for metrics.json, report.html and figures/, if not `settings.out`.
        device: "auto", "cpu" or "cuda", for predictions that are missing.
        max_tokens: of a sequence, see `Predictor`.
        allow_leakage: measure videos that the checkpoint was trained on too, and say so.
        progress: called after every batch of predicted videos.

    Returns:
        The content of metrics.json.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or a prompt does not fit.
        IdentityMismatch: it was trained on other features than those in the store.
        StoreError: videos of the part were not extracted yet.
        DatasetError: the part is empty, or has videos that the checkpoint was trained on.
        FineVQError: `settings.out` holds predictions of another checkpoint or other features, or
            `results` the metrics of another split or part.
    """
    state = PartialState(cpu=device == "cpu")
    info = read_info(checkpoint)
    info.check_features(store)
    part = select_part(dataset, store, settings.part)
    leakage = check_leakage(part, store, checkpoint, allowed=allow_leakage)
    results = results or settings.out
    check_results(results, part)
    settings.out.mkdir(parents=True, exist_ok=True)
    made_by = _made_by(checkpoint, store)
    questions = load_questions(dataset)
    profile = info.spec.profile
    wanted = expected(dataset, part.extracted, questions, profile)
    path = settings.out / PREDICTIONS
    predictions = read_predictions(path, made_by)
    long_enough = predictions["free_text"] >= settings.free_text
    missing = unpredicted(wanted, predictions[long_enough], part.extracted)
    if missing:
        predictor = _predictor(checkpoint, device, max_tokens, settings.free_text)
        per_batch = settings.videos_per_batch
        new = predict(predictor, dataset, missing, questions, store.read, profile, per_batch)
        if state.is_main_process:
            kept = predictions[~predictions["video"].isin([video.id for video in missing])]
            predictions = store_as_they_come(path, made_by, kept, new, len(missing), progress)
        else:
            deque(new, maxlen=0)  # predict this process's share
    if not state.is_main_process:
        state.wait_for_everyone()
        return read_metrics(results)
    measured = predictions.merge(wanted, on=KEY)
    metrics = measure_part(part, measured, leakage)
    facts = {
        "Checkpoint": f"{checkpoint} ({made_by['checkpoint'][:12]})",
        "Base model": info.base,
        "Features": f"{store.url} ({made_by['features'][:12]})",
        "Videos": f"{len(part.videos)} in the part, {len(part.extracted)} with features",
    }
    write_results(results, metrics, part, measured, facts)
    state.wait_for_everyone()
    return metrics


def _made_by(checkpoint: Path, store: FeatureStore) -> dict[str, str]:
    """What predictions.parquet says of its origin."""
    return {
        "checkpoint": digest(checkpoint),
        "features": store.layout.identity.digest,
        FOLDER: str(checkpoint),
    }


def _predictor(checkpoint: Path, device: str, max_tokens: int | None, free_text: int) -> Predictor:
    model, packer, _ = load_checkpoint(checkpoint)
    placed = pick_device(device, "train.device")
    return Predictor(model, packer, placed, max_tokens=max_tokens, free_text=free_text)
