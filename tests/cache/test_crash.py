"""What a killed, restarted or concurrent job leaves behind."""

import errno
import multiprocessing
import os
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from finevq.cache.care.verify import verify
from finevq.cache.files.folder import Folder
from finevq.cache.files.space import DiskFull
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError

from . import _made
from .conftest import MakeStore


def _die_after(writes: int, patch: pytest.MonkeyPatch) -> None:
    """Let a number of files be put in place, then stop as a kill would."""
    replace, done = Path.replace, []

    def dying_replace(self: Path, target: Path) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(target)
        replace(self, target)

    patch.setattr(Path, "replace", dying_replace)


@pytest.mark.parametrize("writes", [0, 1, 2], ids=["spatial", "motion", "commit"])
def test_shard_killed_before_its_commit_is_pending_and_redone(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    sound, store = make_store("sound"), make_store("killed")
    _made.fill(sound, _made.videos(7))
    store.plan(_made.videos(7))
    with monkeypatch.context() as patch:
        _die_after(writes, patch)
        with pytest.raises(KeyboardInterrupt):
            store.write_shard(0, _made.results(store.shard_rows(0).values()))
    store = FeatureStore.open(store.url)
    assert store.pending() == [0, 1]
    assert store.records() == {}
    with pytest.raises(StoreError, match="not extracted yet"):
        store.read("demo/0.mp4")
    assert list(verify(store)) == []
    _made.fill(store, _made.videos(7))
    assert _made.files(store) == _made.files(sound)


@pytest.mark.parametrize("writes", [0, 1, 2], ids=["spatial", "motion", "commit"])
def test_replaced_shard_killed_halfway_is_pending(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    # The old commit must not vouch for the new values.
    with monkeypatch.context() as patch:
        _die_after(writes, patch)
        with pytest.raises(KeyboardInterrupt):
            full_store.write_shard(0, _made.results(full_store.shard_rows(0).values()))
    store = FeatureStore.open(full_store.url)
    assert store.pending() == [0]
    assert list(verify(store)) == []


def test_replaced_shard_is_left_as_it_was_if_killed_or_full_before_all_is_written(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _made.files(full_store)
    for error, raised in ((KeyboardInterrupt(), KeyboardInterrupt), (_full(), DiskFull)):
        synced: list[int] = []

        def stop_at_the_second_file(descriptor: int, error=error, synced=synced) -> None:
            synced.append(descriptor)
            if len(synced) == 2:
                raise error

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", stop_at_the_second_file)
            with pytest.raises(raised):
                full_store.write_shard(0, _made.results(full_store.shard_rows(0).values()))
        assert _made.files(full_store) == before


def _full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_at_the_commit_leaves_a_pending_shard_without_files(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Folder.write

    def no_room_for_commits(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if name.startswith("commits/"):
            raise _full()
        write(self, name, *parts)

    monkeypatch.setattr(Folder, "write", no_room_for_commits)
    with pytest.raises(DiskFull, match="disk full at"):
        full_store.write_shard(0, _made.results(full_store.shard_rows(0).values()))
    assert full_store.pending() == [0]
    assert len(full_store.missing_files(0)) == 2


@pytest.mark.parametrize("moments", [1, 2], ids=["once", "for ever"])
def test_two_jobs_at_one_shard_with_other_results_leave_one_of_them_whole(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch, moments: int
) -> None:
    """The other writes all of it between our arrays and our commit."""
    write, other = Folder.write, FeatureStore.open(full_store.url)
    names = full_store.shard_rows(0).values()
    ours = _made.results(names)
    theirs = {name: _made.features(name, scale=2.0) for name in names}
    between: list[int] = []

    def slow_commit(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if self is full_store._folder and name.startswith("commits/"):
            between.append(1)
            if len(between) <= (1 if moments == 1 else 9):
                other.write_shard(0, theirs)
        write(self, name, *parts)

    monkeypatch.setattr(Folder, "write", slow_commit)
    if moments == 1:
        full_store.write_shard(0, ours)
        found = full_store.read("demo/0.mp4")[0]
        np.testing.assert_array_equal(found, ours["demo/0.mp4"].spatial.astype("float16"))
    else:
        with pytest.raises(StoreError, match=r"another job writes it .*\(--shards\)") as caught:
            full_store.write_shard(0, ours)
        assert "\n" not in str(caught.value)
        assert full_store.pending() == [0]
    assert list(verify(FeatureStore.open(full_store.url))) == []


def test_two_jobs_at_one_shard_with_equal_results_both_succeed(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, other = Folder.write, FeatureStore.open(full_store.url)
    results = _made.results(full_store.shard_rows(0).values())

    def slow_commit(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if self is full_store._folder and name.startswith("commits/"):
            other.write_shard(0, results)
        write(self, name, *parts)

    monkeypatch.setattr(Folder, "write", slow_commit)
    full_store.write_shard(0, results)
    assert full_store.pending() == []
    assert list(verify(full_store)) == []


def test_files_that_another_job_puts_in_place_at_once_are_not_vouched_for(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writes all of it right behind the last of our files."""
    replace, other = Path.replace, FeatureStore.open(full_store.url)
    names = full_store.shard_rows(0).values()
    theirs = {name: _made.features(name, scale=2.0) for name in names}
    put: list[Path] = []

    def replace_and_be_late(self: Path, target: Path) -> None:
        replace(self, target)
        put.append(target)
        if len(put) == 2:
            other.write_shard(0, theirs)

    monkeypatch.setattr(Path, "replace", replace_and_be_late)
    full_store.write_shard(0, _made.results(names))
    store = FeatureStore.open(full_store.url)
    assert list(verify(store)) == []
    assert store.pending() == []


def test_a_commit_that_another_job_withdraws_meanwhile_is_no_error(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, other, withdrawn = Folder.read, FeatureStore.open(full_store.url), []

    def read_late(self: Folder, name: str) -> bytes:
        if name == "commits/000000.json" and not withdrawn:
            withdrawn.append(name)
            other.withdraw(0)
        return read(self, name)

    monkeypatch.setattr(Folder, "read", read_late)
    full_store.write_shard(0, _made.results(full_store.shard_rows(0).values()))
    assert withdrawn
    assert FeatureStore.open(full_store.url).pending() == []


def test_a_commit_that_is_withdrawn_after_it_was_listed_is_left_out(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_many, other = Folder.read_many, FeatureStore.open(full_store.url)

    def read_late(self: Folder, names: list[str]) -> list[bytes]:
        other.withdraw(0)
        return read_many(self, names)

    monkeypatch.setattr(Folder, "read_many", read_late)
    assert list(full_store.records()) == _made.videos(3, first=4)


def _write_again_and_again(store: FeatureStore, scale: float, barrier: Barrier) -> None:
    """Write a shard many times, with results that are this process's own."""
    results = {name: _made.features(name, scale=scale) for name in store.shard_rows(0).values()}
    barrier.wait(60)
    for _ in range(60):
        # That the other writes at the same time, again and again, is an error that says so.
        with suppress(StoreError):
            store.write_shard(0, results)


def test_two_processes_at_one_shard_leave_one_of_them_whole(make_store: MakeStore) -> None:
    spawn = multiprocessing.get_context("spawn")
    store, barrier = make_store(), spawn.Barrier(2)
    store.plan(_made.videos(4))
    writers = [
        spawn.Process(target=_write_again_and_again, args=(store, scale, barrier))
        for scale in (1.0, 2.0)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(verify(store)) == []


def test_leftover_partial_files_are_harmless(full_store: FeatureStore) -> None:
    records = full_store.records()
    names = ("commits/000002.json", "commits/000000.json", "videos.parquet", "store.json")
    for name in (*names, "tokens.zarr/spatial/c/0/0/0/0"):
        Path(full_store.url, f"{name}.0123abcd.partial").write_bytes(b"half")
    store = FeatureStore.open(full_store.url)
    store.plan(_made.videos(9))
    assert store.pending() == [2]
    assert store.records() == records
    assert list(verify(store)) == []


def test_failed_write_leaves_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a.json", b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _disk_full)
        with pytest.raises(OSError, match="No space left"):
            folder.write("a.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert folder.read("a.json") == b"old"


def _disk_full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_two_processes_write_disjoint_shards(make_store: MakeStore) -> None:
    alone, store = make_store("alone"), make_store("together")
    _made.fill(alone, _made.videos(8))
    store.plan(_made.videos(8))
    spawn = multiprocessing.get_context("spawn")
    jobs = [(shard, _made.results(store.shard_rows(shard).values())) for shard in store.shards]
    writers = [spawn.Process(target=store.write_shard, args=job) for job in jobs]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert store.pending() == []
    assert _made.files(store) == _made.files(alone)
    np.testing.assert_array_equal(store.read("demo/7.mp4")[0], alone.read("demo/7.mp4")[0])
