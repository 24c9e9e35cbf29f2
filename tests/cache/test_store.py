import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from finevq.cache.care.verify import verify
from finevq.cache.identity import Identity
from finevq.cache.records import Failure, Features
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.errors import IdentityMismatch, StoreError

from . import _made
from .conftest import MakeStore


def test_features_come_back_in_the_store_dtype(full_store: FeatureStore) -> None:
    for video in ("demo/0.mp4", "demo/6.mp4"):
        given = _made.features(video)
        spatial, motion = full_store.read(video)
        assert spatial.dtype == motion.dtype == np.float16
        np.testing.assert_array_equal(spatial, given.spatial.astype(np.float16))
        np.testing.assert_array_equal(motion, given.motion.astype(np.float16))


def test_plain_zarr_reads_the_arrays(full_store: FeatureStore) -> None:
    group = zarr.open_group(f"{full_store.url}/tokens.zarr", mode="r")
    spatial = group["spatial"]
    assert isinstance(spatial, zarr.Array)
    assert (spatial.shape, spatial.chunks, spatial.shards) == (
        (8, 2, 3, 8),
        (1, 2, 3, 8),
        (4, 2, 3, 8),
    )
    np.testing.assert_array_equal(spatial[5], full_store.read("demo/5.mp4")[0])
    assert np.isnan(spatial[2]).all()  # failed
    assert np.isnan(spatial[7]).all()  # never planned


def test_features_that_are_all_zero_are_features(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["demo/0.mp4"])
    like = _made.features("demo/0.mp4")
    black = Features(0 * like.spatial, 0 * like.motion, like.source)
    store.write_shard(0, {"demo/0.mp4": black})
    assert not store.read("demo/0.mp4")[0].any()
    assert list(verify(store)) == []


def test_records_keep_the_source_and_the_reason(full_store: FeatureStore) -> None:
    records = FeatureStore.open(full_store.url).records()
    assert list(records) == _made.videos(7)
    assert records["demo/1.mp4"].source == _made.features("demo/1.mp4").source
    assert (records["demo/2.mp4"].status, records["demo/2.mp4"].reason) == ("failed", "no frames")
    assert full_store.failures() == {"demo/2.mp4": "no frames"}


def test_info_counts(full_store: FeatureStore) -> None:
    full_store.plan(_made.videos(9))
    info = full_store.info()
    counted = ("shards", "committed", "planned", "ok", "failed", "pending")
    assert [info[key] for key in counted] == [3, 2, 9, 6, 1, 2]
    assert info["failures"] == {"no frames": 1}
    assert info["identity"] == _made.CONTENT
    assert info["digest"] == Identity(_made.CONTENT).digest
    assert (info["shapes"], info["dtype"]) == (_made.SHAPES, "float16")
    stored = _made.files(full_store)
    assert info["bytes"] >= sum(len(d) for name, d in stored.items() if "tokens" in name)


# Opening


def test_open_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    assert not FeatureStore.exists(str(tmp_path))
    with pytest.raises(StoreError, match=r"no feature store at .*run `finevq extract`"):
        FeatureStore.open(str(tmp_path))


def test_unknown_protocol_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="cannot open nowhere://x"):
        FeatureStore.open("nowhere://x")


def test_create_refuses_an_existing_store(full_store: FeatureStore) -> None:
    settings = CacheSettings(path="x", stage="", rows_per_shard=4, dtype="float16")
    with pytest.raises(StoreError, match="already"):
        FeatureStore.create(full_store.url, Identity({}), _made.SHAPES, settings)


def test_lost_store_json_does_not_cost_the_features(
    make_store: MakeStore, full_store: FeatureStore
) -> None:
    before = _made.files(full_store)
    os.remove(f"{full_store.url}/store.json")
    with pytest.raises(StoreError, match=r"holds features but no store\.json"):
        make_store()
    del before["store.json"]
    assert _made.files(full_store) == before


