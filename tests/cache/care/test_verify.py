"""Every kind of damage is found and named."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finevq.cache.arrays.shard_file import StoredArray
from finevq.cache.care.verify import Problem, verify
from finevq.cache.commits import commit_bytes
from finevq.cache.identity import Identity
from finevq.cache.plan import Plan
from finevq.cache.records import RowRecord
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.cache.values import checksum
from finevq.errors import StoreError

from .. import _made
from ..conftest import MakeStore

SHARDS = ("tokens.zarr/spatial/c/1/0/0/0", "tokens.zarr/motion/c/1/0/0")
INDEX = 4 * 16 + 4  # offset and length of four chunks, crc32c


def test_sound_store_has_no_problems(full_store: FeatureStore) -> None:
    assert list(verify(full_store)) == []


def test_unfinished_store_has_no_problems(full_store: FeatureStore) -> None:
    full_store.plan(_made.videos(30))
    assert list(verify(full_store)) == []


# Shard files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One store for all positions; each example puts the damaged byte back."""
    url = str(tmp_path_factory.mktemp("shared") / "store")
    layout = CacheSettings(path=url, stage="", rows_per_shard=4, dtype="float16")
    store = FeatureStore.create(url, Identity({}), _made.SHAPES, layout)
    _made.fill(store, _made.videos(7), failed=["demo/5.mp4"])
    return store


@pytest.mark.parametrize("name", SHARDS)
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
@example(position=0, bit=0)
@example(position=-1, bit=7)
@example(position=-5, bit=0)
@example(position=-INDEX, bit=0)
@example(position=-INDEX - 1, bit=3)
def test_flipped_bit_anywhere_is_found(
    shared: FeatureStore, name: str, position: int, bit: int
) -> None:
    path = Path(shared.url, name)
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[position % len(sound)] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        problems = list(verify(shared))
    finally:
        path.write_bytes(sound)
    assert problems
    assert all(problem.shard == 1 and problem.row in range(4, 8) for problem in problems)
    assert all(name.split("/")[1] in problem.what for problem in problems)


def test_flipped_byte_names_shard_row_and_video_and_spares_the_others(
    full_store: FeatureStore,
) -> None:
    _flip(Path(full_store.url, SHARDS[0]), 0)
    (problem,) = verify(full_store)
    assert (problem.shard, problem.row, problem.video) == (1, 4, "demo/4.mp4")
    assert str(problem).startswith(f"shard 1, row 4 (demo/4.mp4): {SHARDS[0]} cannot be read (")
    with pytest.raises(
        StoreError, match=r"shard 1, row 4 \(demo/4\.mp4\): .*cannot be read \(.*cache repair"
    ):
        full_store.read("demo/4.mp4")
    assert full_store.read("demo/5.mp4")[0].shape == (2, 3, 8)


def test_damaged_index_concerns_every_row(full_store: FeatureStore) -> None:
    _flip(Path(full_store.url, SHARDS[1]), -1)
    assert [problem.row for problem in verify(full_store)] == [4, 5, 6, 7]


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_shard_is_found(full_store: FeatureStore, keep: float) -> None:
    path = Path(full_store.url, SHARDS[0])
    sound = path.read_bytes()
    path.write_bytes(sound[: int(keep * len(sound))])
    problems = list(verify(full_store))
    assert {(problem.shard, problem.video) for problem in problems} >= {
        (1, "demo/4.mp4"),
        (1, "demo/6.mp4"),
    }
    with pytest.raises(StoreError, match="shard 1, row 4"):
        full_store.read("demo/4.mp4")


def test_appended_bytes_are_found(full_store: FeatureStore) -> None:
    path = Path(full_store.url, SHARDS[0])
    path.write_bytes(path.read_bytes() + b"\0")
    assert {problem.shard for problem in verify(full_store)} == {1}


@pytest.mark.parametrize("name", SHARDS)
def test_deleted_shard_is_found(full_store: FeatureStore, name: str) -> None:
    Path(full_store.url, name).unlink()
    assert list(verify(full_store)) == [Problem(1, None, None, f"{name} missing: extract it again")]
    with pytest.raises(StoreError, match=r"shard 1, row 4 \(demo/4\.mp4\).* missing"):
        full_store.read("demo/4.mp4")


def test_damaged_shard_is_mended_by_writing_it_again(full_store: FeatureStore) -> None:
    before = _made.files(full_store)
    for name in SHARDS:
        _flip(Path(full_store.url, name), -1)
    full_store.write_shard(1, _made.results(full_store.shard_rows(1).values()))
    assert _made.files(full_store) == before


# Sound files in the wrong place


def test_values_of_another_shard_do_not_match_the_checksums(full_store: FeatureStore) -> None:
    shutil.copy(Path(full_store.url, "tokens.zarr/motion/c/0/0/0"), Path(full_store.url, SHARDS[1]))
    problems = [str(problem) for problem in verify(full_store)]
    mismatch = "the stored values do not match their checksum"
    assert problems[0] == f"shard 1, row 4 (demo/4.mp4): {mismatch}"
    assert problems[1] == f"shard 1, row 5 (demo/5.mp4): {mismatch}"
    assert problems[2].endswith(
        "row 6 (demo/6.mp4): the row is empty, its commit says that it holds features"
    )
    assert problems[3].startswith("shard 1, row 7: a row without features must be empty")


