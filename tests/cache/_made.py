"""Made-up features: the same video always gets the same values."""

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from finevq.cache.records import Failure, Features, Source
from finevq.cache.store import FeatureStore

SHAPES = {"spatial": (2, 3, 8), "motion": (2, 5)}
CONTENT = {
    "spatial": {"weights": "3fa2c1" + "0" * 58, "frames": 2},
    "motion": {"weights": "77aa00" + "0" * 58},
}


def videos(number: int, first: int = 0) -> list[str]:
    return [f"demo/{index}.mp4" for index in range(first, first + number)]


def features(video: str, scale: float = 1.0) -> Features:
    rng = np.random.default_rng(zlib.crc32(video.encode()))
    spatial, motion = (
        (scale * rng.normal(size=shape)).astype(np.float32) for shape in SHAPES.values()
    )
    digest = hashlib.sha256(video.encode()).hexdigest()
    return Features(spatial, motion, Source(digest, 240, 29.97, 8.0, "pyav"))


def results(names: Iterable[str], failed: Iterable[str] = ()) -> dict[str, Features | Failure]:
    failures = set(failed)
    return {name: Failure("no frames") if name in failures else features(name) for name in names}


def fill(store: FeatureStore, names: list[str], failed: Iterable[str] = ()) -> None:
    store.plan(names)
    for shard in store.pending():
        store.write_shard(shard, results(store.shard_rows(shard).values(), failed))


def files(store: FeatureStore) -> dict[str, bytes]:
    """Name -> bytes of every file of a local store."""
    root = Path(store.url)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
