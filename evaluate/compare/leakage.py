"""Whether a checkpoint is measured on videos that it was trained on."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...cache.store import FeatureStore
from ...dataset.splits import recorded_hashes
from ...dataset.videos import Dataset
from ...errors import DatasetError, StoreError
from ...train.fit.training_set import read_training_set
from .scores import Scores


def content_hashes(stores: Iterable[str], datasets: Iterable[Dataset] = ()) -> dict[str, str]:
    """The hashes of videos' bytes, by id, as far as feature stores and splits record them.

    Args:
        stores: paths or URLs of feature stores, which need not exist.
        datasets: whose configured splits are read.
    """
    hashes: dict[str, str] = {}
    for dataset in datasets:
        hashes |= recorded_hashes(dataset, dataset.settings.split)
    for store in stores:
        with suppress(StoreError):
            records = FeatureStore.open(store).records().values()
            hashes |= {one.video: one.source.sha256 for one in records if one.source is not None}
    return hashes


def trained_on(checkpoint: Path, hashes: Mapping[str, str | None]) -> list[str] | None:
    """Which of some videos a checkpoint was trained on; None if it does not say.

    Args:
        checkpoint: its folder.
        hashes: the hash of each video's bytes, by id; a video without one is compared by its id.
    """
    trained = read_training_set(checkpoint)
    if trained is None:
        return None
    contents, ids = set(trained["sha256"]), set(trained["video"])
    return [v for v, sha in hashes.items() if (v in ids if sha is None else sha in contents)]


def leakage(model: Scores, names: Mapping[str, str], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Which videos have the content of one that a model's checkpoint was trained on.

    Args:
        model: stored predictions.
        names: from the model's name of each video to the labels' name.
        hashes: of the videos' bytes, by the model's names. A video without one is compared by its
            name, and "reason" says so.

    Returns:
        {"checked", "videos"}, as in metrics.json, and a "reason" where not all could be checked.
    """
    if model.checkpoint is None:
        return _unchecked("its checkpoint is neither beside it nor the configured train.out")
    leaked = trained_on(model.checkpoint, {video: hashes.get(video) for video in names})
    if leaked is None:
        return _unchecked("its checkpoint does not say which videos it was trained on")
    result: dict[str, Any] = {"checked": True, "videos": [names[video] for video in leaked]}
    if without_hash := [video for video in names if video not in hashes]:
        result["reason"] = (
            f"{len(without_hash)} of {len(names)} videos were checked for training by name alone: "
            "neither the store at cache.path nor the split has a hash of them"
        )
    return result


def _unchecked(reason: str) -> dict[str, Any]:
    reason = f"not checked for videos seen in training: {reason}"
    return {"checked": False, "videos": [], "reason": reason}


def refuse_leakage(model: Scores, leakage: Mapping[str, Any], videos: int) -> None:
    """Refuse to measure a model on videos that it was trained on.

    Args:
        model: stored predictions.
        leakage: what `leakage` returned.
        videos: how many were checked.

    Raises:
        DatasetError: there are some; the message names the first.
    """
    if leaked := leakage["videos"]:
        raise DatasetError(
            f"{model.name}: {len(leaked)} of {videos} videos were in the training of "
            f"{model.checkpoint}, the first is {leaked[0]}; choose another --split, or measure "
            "them all the same with --allow-leakage"
        )