def test_failed_row_that_holds_values_is_found(
    full_store: FeatureStore, make_store: MakeStore
) -> None:
    other = make_store("other")
    _made.fill(other, _made.videos(7))
    name = "tokens.zarr/spatial/c/0/0/0/0"
    shutil.copy(Path(other.url, name), Path(full_store.url, name))
    (problem,) = verify(full_store)
    assert (problem.row, problem.video) == (2, "demo/2.mp4")
    assert "must be empty" in problem.what


def test_values_that_are_not_finite_are_found_whatever_their_checksum(
    full_store: FeatureStore,
) -> None:
    records = full_store.shard_records(0)
    row = {name: array for name, array in full_store.read_row(0).items() if array is not None}
    row["motion"] = StoredArray.of(np.full((2, 5), np.inf, np.float16))
    full_store._arrays.write(0, {0: row})
    records[0] = dataclasses.replace(records[0], checksum=checksum(row))
    Path(full_store.url, "commits/000000.json").write_bytes(commit_bytes(0, records))
    problem, *_ = verify(full_store)
    assert str(problem) == "shard 0, row 0 (demo/0.mp4): the stored values are not finite"


# Commits, plan and metadata


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"shard": 0}'])
def test_damaged_commit_is_found(full_store: FeatureStore, damage: str) -> None:
    Path(full_store.url, "commits/000000.json").write_text(damage)
    (problem,) = verify(full_store)
    assert (problem.shard, problem.row) == (0, None)
    assert "commits/000000.json is damaged" in problem.what
    with pytest.raises(StoreError, match=r"commits/000000\.json is damaged"):
        full_store.records()


def test_deleted_damaged_commit_is_pending_again(full_store: FeatureStore) -> None:
    Path(full_store.url, "commits/000000.json").unlink()
    assert full_store.pending() == [0]


def test_commit_of_a_shard_that_is_not_planned_is_found(full_store: FeatureStore) -> None:
    stray = commit_bytes(9, {36: RowRecord("x", "failed", "why", None, None)})
    Path(full_store.url, "commits/000009.json").write_bytes(stray)
    (problem,) = verify(full_store)
    assert problem.shard == 9
    assert "videos.parquet has other videos in shard 9 than its commit" in problem.what
    assert len(full_store.records()) == 7


def test_commit_of_other_videos_than_planned_is_found(full_store: FeatureStore) -> None:
    other = Plan({}, 4).extended(_made.videos(4) + _made.videos(3, first=50))
    Path(full_store.url, "videos.parquet").write_bytes(other.to_bytes())
    store = FeatureStore.open(full_store.url)
    (problem,) = verify(store)
    assert problem.shard == 1
    assert "videos.parquet has other videos in shard 1 than its commit" in problem.what
    with pytest.raises(StoreError, match="has other videos"):
        store.read("demo/50.mp4")


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"\0" * 500])
def test_damaged_plan_is_found(full_store: FeatureStore, damage: bytes) -> None:
    Path(full_store.url, "videos.parquet").write_bytes(damage)
    (problem,) = verify(FeatureStore.open(full_store.url))
    assert problem.shard is None
    assert "videos.parquet is damaged" in str(problem)


def test_plan_that_gives_a_video_two_rows_is_refused() -> None:
    with pytest.raises(StoreError, match="here names a row or a video twice"):
        Plan.from_bytes(Plan({0: "a", 1: "a"}, 4).to_bytes(), 4, "here")


def test_plan_with_a_flipped_bit_never_reads_as_another(full_store: FeatureStore) -> None:
    path = Path(full_store.url, "videos.parquet")
    sound = path.read_bytes()
    plan = Plan.from_bytes(sound, 4, "here")
    for damaged in _flipped(sound, step=7):
        try:
            assert Plan.from_bytes(damaged, 4, "here").videos == plan.videos
        except StoreError as error:
            assert str(error).startswith("here is damaged")  # noqa: PT017


@pytest.mark.parametrize("damage", ["", "{}", None])
def test_damaged_array_metadata_is_found(full_store: FeatureStore, damage: str | None) -> None:
    path = Path(full_store.url, "tokens.zarr/motion/zarr.json")
    path.unlink() if damage is None else path.write_text(damage)
    (problem,) = verify(FeatureStore.open(full_store.url))
    assert "tokens.zarr/motion cannot be opened" in str(problem)


def test_array_of_another_layout_is_found(full_store: FeatureStore, make_store: MakeStore) -> None:
    other = make_store("other", motion=(2, 6))
    name = "tokens.zarr/motion/zarr.json"
    shutil.copy(Path(other.url, name), Path(full_store.url, name))
    (problem,) = verify(FeatureStore.open(full_store.url))
    assert "tokens.zarr/motion is not laid out as store.json says" in str(problem)


def test_array_shorter_than_the_plan_is_found(
    full_store: FeatureStore, make_store: MakeStore
) -> None:
    name = "tokens.zarr/motion/zarr.json"
    shutil.copy(Path(make_store("other").url, name), Path(full_store.url, name))
    (problem,) = verify(FeatureStore.open(full_store.url))
    assert "tokens.zarr/motion has 0 rows, 8 are planned" in str(problem)


def test_checksum_is_a_known_value() -> None:
    # A change of this value would condemn every store on disk.
    spatial, motion = np.ones((1, 1, 2), "<f2"), np.full((1, 1), 2, "<f2")
    row = {"spatial": StoredArray.of(spatial), "motion": StoredArray.of(motion)}
    assert checksum(row) == "02aed1e7-b01a6a6e"


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def _flipped(data: bytes, step: int) -> Iterator[bytes]:
    for position in range(0, len(data), step):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        yield bytes(damaged)
