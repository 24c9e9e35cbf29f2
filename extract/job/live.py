"""Extracting a sample of a store's videos again, to check that the same features come out."""

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

ROUNDING = {"float32": 0.005, "float16": 0.01, "bfloat16": 0.05}
"""Deviation that another device or kernel may cause, by the precision of the backbones: of float32
with TF32, or of sums in another order. Features of another frame deviate by a multiple."""

STORED_ROUNDING = {"float32": 0.0, "float16": 0.001, "int8": 0.03}
"""Deviation that comes from rounding to the dtype of the store."""


@dataclass(frozen=True)
class Deviation:
    """How far the features of a video, extracted again, lie from those that are stored.

    Attributes:
        video: its id.
        spatial: norm (L2) of the difference, divided by the norm of the stored values; rounding to
            the stored dtype counts too.
        motion: the same for the motion features.
        problem: why the features could not be compared, or that they differ; None if they agree.
    """

    video: str
    spatial: float = 0.0
    motion: float = 0.0
    problem: str | None = None


def verify_live(
    store: FeatureStore, dataset: Dataset, settings: ExtractSettings, count: int
) -> Iterator[Deviation]:
    """Extract some of a dataset's stored videos again, spread evenly over it, and compare.

    Args:
        store: the features.
        dataset: where the videos are.
        settings: those that the store was made with; the device may be another.
        count: how many videos; all if there are fewer.

    Yields:
        The deviation of each video.

    Raises:
        IdentityMismatch: the store was made with other settings or weights.
        StoreError: the store has no features of this dataset.
    """
    encoder = Encoder(settings)
    lines = store.layout.identity.difference(encoder.identity)
    if lines:
        raise IdentityMismatch(
            f"the features in {store.url} were made with other settings or weights: "
            f"{'; '.join(lines[:5])}; give those that they were made with"
        )
    records = store.records()
    stored = [v for v in dataset if v.id in records and records[v.id].status == "ok"]
    if not stored:
        raise StoreError(f"{store.url} has no features of this dataset: extract them first")
    indices = np.linspace(0, len(stored) - 1, min(count, len(stored))).round().astype(int)
    sample = [stored[index] for index in indices]
    limit = ROUNDING[settings.precision] + STORED_ROUNDING[store.layout.dtype]
    with DecodePool(encoder.sampling, settings.decode) as pool:
        outcomes = pool.decode_all([video.path for video in sample])
        for video, outcome in zip(sample, outcomes, strict=True):
            if isinstance(outcome, VideoError):
                yield Deviation(video.id, problem=str(outcome))
            elif outcome.sha256 != _sha256(records[video.id]):
                yield Deviation(video.id, problem="the file is not the one that was extracted")
            else:
                again = encoder.encode(outcome)
                spatial, motion = map(
                    _deviation, (again.spatial, again.motion), store.read(video.id)
                )
                differs = max(spatial, motion) > limit
                problem = "features made again are not those that are stored" if differs else None
                yield Deviation(video.id, spatial, motion, problem)


def _sha256(record: RowRecord) -> str:
    assert record.source is not None  # every record with features has one
    return record.source.sha256


def _deviation(again: np.ndarray, stored: np.ndarray) -> float:
    # In double precision: the square of a large feature is no float16.
    stored = stored.astype(np.float64)
    return float(np.linalg.norm(again - stored) / max(float(np.linalg.norm(stored)), 1e-30))
