"""A store goes through one HDF5 file and comes back byte for byte."""

import errno
import resource
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from finevq.cache.care.hdf5 import export_hdf5, import_hdf5
from finevq.cache.care.verify import verify
from finevq.cache.files.space import DiskFull
from finevq.cache.store import FeatureStore
from finevq.errors import StoreError, StoreUnavailable

from .. import _made
from ..conftest import MakeStore


@pytest.fixture
def file(full_store: FeatureStore, tmp_path: Path) -> Path:
    """The full store, exported."""
    export_hdf5(full_store, tmp_path / "features.h5")
    return tmp_path / "features.h5"


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_a_store_comes_back_byte_for_byte(
    make_store: MakeStore, tmp_path: Path, dtype: str
) -> None:
    store = make_store(dtype=dtype)
    _made.fill(store, _made.videos(7), failed=["demo/2.mp4"])
    store.plan(_made.videos(9))  # a shard that is not extracted
    export_hdf5(store, tmp_path / "a.h5")
    restored = import_hdf5(tmp_path / "a.h5", str(tmp_path / "restored"))
    assert _made.files(restored) == _made.files(store)
    assert restored.pending() == [2]
    assert list(verify(restored)) == []


def test_an_empty_store_comes_back(make_store: MakeStore, tmp_path: Path) -> None:
    export_hdf5(make_store(), tmp_path / "a.h5")
    restored = import_hdf5(tmp_path / "a.h5", str(tmp_path / "restored"))
    assert _made.files(restored) == _made.files(make_store())


def test_the_file_is_readable_without_finevq(full_store: FeatureStore, file: Path) -> None:
    with h5py.File(file) as source:
        videos = list(source["videos"].asstr())
        spatial = source["spatial"]
        assert videos == [*_made.videos(7), ""]
        assert spatial.chunks == (1, 2, 3, 8)
        assert spatial.dtype == np.float16
        row = videos.index("demo/5.mp4")
        np.testing.assert_array_equal(spatial[row], full_store.read("demo/5.mp4")[0])
        assert np.isnan(spatial[2]).all()  # failed
        assert spatial.id.get_num_chunks() == 6


def test_progress_ends_at_the_number_of_shards(full_store: FeatureStore, tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    export_hdf5(full_store, tmp_path / "a.h5", lambda *step: reported.append(step))
    import_hdf5(tmp_path / "a.h5", str(tmp_path / "b"), lambda *step: reported.append(step))
    assert reported == [(1, 2), (2, 2)] * 2


def test_an_existing_file_is_not_replaced(full_store: FeatureStore, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"features\.h5 exists"):
        export_hdf5(full_store, file)
    assert file.read_bytes() == before


def test_an_existing_store_is_not_replaced(full_store: FeatureStore, file: Path) -> None:
    before = _made.files(full_store)
    with pytest.raises(StoreError, match="is not empty"):
        import_hdf5(file, full_store.url)
    assert _made.files(full_store) == before


def test_a_damaged_row_is_not_exported(full_store: FeatureStore, tmp_path: Path) -> None:
    path = Path(full_store.url, "tokens.zarr/spatial/c/1/0/0/0")
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"demo/4\.mp4"):
        export_hdf5(full_store, tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def change_value(source: h5py.File) -> None:
    source["motion"][5] += 1


def change_commit(source: h5py.File) -> None:
    text = source["commits"].asstr()[0]
    source["commits"][0] = text.replace("no frames", "no france")


def change_identity(source: h5py.File) -> None:
    text = source.attrs["finevq_store"]
    source.attrs["finevq_store"] = text.replace("3fa2c1", "3fa2c2")


def change_version(source: h5py.File) -> None:
    source.attrs["finevq_hdf5"] = 7


def swap_videos(source: h5py.File) -> None:
    source["videos"][0], source["videos"][2] = source["videos"][2], source["videos"][0]


def drop_array(source: h5py.File) -> None:
    del source["spatial"]


def drop_attribute(source: h5py.File) -> None:
    del source.attrs["finevq_store"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_value, r"the values of demo/5\.mp4 do not match"),
        (change_commit, r"commits/000000\.json in .*features\.h5 is damaged"),
        (change_identity, "the identity does not match its digest"),
        (change_version, "has format 7, this finevq reads format 1"),
        (swap_videos, r"commits/000000\.json in .* names other videos"),
        (drop_array, "is damaged, or was not exported"),
        (drop_attribute, "is damaged, or was not exported"),
    ],
)
def test_a_changed_file_is_refused_and_leaves_nothing(
    file: Path, tmp_path: Path, change: Any, message: str
) -> None:
    with h5py.File(file, "r+") as source:
        change(source)
    with pytest.raises(StoreError, match=message):
        import_hdf5(file, str(tmp_path / "restored"))
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("data", [b"", b"not HDF5"])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(StoreError, match="is not an HDF5 file"):
        import_hdf5(tmp_path / "a.h5", str(tmp_path / "restored"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone\.h5: no such file"):
        import_hdf5(tmp_path / "gone.h5", str(tmp_path / "restored"))


def test_a_full_disk_leaves_nothing(
    full_store: FeatureStore, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match=r"disk full at .*restored"):
        import_hdf5(file, str(tmp_path / "restored"))
    with pytest.raises(DiskFull, match=r"disk full at .*b\.h5"):
        export_hdf5(full_store, tmp_path / "b.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.h5", "store"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.9999])
def test_a_write_that_fails_anywhere_is_one_line_and_leaves_nothing(
    full_store: FeatureStore, tmp_path: Path, share: float
) -> None:
    target = tmp_path / "a.h5"
    export_hdf5(full_store, target)
    room = int(share * target.stat().st_size)
    target.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # the system lets no file grow larger
    try:
        with pytest.raises(StoreError, match=r"a\.h5 cannot be written: File too large; choose"):
            export_hdf5(full_store, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_first_error_is_told_and_not_what_hdf5_makes_of_it(
    full_store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(h5py.File):
        def __init__(self, target: Any, mode: str) -> None:
            target._error = OSError(errno.EFBIG, "File too large")
            raise OSError("Can't synchronously write data")

    monkeypatch.setattr(h5py, "File", Broken)
    with pytest.raises(StoreError, match=r"a\.h5 cannot be written: File too large; choose"):
        export_hdf5(full_store, tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_file_that_will_not_fit_is_not_begun(
    full_store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 6 * full_store.layout.row_bytes
    free = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    reported: list[tuple[int, int]] = []
    with pytest.raises(DiskFull, match=r"a\.h5 needs .* GB, .* GB are free: make room"):
        export_hdf5(full_store, tmp_path / "a.h5", lambda *step: reported.append(step))
    assert reported == []
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["nodir/a.h5", "store/store.json/a.h5"])
def test_a_place_that_is_no_folder_is_one_line(
    full_store: FeatureStore, file: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(StoreError, match=r"a\.h5 cannot be written: N.* directory; choose another"):
        export_hdf5(full_store, tmp_path / name)


def test_an_import_into_a_place_that_is_no_folder_is_one_line(file: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"features\.h5/a cannot be"):
        import_hdf5(file, str(file / "a"))


def test_a_damaged_commit_is_told_before_the_export_begins(
    full_store: FeatureStore, tmp_path: Path
) -> None:
    Path(full_store.url, "commits/000001.json").write_text("torn")
    reported: list[tuple[int, int]] = []
    with pytest.raises(StoreError, match=r"000001\.json is damaged"):
        export_hdf5(full_store, tmp_path / "a.h5", lambda *step: reported.append(step))
    assert reported == []
