"""What earlier versions wrote is read, checked and continued by today's code.

The files below `data/` were written by the code of commit 1c936f8 and are never written again; the
scripts `data/make_*.py` say how they were made. Where a test here fails, the fault is in the code
that reads, not in the data: users have terabytes of the same.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from finevq.cache.arrays.quantise import dequantise, quantise
from finevq.cache.care.verify import verify
from finevq.cache.identity import Identity
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore

from .data import make_store_v1 as made

DATA = Path(__file__).parent / "data"


@pytest.fixture(params=made.DTYPES)
def store_copy(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    """A copy of the store of each dtype, as even reading must not touch the original."""
    copy = tmp_path / "store"
    shutil.copytree(DATA / "store_v1" / request.param, copy)
    return FeatureStore.open(str(copy))


def check_values(store: FeatureStore, video: str) -> None:
    """Compare what the store gives for a video with what was written."""
    written = made.features(video)
    spatial, motion = store.read(video)
    dtype = np.float32 if store.layout.dtype == "float32" else np.float16
    assert spatial.dtype == motion.dtype == dtype
    np.testing.assert_array_equal(motion, written.motion)  # exact in every dtype
    if store.layout.dtype == "int8":
        np.testing.assert_array_equal(spatial, dequantise(*quantise(written.spatial)))
        steps = np.abs(written.spatial).max(axis=-1, keepdims=True) / 127
        assert (np.abs(spatial - written.spatial) <= 0.51 * steps + 0.001).all()
    else:
        np.testing.assert_array_equal(spatial, written.spatial)


def test_an_old_store_gives_the_values_that_were_written(store_copy: FeatureStore) -> None:
    ok = [video for video in made.VIDEOS if video not in made.FAILURES]
    assert len(ok) == 8
    for video in ok:
        check_values(store_copy, video)


def test_an_old_store_tells_what_it_holds(store_copy: FeatureStore) -> None:
    info = store_copy.info()
    numbers = ("shards", "committed", "planned", "ok", "failed", "pending")
    assert [info[key] for key in numbers] == [3, 3, 10, 8, 2, 0]
    assert info["shapes"] == made.SHAPES
    assert info["rows_per_shard"] == made.ROWS_PER_SHARD
    assert info["digest"] == "36cdf21e441b8159859667a72f7d2647ffec860e0cea491b1a867d278b709c07"
    assert store_copy.failures() == made.FAILURES
    records = store_copy.records()
    assert list(records) == made.VIDEOS
    for video, record in records.items():
        expected = None if video == made.UNDECODABLE else made.source(video)
        assert record.source == expected


def test_an_old_store_is_whole(store_copy: FeatureStore) -> None:
    assert list(verify(store_copy)) == []


def test_an_old_store_is_extended(store_copy: FeatureStore) -> None:
    settings = CacheSettings(
        path=store_copy.url,
        stage="",
        rows_per_shard=made.ROWS_PER_SHARD,
        dtype=store_copy.layout.dtype,
    )
    # As an extraction opens it: the identity asked for must be the one that was stored.
    store = FeatureStore.open_or_create(
        store_copy.url, Identity(made.IDENTITY), made.SHAPES, settings
    )
    more = [f"demo/{number}.mp4" for number in range(10, 15)]
    assert store.plan([*made.VIDEOS, *more]) == 5
    assert store.pending() == [3, 4]
    for shard in store.pending():
        videos = store.shard_rows(shard).values()
        store.write_shard(shard, {video: made.result(video) for video in videos})

    extended = FeatureStore.open(store.url)
    assert list(verify(extended)) == []
    assert extended.failures() == made.FAILURES
    for video in [*made.VIDEOS, *more]:
        if video not in made.FAILURES:
            check_values(extended, video)


def test_a_shard_of_an_old_store_is_written_again(store_copy: FeatureStore) -> None:
    """Redoing a failed video keeps the other rows of its shard, and a whole shard its bytes."""
    shard_files = sorted(Path(store_copy.url, "tokens.zarr").glob("*/c/1/**/*"))
    before = [path.read_bytes() for path in shard_files if path.is_file()]
    assert len(before) == len(store_copy.layout.arrays)
    videos = store_copy.shard_rows(1).values()
    store_copy.write_shard(1, {video: made.result(video) for video in videos})
    assert [path.read_bytes() for path in shard_files if path.is_file()] == before

    mended = made.features("demo/3.mp4")
    store_copy.write_shard(0, {made.UNDECODABLE: mended})
    store = FeatureStore.open(store_copy.url)
    assert list(verify(store)) == []
    np.testing.assert_array_equal(store.read(made.UNDECODABLE)[1], mended.motion)
    for video in ("demo/0.mp4", "demo/1.mp4", "demo/3.mp4"):
        check_values(store, video)
