"""The store in a bucket of a real S3 server, a process of its own on the loopback."""

import errno
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from finevq.cache.care.hdf5 import export_hdf5, import_hdf5
from finevq.cache.care.verify import repair, verify
from finevq.cache.files import stage as stage_module
from finevq.cache.files.folder import Folder
from finevq.cache.files.space import DiskFull
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError, StoreUnavailable

from .. import _made
from ..conftest import MakeStore

URL = "s3://features/store"


def objects(bucket: Any) -> dict[str, bytes]:
    """Name -> bytes of the store's objects, read round fsspec."""
    found = {item.key: item.get()["Body"].read() for item in bucket.objects.all()}
    return {key.removeprefix("store/"): data for key, data in found.items()}


def test_the_objects_are_the_files_of_a_local_store(
    bucket: Any, make_store: MakeStore, full_store: FeatureStore
) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(7), failed=["demo/2.mp4"])
    assert objects(bucket) == _made.files(full_store)
    store = FeatureStore.open(URL)
    expected = _made.features("demo/5.mp4")
    np.testing.assert_array_equal(store.read("demo/5.mp4")[1], expected.motion.astype(np.float16))
    assert store.info()["bytes"] > 0
    assert store.space().free is None
    assert list(verify(store)) == []


def test_an_object_that_another_process_creates_first_is_kept(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server decides: a moment before there was none."""
    folder, exists, asked = Folder("s3://features/store"), Folder.exists, []
    bucket.put_object(Key="store/store.json", Body=b"theirs")

    def exists_late(self: Folder, name: str) -> bool:
        asked.append(name)
        return len(asked) > 1 and exists(self, name)

    monkeypatch.setattr(Folder, "exists", exists_late)
    assert not folder.create("store.json", b"ours")
    assert objects(bucket) == {"store.json": b"theirs"}


def test_an_object_that_was_not_in_the_last_listing_is_found(bucket: Any) -> None:
    folder = Folder("s3://features/store")
    folder.write("videos.parquet", b"")
    assert folder.names("") == ["videos.parquet"]
    bucket.put_object(Key="store/store.json", Body=b"theirs")
    assert folder.exists("store.json")


def test_a_shard_of_failures_alone_is_written(bucket: Any, make_store: MakeStore) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(2), failed=_made.videos(2))
    assert len(FeatureStore.open(URL).failures()) == 2


def test_a_damaged_object_is_found_and_redone(bucket: Any, make_store: MakeStore) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(7))
    before = objects(bucket)
    name = "tokens.zarr/spatial/c/1/0/0/0"
    bucket.put_object(Key=f"store/{name}", Body=before[name][:-1])
    with pytest.raises(StoreError, match=r"demo/4\.mp4.*cannot be read"):
        store.read("demo/4.mp4")
    assert repair(store, 0) == []
    assert len(repair(store, 1)) == 4
    assert store.pending() == [1]
    _made.fill(store, _made.videos(7))
    assert objects(bucket) == before


def test_a_deleted_object_is_named(bucket: Any, make_store: MakeStore) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(2))
    bucket.Object("store/tokens.zarr/motion/c/0/0/0").delete()
    with pytest.raises(StoreError, match=r"demo/1\.mp4.* missing"):
        store.read("demo/1.mp4")
    (problem,) = verify(FeatureStore.open(URL))
    assert "tokens.zarr/motion/c/0/0/0 missing" in problem.what


def test_a_staged_shard_is_fetched_once_and_again_when_it_is_redone(
    bucket: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(7))
    expected = store.read("demo/1.mp4")
    stage = tmp_path / "stage"
    staged = pickle.loads(pickle.dumps(FeatureStore.open(URL, str(stage))))
    for mine, theirs in zip(staged.read("demo/1.mp4"), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(list(stage.iterdir())) == 2  # a shard of each array
    name = "tokens.zarr/spatial/c/0/0/0/0"
    whole = objects(bucket)[name]
    bucket.put_object(Key=f"store/{name}", Body=whole[:-1])
    staged.read("demo/1.mp4")
    with pytest.raises(StoreError, match=r"demo/1\.mp4"):
        FeatureStore.open(URL, str(stage)).read("demo/1.mp4")
    bucket.put_object(Key=f"store/{name}", Body=whole)
    FeatureStore.open(URL, str(stage)).read("demo/1.mp4")


def test_no_room_to_stage_is_one_line(
    bucket: Any, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(2))

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage_module, "replace_file", full)
    with pytest.raises(DiskFull, match=r"no room for .*: delete older copies there, or set cache"):
        FeatureStore.open(URL, str(tmp_path / "stage")).read("demo/1.mp4")


def test_a_writer_killed_at_any_moment_leaves_a_whole_shard_or_none(
    bucket: Any, make_store: MakeStore, tmp_path: Path
) -> None:
    # Shards of 8 MB: most of a writer's time is the put that a kill falls into.
    shapes = {"spatial": (8, 16, 4096), "motion": (2, 5)}
    store = make_store(URL, rows_per_shard=8, **shapes)
    store.plan(_made.videos(128))  # more than are written before the last kill
    script = tmp_path / "writer.py"
    script.write_text(_WRITER)
    for wrote in (0, 1, 3):
        command = [sys.executable, str(script), URL]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as writer:
            assert writer.stdout is not None
            for _ in range(1 + wrote):
                writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.03 * wrote)
            writer.kill()
        store = FeatureStore.open(URL)
        assert len(store.committed()) >= wrote  # of 4: it goes round, and is at one of them
        assert list(verify(store)) == []
    assert {len(data) for name, data in objects(bucket).items() if "spatial/c/" in name} <= {
        8 * (2**20 + 4) + 8 * 16 + 4
    }


_WRITER = """
import sys
import numpy as np
from finevq.cache.records import Features, Source
from finevq.cache.store import FeatureStore

store = FeatureStore.open(sys.argv[1])
shape, motion = store.layout.shapes["spatial"], np.ones((2, 5), np.float16)
tokens = np.ones(shape, np.float16)
source = Source("a" * 64, 1, None, None, "pyav")
print("writing", flush=True)
while True:
    for shard in store.shards:
        store.withdraw(shard)
        rows = store.shard_rows(shard).values()
        store.write_shard(shard, {video: Features(tokens, motion, source) for video in rows})
        print("wrote", flush=True)
"""


def test_a_store_goes_into_a_bucket_through_hdf5(
    bucket: Any, full_store: FeatureStore, tmp_path: Path
) -> None:
    export_hdf5(full_store, tmp_path / "a.h5")
    restored = import_hdf5(tmp_path / "a.h5", URL)
    assert objects(bucket) == _made.files(full_store)
    with pytest.raises(StoreError, match="is not empty"):
        import_hdf5(tmp_path / "a.h5", URL)
    export_hdf5(restored, tmp_path / "b.h5")


def test_a_failed_import_leaves_no_object(
    bucket: Any, full_store: FeatureStore, tmp_path: Path
) -> None:
    import h5py

    export_hdf5(full_store, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["motion"][5] += 1
    with pytest.raises(StoreError, match="do not match"):
        import_hdf5(tmp_path / "a.h5", URL)
    assert objects(bucket) == {}


def test_a_missing_bucket_is_one_line(bucket: Any, make_store: MakeStore) -> None:
    with pytest.raises(StoreUnavailable, match=r"s3://other/store cannot be read: .*bucket") as one:
        make_store("s3://other/store")
    assert "\n" not in str(one.value)


def error_of(*arguments: str, **environment: str) -> str:
    """The one line that a command ends with."""
    run = subprocess.run(
        [sys.executable, "-m", "finevq", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
    return run.stderr


def test_missing_credentials_are_one_line(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    nowhere = dict.fromkeys(("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"), os.devnull)
    said = error_of("cache", "info", URL, AWS_EC2_METADATA_DISABLED="true", **nowhere)
    assert "Unable to locate credentials; check its address, credentials and connection" in said


def test_a_server_that_does_not_answer_is_one_line(bucket: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "1"}
    assert f"{URL} cannot be read: Could not connect" in error_of("cache", "verify", URL, **away)


def test_a_server_that_goes_away_is_no_damage(
    bucket: Any, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(URL)
    _made.fill(store, _made.videos(7))

    def away(*args: Any, **kwargs: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="http://away")

    with monkeypatch.context() as patch:
        for name in ("cat_file", "exists", "pipe_file"):
            patch.setattr(store._folder._fs, name, away)
        for act in (lambda: list(verify(store)), lambda: repair(store, 0), store.check_layout):
            with pytest.raises(StoreUnavailable, match="cannot be read: Could not connect"):
                act()
        patch.undo()
        patch.setattr(store._folder._fs, "pipe_file", away)
        with pytest.raises(StoreUnavailable, match="cannot be written: Could not connect"):
            store.write_shard(1, _made.results(store.shard_rows(1).values()))
    assert store.committed() == [0, 1]
