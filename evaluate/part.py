"""The part of a split that is evaluated: its videos, and whether they were seen in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.store import FeatureStore
from ..dataset.splits import Part, load_split
from ..dataset.videos import Dataset, Video
from ..errors import DatasetError
from ..train.fit.reading import in_store
from .compare.leakage import trained_on


@dataclass(frozen=True)
class EvaluatedPart:
    """One part of a dataset's split.

    Attributes:
        dataset: whose split it is.
        part: its name.
        videos: all of it.
        extracted: the videos with features.
        failed: why the others have none, by video id.
    """

    dataset: Dataset
    part: Part
    videos: Sequence[Video]
    extracted: list[Video]
    failed: dict[str, str]

    @property
    def split(self) -> str:
        """The name of the split."""
        return self.dataset.settings.split

    @property
    def names(self) -> dict[str, str]:
        """What it is called in metrics.json."""
        return {"dataset": self.dataset.settings.name, "split": self.split, "part": self.part}


def select_part(dataset: Dataset, store: FeatureStore, part: Part) -> EvaluatedPart:
    """Take one part of a dataset's split.

    Raises:
        DatasetError: the part is empty.
        StoreError: some of its videos were not extracted yet.
    """
    split = dataset.settings.split
    videos = load_split(dataset, split)[part]
    if not videos:
        raise DatasetError(f"split {split} has no videos in the part {part}")
    extracted = in_store(store, videos, f"videos of the part {part}")
    failures = store.failures()
    failed = {video.id: failures[video.id] for video in videos if video.id in failures}
    return EvaluatedPart(dataset, part, videos, extracted, failed)


def check_leakage(
    part: EvaluatedPart, store: FeatureStore, checkpoint: Path, *, allowed: bool
) -> dict[str, Any]:
    """Find the videos with the content of one that the checkpoint was trained on.

    Returns:
        {"checked", "videos"}, and a "reason" where it could not be checked.

    Raises:
        DatasetError: there are some, and that is not allowed.
    """
    records = store.records()
    sources = {video.id: records[video.id].source for video in part.extracted}
    hashes = {video: source.sha256 if source else None for video, source in sources.items()}
    leaked = trained_on(checkpoint, hashes)
    if leaked is None:
        reason = "the checkpoint does not say which videos it was trained on"
        return {"checked": False, "videos": [], "reason": reason}
    if leaked and not allowed:
        raise DatasetError(
            f"{len(leaked)} of {len(part.videos)} videos of split {part.split}, part {part.part} "
            f"were in the training of {checkpoint}, the first is {leaked[0]}; choose another "
            "split, or measure them all the same with --allow-leakage"
        )
    return {"checked": True, "videos": leaked}
