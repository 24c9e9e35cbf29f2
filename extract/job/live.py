"""Extracting a sample of a store's videos again, to see that its features can still be made."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...cache.records import RowRecord
from ...cache.store import FeatureStore
from ...dataset.videos import Dataset
from ...errors import IdentityMismatch, StoreError, VideoError
from ..decode.pool import DecodePool
from ..encode.encoder import Encoder
from ..settings import ExtractSettings

LIMIT = 0.01
"""The largest deviation that is no problem: above what 8 bits, a GPU and bfloat16 come to."""


@dataclass(frozen=True)
class Deviation:
    """How far a video's features, made again, lie from those that are stored.

    Attributes:
        video: its id.
        spatial: largest difference of a value, over the largest stored value; that of rounding to
            the stored dtype included.
        motion: the same of the motion features.
        problem: why they could not be compared, or that they are others; None if they agree.
    """

    video: str
    spatial: float = 0.0
    motion: float = 0.0
    problem: str | None = None


def verify_live(
    store: FeatureStore, dataset: Dataset, settings: ExtractSettings, count: int
) -> Iterator[Deviation]:
    """Extract videos again, spread evenly over the dataset's, and compare.

    Args:
        store: the features.
        dataset: where the videos are.
        settings: those that the store was made with; the device may be another.
        count: how many videos; all if there are fewer.

    Raises:
        IdentityMismatch: the store was made with other settings or weights.
        StoreError: the store has no features of this dataset.
    """
    encoder = Encoder(settings)
    lines = store.layout.identity.difference(encoder.identity)
    if lines:
        raise IdentityMismatch(
            f"the features in {store.url} were made with other settings: {'; '.join(lines[:5])}; "
            "set these back"
        )
    records = store.records()
    stored = [v for v in dataset if v.id in records and records[v.id].status == "ok"]
    if not stored:
        raise StoreError(f"{store.url} has no features of this dataset: extract them first")
    places = np.linspace(0, len(stored) - 1, min(count, len(stored))).round().astype(int)
    chosen = [stored[place] for place in places]
    with DecodePool(encoder.sampling, settings.decode) as pool:
        outcomes = pool.decode_all([video.path for video in chosen])
        for video, outcome in zip(chosen, outcomes, strict=True):
            if isinstance(outcome, VideoError):
                yield Deviation(video.id, problem=str(outcome))
            elif outcome.sha256 != _sha256(records[video.id]):
                yield Deviation(video.id, problem="the file is not the one that was extracted")
            else:
                made, kept = encoder.encode(outcome), store.read(video.id)
                spatial, motion = map(_deviation, (made.spatial, made.motion), kept)
                far = max(spatial, motion) > LIMIT
                problem = "features made again are not those that are stored" if far else None
                yield Deviation(video.id, spatial, motion, problem)


def _sha256(record: RowRecord) -> str:
    assert record.source is not None  # the record of features
    return record.source.sha256


def _deviation(made: np.ndarray, kept: np.ndarray) -> float:
    kept = kept.astype(np.float32)
    return float(np.abs(made - kept).max() / max(float(np.abs(kept).max()), 1e-30))
