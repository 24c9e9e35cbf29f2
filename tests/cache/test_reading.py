"""A video's features come back, or the reason why there are none."""

import numpy as np
import pytest

from finevq.cache.store import FeatureStore
from finevq.errors import StoreError

from . import _made


def test_features_come_back_in_the_store_dtype(full_store: FeatureStore) -> None:
    for video in ("demo/0.mp4", "demo/6.mp4"):
        given = _made.features(video)
        spatial, motion = full_store.read(video)
        assert spatial.dtype == motion.dtype == np.float16
        np.testing.assert_array_equal(spatial, given.spatial.astype(np.float16))
        np.testing.assert_array_equal(motion, given.motion.astype(np.float16))


def test_read_says_why_there_are_no_features(full_store: FeatureStore) -> None:
    full_store.plan(["demo/late.mp4"])
    with pytest.raises(StoreError, match=r"^demo/2\.mp4 has no features: no frames$"):
        full_store.read("demo/2.mp4")
    with pytest.raises(StoreError, match=r"shard 2 of .* is not extracted yet"):
        full_store.read("demo/late.mp4")
    with pytest.raises(StoreError, match=r"demo/9\.mp4 is not in the feature store"):
        full_store.read("demo/9.mp4")


def test_a_failed_video_can_be_replaced(full_store: FeatureStore) -> None:
    full_store.write_shard(0, _made.results(full_store.shard_rows(0).values()))
    assert full_store.failures() == {}
    assert full_store.read("demo/2.mp4")[0].shape == (2, 3, 8)
