"""The same store behind an fsspec URL."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from finevq.cache.care.verify import verify
from finevq.cache.plan import Plan
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError, StoreUnavailable

from .. import _made
from ..conftest import MakeStore

URL = "memory://finevq-test/features"


@pytest.fixture
def remote_store(make_store: MakeStore) -> Iterator[FeatureStore]:
    yield make_store(URL)
    fsspec.filesystem("memory").rm("/finevq-test", recursive=True)


def test_round_trip(remote_store: FeatureStore) -> None:
    _made.fill(remote_store, _made.videos(6), failed=["demo/2.mp4"])
    store = FeatureStore.open(URL)
    assert store.url == URL
    expected = _made.features("demo/5.mp4")
    np.testing.assert_array_equal(store.read("demo/5.mp4")[0], expected.spatial.astype(np.float16))
    assert store.pending() == []
    assert list(store.records()) == _made.videos(6)
    assert store.info()["bytes"] > 0
    assert list(verify(store)) == []


def test_files_are_those_of_a_local_store(
    remote_store: FeatureStore, full_store: FeatureStore
) -> None:
    _made.fill(remote_store, _made.videos(7), failed=["demo/2.mp4"])
    memory = fsspec.filesystem("memory")
    root = "/finevq-test/features/"
    found = {name.removeprefix(root): memory.cat_file(name) for name in memory.find(root)}
    assert found == _made.files(full_store)


def test_store_can_be_extended_and_redone(remote_store: FeatureStore) -> None:
    _made.fill(remote_store, _made.videos(2), failed=["demo/1.mp4"])
    _made.fill(remote_store, _made.videos(5))
    remote_store.write_shard(0, _made.results(_made.videos(2)))
    assert remote_store.failures() == {}
    assert list(verify(FeatureStore.open(URL))) == []


def test_deleted_shard_is_found(remote_store: FeatureStore) -> None:
    _made.fill(remote_store, _made.videos(2))
    fsspec.filesystem("memory").rm("/finevq-test/features/tokens.zarr/motion/c/0/0/0")
    (problem,) = verify(remote_store)
    assert str(problem) == "shard 0: tokens.zarr/motion/c/0/0/0 missing: extract it again"
    with pytest.raises(StoreError, match=r"shard 0, row 1 \(demo/1\.mp4\).* missing"):
        FeatureStore.open(URL).read("demo/1.mp4")


SPATIAL = "/finevq-test/features/tokens.zarr/spatial/c/0/0/0/0"


@pytest.mark.parametrize("left", [0, 10, 70], ids=["nothing", "no index", "no values"])
def test_a_truncated_shard_is_damage_also_where_it_is_staged(
    remote_store: FeatureStore, tmp_path: Path, left: int
) -> None:
    _made.fill(remote_store, _made.videos(2))
    memory = fsspec.filesystem("memory")
    memory.pipe_file(SPATIAL, memory.cat_file(SPATIAL)[-left:] if left else b"")
    with pytest.raises(StoreError, match=r"demo/1\.mp4.*cannot be read.*cache repair"):
        FeatureStore.open(URL, str(tmp_path / "stage")).read("demo/1.mp4")


def test_a_stage_that_cannot_be_written_is_named(
    remote_store: FeatureStore, tmp_path: Path
) -> None:
    _made.fill(remote_store, _made.videos(2))
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"file/stage cannot be written: .*cache\.stage"):
        FeatureStore.open(URL, str(tmp_path / "file/stage")).read("demo/1.mp4")


def test_two_planners_behind_a_url_both_get_their_rows(
    remote_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, extended, read = FeatureStore.open(URL), Plan.extended, []

    def extended_late(self: Plan, videos: list[str]) -> Plan:
        plan = extended(self, videos)
        if not read:
            read.append(plan)
            other.plan(["theirs"])
        return plan

    monkeypatch.setattr(Plan, "extended", extended_late)
    assert remote_store.plan(["ours"]) == 1
    assert FeatureStore.open(URL).shard_rows(0) == {0: "theirs"}
    assert FeatureStore.open(URL).shard_rows(1) == {4: "ours"}


def test_there_is_no_store_before_it_is_made() -> None:
    assert not FeatureStore.exists("memory://finevq-test/nothing")
    with pytest.raises(StoreError, match="no feature store at memory://finevq-test/nothing"):
        FeatureStore.open("memory://finevq-test/nothing")
