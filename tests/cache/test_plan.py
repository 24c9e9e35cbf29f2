"""Every video gets a row, once."""

import pytest
import zarr

from finevq.cache.care.verify import verify
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError

from . import _made
from .conftest import MakeStore


def test_plan_fills_shards_in_order(make_store: MakeStore) -> None:
    store = make_store()
    assert store.plan(_made.videos(6)) == 6
    assert store.shards == range(2)
    assert store.shard_rows(1) == {4: "demo/4.mp4", 5: "demo/5.mp4"}
    assert store.pending() == [0, 1]


def test_plan_of_nothing(make_store: MakeStore) -> None:
    store = make_store()
    assert store.plan([]) == 0
    assert (list(store.shards), store.pending(), store.records()) == ([], [], {})
    assert list(verify(store)) == []


def test_plan_extends_with_fresh_shards_only(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    store = FeatureStore.open(full_store.url)
    store.read("demo/0.mp4")  # the arrays are open, with eight rows
    assert store.plan(["demo/new.mp4", *_made.videos(7)]) == 1
    assert store.shard_rows(2) == {8: "demo/new.mp4"}  # not row 7, which is free
    assert store.pending() == [2]
    _made.fill(store, ["demo/new.mp4"])
    after = _made.files(store)
    changed = {name for name, data in before.items() if after[name] != data}
    metadata = {f"tokens.zarr/{name}/zarr.json" for name in ("spatial", "motion")}
    assert changed == {"videos.parquet"} | metadata
    assert store.read("demo/new.mp4")[1].shape == (2, 5)


def test_plan_of_known_videos_changes_nothing(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    assert full_store.plan(_made.videos(7)) == 0
    assert _made.files(full_store) == before


def test_plan_sees_what_another_process_planned(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    assert list(two.shards) == []
    assert one.plan(["a"]) == 1
    assert two.plan(["a", "b"]) == 1
    assert two.shard_rows(0) == {0: "a"}


def test_plan_refuses_a_video_named_twice(make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match=r"more than once: b$"):
        make_store().plan(["a", "b", "b"])


def test_interrupted_plan_is_taken_up(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    with monkeypatch.context() as patch:
        patch.setattr("finevq.cache.files.folder.Folder.write", _die)
        with pytest.raises(KeyboardInterrupt):
            store.plan(_made.videos(9))
    store = FeatureStore.open(store.url)
    assert list(store.shards) == []
    _made.fill(store, _made.videos(5))
    assert list(verify(store)) == []
    # All twelve rows stay: to shrink is to delete what a second planner may have filled.
    assert zarr.open_array(f"{store.url}/tokens.zarr/motion", mode="r").shape == (12, 2, 5)


def test_unplanned_shard_is_refused(full_store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="shard 2 is not planned"):
        full_store.write_shard(2, {})


def _die(*_: object) -> None:
    raise KeyboardInterrupt