def test_interrupted_creation_is_taken_up(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("finevq.cache.files.folder.Folder.write", _die)
        with pytest.raises(KeyboardInterrupt):
            make_store()
    store = make_store()
    _made.fill(store, _made.videos(2))
    assert list(verify(store)) == []


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"dtype": "float32"}, "cache.dtype: float16 in the store, float32 asked for"),
        ({"rows_per_shard": 8}, "cache.rows_per_shard: 4 in the store, 8 asked for"),
        ({"motion": (3, 5)}, "shapes.motion: [2,5] in the store, [3,5] asked for"),
        (
            {"content": {**_made.CONTENT, "spatial": {"weights": "91bc02" * 10, "frames": 2}}},
            "spatial.weights: 3fa2c1.. in the store, 91bc02.. asked for",
        ),
    ],
)
def test_another_store_than_asked_for_is_refused(
    make_store: MakeStore, asked: dict[str, Any], line: str
) -> None:
    store = make_store()
    with pytest.raises(IdentityMismatch) as caught:
        make_store(**asked)
    assert str(caught.value) == (
        f"the feature store at {store.url} was made with other settings: {line}; "
        f"set these back, or choose another cache.path"
    )


def test_many_differences_stay_one_short_line(make_store: MakeStore) -> None:
    make_store(content={f"key{i}": i for i in range(9)})
    with pytest.raises(IdentityMismatch) as caught:
        make_store(content={f"key{i}": -i for i in range(1, 9)})
    message = str(caught.value)
    assert message.count("asked for") == 5
    assert "; and 4 more; " in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", ["", "[]", "{}", "nul", '{"format": 2}'])
def test_damaged_store_json(full_store: FeatureStore, damage: str) -> None:
    Path(full_store.url, "store.json").write_text(damage)
    with pytest.raises(StoreError, match=r"store\.json is damaged .*restore it"):
        FeatureStore.open(full_store.url)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("identity", {"digest": "00", "content": _made.CONTENT}),
        ("shapes", {"spatial": [2, 3, 8]}),
        ("shapes", {"spatial": [2, 3, 8], "motion": [0, 5]}),
        ("dtype", "int4"),
        ("rows_per_shard", 0),
        ("rows_per_shard", "4"),
    ],
)
def test_impossible_store_json(full_store: FeatureStore, key: str, value: Any) -> None:
    path = Path(full_store.url, "store.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        FeatureStore.open(full_store.url)


def test_other_format_version_is_refused(full_store: FeatureStore) -> None:
    path = Path(full_store.url, "store.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(StoreError, match="has format 1, this finevq reads format 2"):
        FeatureStore.open(full_store.url)


# Planning


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


# Writing


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


def test_float16_overflow_is_a_failure_that_names_the_cure(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["demo/0.mp4", "demo/1.mp4"])
    big = _made.features("demo/0.mp4", scale=1e6)
    store.write_shard(0, {"demo/0.mp4": big, "demo/1.mp4": _made.features("demo/1.mp4")})
    record = store.records()["demo/0.mp4"]
    assert record.reason == "float16 overflow: store with cache.dtype = 'float32' (spatial)"
    assert record.source == big.source  # the file itself is sound
    assert store.records()["demo/1.mp4"].status == "ok"
    assert list(verify(store)) == []


def test_float32_store_holds_what_float16_cannot(make_store: MakeStore) -> None:
    store = make_store(dtype="float32")
    store.plan(["demo/0.mp4"])
    big = _made.features("demo/0.mp4", scale=1e6)
    store.write_shard(0, {"demo/0.mp4": big})
    np.testing.assert_array_equal(store.read("demo/0.mp4")[0], big.spatial)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, "float16", "NaN in the features (motion)"),
        (np.inf, "float16", "infinity in the features (motion)"),
        (-np.inf, "float32", "infinity in the features (motion)"),
        (-np.inf, "float16", "infinity in the features (motion)"),
        (-np.nan, "float32", "NaN in the features (motion)"),
        (-1e5, "float16", "float16 overflow: store with cache.dtype = 'float32' (motion)"),
        (1e300, "float32", "float32 overflow (motion)"),
    ],
)
def test_one_bad_value_is_a_failure(
    make_store: MakeStore, value: float, dtype: str, reason: str
) -> None:
    store = make_store(dtype=dtype)
    store.plan(["demo/0.mp4"])
    good = _made.features("demo/0.mp4")
    motion = good.motion.astype(np.float64)
    motion[-1, -1] = value
    store.write_shard(0, {"demo/0.mp4": Features(good.spatial, motion, good.source)})
    assert store.failures() == {"demo/0.mp4": reason}


