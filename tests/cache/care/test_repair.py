"""Shards that are withdrawn are pending again, and only they; what a full disk leaves."""

import errno
import os
import sys
from pathlib import Path

import pytest

from finevq.cache.care.verify import repair, verify
from finevq.cache.files.space import DiskFull, Space
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError, StoreUnavailable

from .. import _made
from ..conftest import MakeStore

SPATIAL = "tokens.zarr/spatial/c/{}/0/0/0"


def flip(store: FeatureStore, shard: int) -> None:
    path = Path(store.url, SPATIAL.format(shard))
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def test_repair_withdraws_the_damaged_shard_alone(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    flip(full_store, 1)
    assert repair(full_store, 0) == []
    (problem,) = repair(full_store, 1)
    assert "do not match their checksum" in problem.what
    assert full_store.pending() == [1]
    _made.fill(full_store, _made.videos(7))
    assert _made.files(full_store) == before


def test_a_withdrawn_shard_is_not_read_from_memory(full_store: FeatureStore) -> None:
    full_store.read("demo/4.mp4")
    full_store.withdraw(1)
    with pytest.raises(StoreError, match=r"shard 1 of .* is not extracted yet"):
        full_store.read("demo/4.mp4")


def test_failed_videos_are_redone_and_the_others_kept_as_they_are(make_store: MakeStore) -> None:
    store, whole = make_store("patched"), make_store("whole")
    _made.fill(store, _made.videos(7), failed=["demo/1.mp4", "demo/2.mp4"])
    _made.fill(whole, _made.videos(7), failed=["demo/2.mp4"])
    store.write_shard(0, {"demo/1.mp4": _made.features("demo/1.mp4")})
    assert _made.files(store) == _made.files(whole)
    assert store.failures() == {"demo/2.mp4": "no frames"}


def test_what_is_to_be_kept_must_be_whole(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    file = Path(full_store.url, "tokens.zarr/spatial/c/0/0/0/0")
    file.write_bytes(file.read_bytes()[::-1])
    damaged = _made.files(full_store)
    with pytest.raises(StoreError, match="finevq cache repair"):
        full_store.write_shard(0, {"demo/1.mp4": _made.features("demo/1.mp4")})
    assert _made.files(full_store) == damaged != before


def test_pending_shards_of_a_range(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(_made.videos(20))
    store.write_shard(2, _made.results(store.shard_rows(2).values()))
    assert store.pending(range(1, 4)) == [1, 3]
    assert store.pending(range(3, 100)) == [3, 4]


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_the_plan_says_to_the_byte_what_sound_videos_take(
    make_store: MakeStore, dtype: str
) -> None:
    store = make_store(dtype=dtype)
    store.plan(_made.videos(8))
    needed = store.space().needed
    _made.fill(store, _made.videos(8))
    files = {name: data for name, data in _made.files(store).items() if "/c/" in name}
    indexes = 4 * len(files)  # each ends with the checksum of its index
    assert needed == sum(map(len, files.values())) - indexes
    assert store.space().needed == 0


def test_space_is_readable() -> None:
    assert str(Space(13_800_000_000, 2_000_000_000)) == "13.80 GB, 2.00 GB are free"
    assert not Space(2, 1).enough
    assert Space(2, None).enough


@pytest.mark.parametrize("full_at", [0, 1, 2], ids=["spatial", "motion", "commit"])
def test_a_full_disk_leaves_nothing_of_the_shard(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    store = make_store()
    store.plan(_made.videos(7))
    store.write_shard(0, _made.results(store.shard_rows(0).values()))
    before = _made.files(store)
    calls, fsync = [], os.fsync

    def full(descriptor: int) -> None:
        # A file and its folder are synced in turn.
        calls.append(descriptor)
        if len(calls) > 2 * full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DiskFull) as caught:
            store.write_shard(1, _made.results(store.shard_rows(1).values()))
    assert str(caught.value).startswith(
        f"disk full at {store.url}: 1 shards are left, they need 0.00 GB, "
    )
    assert _made.files(store) == before
    _made.fill(store, _made.videos(7))
    assert list(verify(store)) == []


def test_another_error_of_the_file_system_is_not_a_full_disk(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    store.plan(["demo/0.mp4"])

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(StoreUnavailable, match=r"store cannot be written: broken; correct cache"):
        store.write_shard(0, _made.results(["demo/0.mp4"]))


@pytest.mark.skipif(sys.platform != "linux", reason="a folder in which no one can make another")
def test_a_place_that_cannot_be_written_is_one_line(make_store: MakeStore) -> None:
    with pytest.raises(StoreUnavailable, match=r"/proc/finevq cannot be written: .*correct cache"):
        make_store("/proc/finevq")


def test_a_file_in_place_of_the_store_is_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(StoreUnavailable, match=r"store cannot be read: Not a directory; correct"):
        make_store()
