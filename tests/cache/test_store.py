"""A store is opened, made and described, and goes to other processes."""

import dataclasses
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finevq.cache.care.readable import ReadableStore
from finevq.cache.care.verify import verify
from finevq.cache.identity import Identity
from finevq.cache.records import Features
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.errors import IdentityMismatch, StoreError

from . import _made
from .conftest import MakeStore


def test_records_keep_the_source_and_the_reason(full_store: FeatureStore) -> None:
    records = FeatureStore.open(full_store.url).records()
    assert list(records) == _made.videos(7)
    assert records["demo/1.mp4"].source == _made.features("demo/1.mp4").source
    assert (records["demo/2.mp4"].status, records["demo/2.mp4"].reason) == ("failed", "no frames")
    assert full_store.failures() == {"demo/2.mp4": "no frames"}


def test_info_counts(full_store: FeatureStore) -> None:
    full_store.plan(_made.videos(9))
    info = full_store.info()
    counts = ("shards", "committed", "planned", "ok", "failed", "pending")
    assert [info[key] for key in counts] == [3, 2, 9, 6, 1, 2]
    assert info["failures"] == {"no frames": 1}
    assert info["identity"] == _made.CONTENT
    assert info["digest"] == Identity(_made.CONTENT).digest
    assert (info["shapes"], info["dtype"]) == (_made.SHAPES, "float16")
    stored = _made.files(full_store)
    assert info["bytes"] >= sum(len(d) for name, d in stored.items() if "tokens" in name)


def test_info_counts_the_frames_that_damaged_videos_lack(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(_made.videos(3))
    results = _made.results(_made.videos(3))
    for video, (concealed, missing) in zip(results, [(3, 0), (0, 0), (1, 2)], strict=True):
        found = results[video]
        assert isinstance(found, Features)
        source = dataclasses.replace(found.source, concealed=concealed, missing=missing)
        results[video] = dataclasses.replace(found, source=source)
    for shard in store.pending():
        rows = store.shard_rows(shard).values()
        store.write_shard(shard, {video: results[video] for video in rows})
    info = FeatureStore.open(store.url).info()
    counts = ("ok", "damaged_videos", "concealed_frames", "missing_frames")
    assert [info[key] for key in counts] == [3, 2, 4, 2]


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


def test_pickled_store_works_and_carries_nothing_opened(full_store: FeatureStore) -> None:
    expected = full_store.read("demo/0.mp4")
    data = pickle.dumps(full_store)
    assert len(data) < 2000
    for got, want in zip(pickle.loads(data).read("demo/0.mp4"), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_pickled_store_for_reports_stays_one(full_store: FeatureStore) -> None:
    Path(full_store.url, "commits/000001.json").write_text("torn")
    store = pickle.loads(pickle.dumps(ReadableStore.open(full_store.url)))
    assert list(store.records()) == _made.videos(4)


def test_a_store_that_another_process_makes_first_is_opened(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_store()
    monkeypatch.setattr(FeatureStore, "exists", lambda url: False)  # as it was a moment before
    assert make_store().layout == first.layout


def test_a_store_that_another_process_makes_otherwise_is_refused(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store()
    monkeypatch.setattr(FeatureStore, "exists", lambda url: False)
    with pytest.raises(IdentityMismatch, match=r"cache\.dtype: float16 in the store"):
        make_store(dtype="float32")


def test_relative_path_is_the_same_store_in_another_folder(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(full_store.url).parent)
    data = pickle.dumps(FeatureStore.open("store"))
    monkeypatch.chdir("/")
    assert len(pickle.loads(data).records()) == 7


def _die(*_: object) -> None:
    raise KeyboardInterrupt