def test_eight_bits_are_off_by_half_a_step_at_most(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    _made.fill(store, _made.videos(3))
    spatial, motion = store.read("demo/1.mp4")
    given = _made.features("demo/1.mp4")
    assert spatial.dtype == motion.dtype == np.float16
    step = np.abs(given.spatial).max(axis=-1, keepdims=True) / 127
    rounding = np.abs(given.spatial) * 2**-11
    assert (np.abs(spatial - given.spatial) <= 0.5001 * step + rounding).all()
    np.testing.assert_array_equal(motion, given.motion.astype(np.float16))
    assert list(verify(store)) == []


def test_eight_bits_keep_zero_and_the_largest_value(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    store.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    tokens = np.zeros_like(given.spatial)
    tokens[0, 0] = [-65504, 0, 0, 0, 0, 0, 0, 32752]
    tokens[0, 1, 0] = 1e-7
    store.write_shard(0, {"demo/0.mp4": Features(tokens, given.motion, given.source)})
    spatial, _ = store.read("demo/0.mp4")
    assert spatial[0, 0, [0, 1]].tolist() == [-65504, 0]
    assert not spatial[1].any()
    assert spatial[0, 1, 0] == np.float16(1e-7)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "NaN in the features (spatial)"),
        (1e5, "float16 overflow: store with cache.dtype = 'float32' (spatial)"),
    ],
)
def test_eight_bits_refuse_what_float16_refuses(
    make_store: MakeStore, value: float, reason: str
) -> None:
    store = make_store(dtype="int8")
    store.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    given.spatial[1, 2, 3] = value
    store.write_shard(0, {"demo/0.mp4": given})
    assert store.failures() == {"demo/0.mp4": reason}


def test_plain_zarr_reads_eight_bits(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    _made.fill(store, _made.videos(3), failed=["demo/1.mp4"])
    group = zarr.open_group(f"{store.url}/tokens.zarr", mode="r")
    spatial, scale = np.asarray(group["spatial"]), np.asarray(group["spatial_scale"])
    tokens = (spatial * scale[..., None]).astype(np.float16)
    np.testing.assert_array_equal(tokens[2], store.read("demo/2.mp4")[0])
    assert np.isnan(tokens[1]).all()


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


def test_values_do_not_depend_on_memory_order(make_store: MakeStore) -> None:
    one, two = make_store("one"), make_store("two")
    _made.fill(one, ["demo/0.mp4"])
    two.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    turned = Features(np.asfortranarray(given.spatial), given.motion.astype(">f8"), given.source)
    two.write_shard(0, {"demo/0.mp4": turned})
    assert _made.files(one) == _made.files(two)


# Reading


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


# Other processes


def test_pickled_store_works_and_carries_nothing_opened(full_store: FeatureStore) -> None:
    expected = full_store.read("demo/0.mp4")
    data = pickle.dumps(full_store)
    assert len(data) < 2000
    for got, want in zip(pickle.loads(data).read("demo/0.mp4"), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_relative_path_is_the_same_store_in_another_folder(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(full_store.url).parent)
    data = pickle.dumps(FeatureStore.open("store"))
    monkeypatch.chdir("/")
    assert len(pickle.loads(data).records()) == 7


def _die(*_: object) -> None:
    raise KeyboardInterrupt
