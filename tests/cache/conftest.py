"""Small stores in tmp_path, made of the features of `_made`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finevq.cache.identity import Identity
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore

from . import _made

MakeStore = Callable[..., FeatureStore]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Open or make a store; keywords replace what it is asked to be made with."""

    def make(
        name: str = "store",
        *,
        dtype: Any = "float16",
        rows_per_shard: int = 4,
        content: dict[str, Any] = _made.CONTENT,
        **shapes: tuple[int, ...],
    ) -> FeatureStore:
        url = name if "://" in name else str(tmp_path / name)
        settings = CacheSettings(path=url, stage="", rows_per_shard=rows_per_shard, dtype=dtype)
        return FeatureStore.open_or_create(url, Identity(content), _made.SHAPES | shapes, settings)

    return make


@pytest.fixture
def full_store(make_store: MakeStore) -> FeatureStore:
    """Two shards of four rows: seven videos, of which demo/2.mp4 failed; row 7 has none."""
    store = make_store()
    _made.fill(store, _made.videos(7), failed=["demo/2.mp4"])
    return store
