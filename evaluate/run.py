"""Running stage three: predict what is not predicted yet, measure, report."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState

from ..cache.store import FeatureStore
from ..dataset.questions import Question, load_questions
from ..dataset.splits import Part, load_split
from ..dataset.videos import Dataset, Video
from ..errors import DatasetError, FineVQError
from ..extract.encode.encoder import pick_device
from ..train.fit.reading import in_store
from ..train.model.checkpoint import digest, load_checkpoint, read_info
from ..train.prompts import ProfileName
from .compare.leakage import trained_on
from .metrics.measure import measure
from .pages.report import write_report
from .predict.predictor import (
    FOLDER,
    KEY,
    Predictor,
    expected,
    predict,
    read_predictions,
    write_predictions,
)
from .settings import EvaluateSettings

Progress = Callable[[int, int], None]
"""Called with the number of finished videos and their total."""


KEEP_EVERY = 256
"""Videos after which new predictions are written, so that a run that is stopped can go on."""


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

    Writes predictions.parquet into `settings.out`, and metrics.json, report.html and figures/ into
    `results`. Predictions that are there already, by the same checkpoint on the same features, are
    not made again; without any to make, the model is not loaded. Nothing of another checkpoint,
    split or part is overwritten. Started by `torchrun` on several
    processes, each predicts its share of the videos, and the first of them measures and writes.

    Args:
        dataset: videos with labels, questions and the split.
        store: their features.
        checkpoint: folder of the checkpoint.
        settings: which part, and where the results go.
        results: folder of the results, if not `settings.out`.
        device: "auto", "cpu" or "cuda", for predictions that are missing.
        max_tokens: of a sequence, see `Predictor`.
        allow_leakage: measure videos that the checkpoint was trained on too, and say so.
        progress: told of every batch of predicted videos.

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
    profile = info.spec.profile
    split, part = dataset.settings.split, settings.part
    videos = load_split(dataset, split)[part]
    if not videos:
        raise DatasetError(f"split {split} has no videos in the part {part}")
    usable = in_store(store, videos, f"videos of the part {part}")
    leakage = _leakage(checkpoint, store, usable)
    if leakage["videos"] and not allow_leakage:
        raise DatasetError(
            f"{len(leakage['videos'])} of {len(videos)} videos of split {split}, part {part} were "
            f"in the training of {checkpoint}, the first is {leakage['videos'][0]}; choose another "
            "split, or measure them all the same with --allow-leakage"
        )
    failures = store.failures()
    failed = {video.id: failures[video.id] for video in videos if video.id in failures}

    results = results or settings.out
    measured_there = {"dataset": dataset.settings.name, "split": split, "part": part}
    _check_results(results / "metrics.json", measured_there)
    settings.out.mkdir(parents=True, exist_ok=True)
    made_by = {
        "checkpoint": digest(checkpoint),
        "features": store.layout.identity.digest,
        FOLDER: str(checkpoint),
    }
    questions = load_questions(dataset)
    wanted = expected(dataset, usable, questions, profile)
    path = settings.out / "predictions.parquet"
    predictions = read_predictions(path, made_by)
    enough = predictions["free_text"] >= settings.free_text
    missing = _unpredicted(wanted, predictions[enough], usable)
    if missing:
        model, packer, _ = load_checkpoint(checkpoint)
        there = pick_device(device, "train.device")
        predictor = Predictor(
            model, packer, there, max_tokens=max_tokens, free_text=settings.free_text
        )
        per_batch = settings.videos_per_batch
        new = predict(predictor, dataset, missing, questions, store.read, profile, per_batch)
        again = predictions["video"].isin([video.id for video in missing])
        if state.is_main_process:
            predictions = _predict_rest(path, made_by, predictions[~again], new, missing, progress)
        else:
            deque(new, maxlen=0)
    if not state.is_main_process:
        state.wait_for_everyone()
        written: dict[str, Any] = json.loads((results / "metrics.json").read_text("utf-8"))
        return written
    everything = _with_labels(predictions, dataset, questions, profile)

    measured = everything.merge(wanted[KEY], on=KEY)
    categories = {video.id: video.category for video in videos if video.category}
    metrics = {"dataset": dataset.settings.name} | measure(
        measured,
        split=split,
        part=part,
        labelled=[video.id for video in videos if video.labels],
        failed=failed,
        mos_range=dataset.settings.mos_range,
        categories=categories,
        labels=Counter(dimension for video in videos for dimension in video.labels),
    )
    metrics["leakage"] = leakage
    results.mkdir(parents=True, exist_ok=True)
    write_metrics(results / "metrics.json", metrics)
    write_report(
        results / "report.html",
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
        categories=categories,
        files={video.id: video.path for video in videos},
    )
    state.wait_for_everyone()
    return metrics


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as strict JSON."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", "utf-8")


def results_name(split: str, part: Part) -> str:
    """The folder of the results of a split that is named: SPLIT, or SPLIT-PART for another part."""
    return split if part == "test" else f"{split}-{part}"


def _check_results(path: Path, here: Mapping[str, str]) -> None:
    """Refuse to overwrite the metrics of another evaluation."""
    try:
        there = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # half a file of a run that was killed is no result
        return
    if any(there.get(key) != value for key, value in here.items()):
        raise FineVQError(
            f"{path}: holds dataset {there.get('dataset')}, split {there.get('split')}, part "
            f"{there.get('part')}, which dataset {here['dataset']}, split {here['split']}, part "
            f"{here['part']} would overwrite; name them with --split and --part, which have a "
            "folder of their own, or set another evaluate.out"
        )


def _predict_rest(
    path: Path,
    made_by: Mapping[str, str],
    before: pd.DataFrame,
    new: Iterable[pd.DataFrame],
    missing: Sequence[Video],
    progress: Progress,
) -> pd.DataFrame:
    """Add new predictions to those that are there, and keep them as they come."""
    tables, done, kept = [before], 0, 0
    progress(0, len(missing))
    for table in new:
        tables.append(table)
        done += table["video"].nunique()
        progress(done, len(missing))
        if done - kept >= KEEP_EVERY or done == len(missing):
            tables, kept = [pd.concat(tables, ignore_index=True)], done
            write_predictions(path, tables[0], made_by)
    return tables[0]


def _leakage(checkpoint: Path, store: FeatureStore, videos: Sequence[Video]) -> dict[str, Any]:
    """Which videos have the content of one that the checkpoint was trained on."""
    records = store.records()
    sources = {video.id: records[video.id].source for video in videos}
    hashes = {id_: source.sha256 if source else None for id_, source in sources.items()}
    leaked = trained_on(checkpoint, hashes)
    if leaked is None:
        reason = "the checkpoint does not say which videos it was trained on"
        return {"checked": False, "videos": [], "reason": reason}
    return {"checked": True, "videos": leaked}


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
    """Predictions beside the labels of today, which may have changed since the model ran."""
    predicted = set(predictions["video"])
    videos = [video for video in dataset if video.id in predicted]
    return predictions.merge(expected(dataset, videos, questions, profile), on=KEY, how="left")
