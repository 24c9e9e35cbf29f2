"""Every video gets a row, once."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import zarr

from finevq.cache.care.verify import verify
from finevq.cache.files.folder import Folder
from finevq.cache.identity import Identity
from finevq.cache.plan import Plan
from finevq.cache.settings import CacheSettings
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
        patch.setattr("finevq.cache.files.folder.Folder.create", _die)
        with pytest.raises(KeyboardInterrupt):
            store.plan(_made.videos(9))
    store = FeatureStore.open(store.url)
    assert list(store.shards) == []
    _made.fill(store, _made.videos(5))
    assert list(verify(store)) == []
    # All twelve rows stay: to shrink is to delete what a second planner may have filled.
    assert zarr.open_array(f"{store.url}/tokens.zarr/motion", mode="r").shape == (12, 2, 5)


def test_two_planners_that_read_the_same_plan_both_get_their_rows(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make_store(), make_store()
    extended, read = Plan.extended, []

    def extended_late(self: Plan, videos: list[str]) -> Plan:
        plan = extended(self, videos)
        if not read:
            read.append(plan)
            assert two.plan(["c", "d", "both"]) == 3
        return plan

    monkeypatch.setattr(Plan, "extended", extended_late)
    assert one.plan(["a", "b", "both"]) == 2
    assert one.shard_rows(0) == two.shard_rows(0) == {0: "c", 1: "d", 2: "both"}
    assert FeatureStore.open(one.url).shard_rows(1) == {4: "a", 5: "b"}


def test_a_planner_that_dies_before_it_has_replaced_the_plan_has_planned(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    _made.fill(store, _made.videos(4))
    write = Folder.write

    def dying_write(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if name == "videos.parquet":
            raise KeyboardInterrupt
        write(self, name, *parts)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", dying_write)
        with pytest.raises(KeyboardInterrupt):
            store.plan(_made.videos(6))
    store = FeatureStore.open(store.url)
    assert store.shard_rows(1) == {4: "demo/4.mp4", 5: "demo/5.mp4"}
    assert store.plan(_made.videos(9)) == 3
    assert store.shards == range(3)


def test_a_planner_that_replaces_the_plan_late_takes_no_rows_away(full_store: FeatureStore) -> None:
    """As one does that is stopped between its segment and videos.parquet."""
    path = Path(full_store.url, "videos.parquet")
    earlier = path.read_bytes()
    full_store.plan(_made.videos(9))
    path.write_bytes(earlier)
    store = FeatureStore.open(full_store.url)
    assert store.pending() == [2]
    assert store.plan(_made.videos(9)) == 0
    assert store.plan(_made.videos(10)) == 1
    assert store.shard_rows(3) == {12: "demo/9.mp4"}


def test_a_shard_that_is_planned_and_committed_meanwhile_is_no_damage(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, extended, read = FeatureStore.open(full_store.url), Plan.extended, []

    def extended_late(self: Plan, videos: list[str]) -> Plan:
        plan = extended(self, videos)
        if not read:
            read.append(plan)
            _made.fill(other, _made.videos(8))
        return plan

    monkeypatch.setattr(Plan, "extended", extended_late)
    assert full_store.plan(_made.videos(9)) == 1
    assert full_store.shard_rows(3) == {12: "demo/8.mp4"}


def test_arrays_stay_as_long_as_a_plan_that_is_made_while_the_store_is(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, waited = Folder.write, []

    def late_write(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if name == "tokens.zarr/motion/zarr.json" and not waited:
            waited.append(name)
            make_store().plan(_made.videos(8))
        write(self, name, *parts)

    monkeypatch.setattr(Folder, "write", late_write)
    store = make_store()
    assert waited
    assert zarr.open_array(f"{store.url}/tokens.zarr/motion", mode="r").shape == (8, 2, 5)


def test_arrays_stay_as_long_as_the_longest_plan_of_two_planners(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make_store(), make_store()
    one.plan(_made.videos(4))
    Path(one.url, "tokens.zarr/motion/zarr.json").unlink()
    write, waited = Folder.write, []

    def late_write(self: Folder, name: str, *parts: bytes | memoryview) -> None:
        if self is one._folder and not waited:
            waited.append(name)
            two.plan(_made.videos(8))
        write(self, name, *parts)

    monkeypatch.setattr(Folder, "write", late_write)
    assert one.plan(_made.videos(4)) == 0
    assert waited == ["tokens.zarr/motion/zarr.json"]
    assert zarr.open_array(f"{one.url}/tokens.zarr/motion", mode="r").shape == (8, 2, 5)


ROUNDS = 6


def _start_at_once(folder: Path, number: int, barrier: Barrier, told: Any) -> None:
    """Make and plan one store after another, each in the same moment as other processes."""
    for turn in range(ROUNDS):
        settings = CacheSettings(path="x", stage="", rows_per_shard=4, dtype="float16")
        barrier.wait(60)
        store = FeatureStore.open_or_create(
            str(folder / str(turn)), Identity(_made.CONTENT), _made.SHAPES, settings
        )
        store.plan([*_made.videos(5), *_made.videos(3, first=100 * number)])
        told.put((turn, {v: r for s in store.shards for r, v in store.shard_rows(s).items()}))


def test_four_first_starts_at_once_make_one_store_with_all_plans(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, told = spawn.Barrier(4), spawn.Queue()
    starts = [
        spawn.Process(target=_start_at_once, args=(tmp_path, number, barrier, told))
        for number in range(1, 5)
    ]
    for process in starts:
        process.start()
    plans = [told.get(timeout=90) for _ in range(4 * ROUNDS)]
    for process in starts:
        process.join(60)
    assert [process.exitcode for process in starts] == [0] * 4
    for turn in range(ROUNDS):
        store = FeatureStore.open(str(tmp_path / str(turn)))
        rows = {v: r for s in store.shards for r, v in store.shard_rows(s).items()}
        assert len(rows) == 5 + 4 * 3
        for of, seen in plans:
            assert of != turn or seen.items() <= rows.items()
        _made.fill(store, [])
        assert list(verify(store)) == []


def test_unplanned_shard_is_refused(full_store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="shard 2 is not planned"):
        full_store.write_shard(2, {})


def _die(*_: object) -> None:
    raise KeyboardInterrupt
