"""Whole shards are written, and the same results give the same bytes."""

import pytest

from finevq.cache.records import Failure
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError

from . import _made
from .conftest import MakeStore


def test_results_must_be_those_of_the_shard(
    make_store: MakeStore, full_store: FeatureStore
) -> None:
    with pytest.raises(StoreError, match=r"for shard 1: demo/0\.mp4, demo/4\.mp4"):
        full_store.write_shard(1, _made.results(["demo/0.mp4", "demo/6.mp4"]))
    full_store.withdraw(1)
    rest = _made.results(["demo/4.mp4", "demo/5.mp4"])
    with pytest.raises(StoreError, match=r"3 videos planned for shard 1: demo/6\.mp4 missing"):
        full_store.write_shard(1, rest)
    with pytest.raises(StoreError, match=r"demo/0\.mp4, demo/6\.mp4 missing or not among them"):
        full_store.write_shard(1, rest | _made.results(["demo/0.mp4"]))


def test_features_of_another_shape_are_refused(make_store: MakeStore) -> None:
    store = make_store(motion=(3, 5))
    store.plan(["demo/0.mp4"])
    with pytest.raises(StoreError, match=r"demo/0\.mp4: motion features have shape \(2, 5\)"):
        store.write_shard(0, _made.results(["demo/0.mp4"]))
    assert store.pending() == [0]


def test_the_records_that_were_committed_are_returned(full_store: FeatureStore) -> None:
    full_store.withdraw(0)
    names = full_store.shard_rows(0).values()
    records = full_store.write_shard(0, _made.results(names, failed=["demo/3.mp4"]))
    assert records == full_store.shard_records(0)
    assert records[3].reason == "no frames"


def test_failure_results_are_kept_word_for_word(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["demo/ä.mp4"])
    store.write_shard(0, {"demo/ä.mp4": Failure('moov "atom" not found\nné')})
    assert store.failures() == {"demo/ä.mp4": 'moov "atom" not found\nné'}


def test_writing_again_gives_the_same_bytes(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    again = _made.results(full_store.shard_rows(0).values(), failed=["demo/2.mp4"])
    FeatureStore.open(full_store.url).write_shard(0, again)
    assert _made.files(full_store) == before


def test_order_of_shards_and_results_does_not_matter(make_store: MakeStore) -> None:
    one, two = make_store("one"), make_store("two")
    _made.fill(one, _made.videos(7))
    two.plan(_made.videos(7))
    for shard in reversed(two.shards):
        two.write_shard(shard, _made.results(reversed(two.shard_rows(shard).values())))
    assert _made.files(one) == _made.files(two)
