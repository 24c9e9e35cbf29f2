"""A feature store as one HDF5 file, to share or archive, and back.

    attribute finevq_store   the text of store.json: format version, identity, shapes, dtype
    attribute finevq_hdf5    version of this layout
    plan     (segments,)     first shard of each file below plan/; older exports lack it
    videos   (rows,)         video ids, empty where a row has none
    commits  (shards,)       the texts of the commit files, empty where a shard has none
    spatial, motion, ...     (rows, ...) as in the store, one row a chunk; rows without features
                             take no space and read as NaN

Export and import check every row against the checksum in its commit.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import StoreError
from ..arrays.shard_file import StoredArray, StoredRow
from ..arrays.zarr_arrays import Arrays
from ..commits import commit_name, parse_commit
from ..files.folder import Folder
from ..files.space import DiskFull, Space, is_disk_full
from ..layout import STORE_JSON, Layout
from ..plan import VIDEOS_PARQUET, Plan, segment_name
from ..records import RowRecord
from ..store import FeatureStore
from ..values import checksum
from .hdf5_target import Hdf5Target

HDF5_FORMAT = 1
"""Version of the layout of the file."""

Progress = Callable[[int, int], None]
"""Called with the numbers of shards that are done and of all shards."""


def export_hdf5(store: FeatureStore, file: Path, progress: Progress = lambda *_: None) -> None:
    """Write the committed shards of a store to a new file, which appears when it is complete.

    Args:
        store: The store, which may be unfinished.
        file: A path on a local disk.
        progress: Called after every shard.

    Raises:
        StoreError: The file exists or cannot be written, or a row or a commit is damaged.
        DiskFull: There is no room. Where that is known at the start, nothing is written.
    """
    if file.exists():
        raise StoreError(f"{file} exists: choose another name, or remove it")
    with _write_errors_named(file):
        records = store.records().values()  # raises for a damaged commit before any work
        needed = store.layout.row_bytes * sum(record.status == "ok" for record in records)
        space = Space(needed, shutil.disk_usage(file.parent).free)
        if not space.enough:
            raise DiskFull(f"{file} needs {space}: make room, or choose another place")
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    with _write_errors_named(file), Hdf5Target(partial) as target:
        try:
            with h5py.File(target, "w") as opened:
                for done in _export_shards(store, opened):
                    target.check()
                    progress(done, len(store.shards))
            target.sync()
            partial.rename(file)
        except Exception:
            target.check()  # a failed write is the cause of whatever error HDF5 raised
            raise
        finally:
            partial.unlink(missing_ok=True)


def import_hdf5(file: Path, url: str, progress: Progress = lambda *_: None) -> FeatureStore:
    """Make the store that a file was exported from, byte for byte.

    Args:
        file: A file that `export_hdf5` wrote.
        url: A path or fsspec URL where there is nothing yet. It becomes a store when it is
            complete; if the import fails, everything there is removed.
        progress: Called after every shard.

    Raises:
        StoreError: There is something at `url`, or the file is damaged or of another format.
        DiskFull: There is no room.
    """
    folder = Folder(url)
    if folder.names(""):
        raise StoreError(f"{url} is not empty: choose another place for the store")
    with _opened(file) as source, _write_errors_named(Path(url)):
        try:
            _import_all(source, folder, str(file), progress)
        except BaseException:
            folder.clear()
            raise
    return FeatureStore.open(url)


def _export_shards(store: FeatureStore, target: h5py.File) -> Iterator[int]:
    """Write shard by shard; yields the number of those that are done."""
    videos, commits = _new_datasets(store, target)
    committed = set(store.committed())
    for shard in store.shards:
        for row, video in store.shard_rows(shard).items():
            videos[row] = video
        if shard in committed:
            commits[shard] = store.commit_content(shard).decode()
            for row, record in store.shard_records(shard).items():
                if record.status == "ok":
                    for name, stored in store.read_stored(record.video).items():
                        target[name][row] = stored.values
        yield shard + 1


def _new_datasets(store: FeatureStore, target: h5py.File) -> tuple[h5py.Dataset, h5py.Dataset]:
    """Write the attributes and empty datasets; returns `videos` and `commits`."""
    layout, size, shards = store.layout, store.layout.rows_per_shard, len(store.shards)
    target.attrs["finevq_hdf5"] = HDF5_FORMAT
    target.attrs["finevq_store"] = layout.to_bytes().decode()
    target.create_dataset("plan", data=np.array(store.plan_segments(), np.int64))
    videos = target.create_dataset("videos", (shards * size,), h5py.string_dtype())
    commits = target.create_dataset("commits", (shards,), h5py.string_dtype())
    for name, array in layout.arrays.items():
        shape = (shards * size, *array.shape)
        fill = np.nan if array.dtype.kind == "f" else 0
        target.create_dataset(
            name,
            shape,
            array.dtype,
            maxshape=(None, *array.shape),  # HDF5 refuses chunks of a fixed length 0
            chunks=(1, *array.shape),
            fillvalue=fill,
        )
    return videos, commits


def _import_all(source: h5py.File, folder: Folder, where: str, progress: Progress) -> None:
    with _read_errors_named(where):
        layout = _stored_layout(source, where)
        size = layout.rows_per_shard
        videos = enumerate(source["videos"].asstr()[:])
        plan = Plan({row: video for row, video in videos if video}, size)
        segments = [int(first) for first in source["plan"][:]] if "plan" in source else []
        commits = [text.encode() for text in source["commits"].asstr()[:]]
        if len(commits) != len(plan.shards):
            raise ValueError(f"{len(commits)} commits of {len(plan.shards)} shards")
    arrays = Arrays(folder, layout.arrays, size)
    arrays.grow(len(plan.shards) * size)
    for shard, commit in zip(plan.shards, commits, strict=True):
        if commit:
            name = commit_name(shard)
            records = parse_commit(commit, shard, f"{name} in {where}")
            if {row: record.video for row, record in records.items()} != plan.shard_rows(shard):
                raise StoreError(f"{name} in {where} names other videos than the file's list")
            arrays.write(shard, dict(_checked_rows(source, layout, records, where)))
            folder.write(name, commit)
        progress(shard + 1, len(plan.shards))
    if plan.videos:
        for first, end in pairwise([*segments, len(plan.shards)]):
            folder.write(segment_name(first), plan.part(first, end).to_bytes())
        folder.write(VIDEOS_PARQUET, plan.to_bytes())
    folder.write(STORE_JSON, layout.to_bytes())  # last: it makes the folder a store


def _stored_layout(source: h5py.File, where: str) -> Layout:
    version = source.attrs["finevq_hdf5"]
    if version != HDF5_FORMAT:
        raise StoreError(
            f"{where} has format {version}, this finevq reads format {HDF5_FORMAT}: import it "
            f"with the version that exported it"
        )
    return Layout.from_bytes(source.attrs["finevq_store"].encode(), where)


def _checked_rows(
    source: h5py.File, layout: Layout, records: dict[int, RowRecord], where: str
) -> Iterator[tuple[int, StoredRow]]:
    """Yield the rows of a shard that hold features, checked against their records."""
    for row, record in records.items():
        if record.status == "ok":
            with _read_errors_named(where):
                values = {name: StoredArray.of(source[name][row]) for name in layout.arrays}
            if checksum(values) != record.checksum:
                raise StoreError(
                    f"{where} is damaged: the values of {record.video} do not match their "
                    f"checksum; copy it again"
                )
            yield row, values


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; raises StoreError."""
    try:
        source = h5py.File(file, "r")
    except FileNotFoundError as error:
        raise StoreError(f"{file}: no such file") from error
    except OSError as error:
        raise StoreError(f"{file} is not an HDF5 file, or damaged: {error}") from error
    with source:
        yield source


@contextmanager
def _read_errors_named(where: str) -> Iterator[None]:
    """Turn any error of reading a damaged HDF5 file into a StoreError that names the file."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise StoreError(
            f"{where} is damaged, or was not exported by `finevq cache export`: {why}"
        ) from error


@contextmanager
def _write_errors_named(place: Path) -> Iterator[None]:
    """Turn an OSError of writing into an error of one line that names the place."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(f"disk full at {place}: make room, or choose another place") from error
        raise StoreError(
            f"{place} cannot be written: {error.strerror or error}; choose another place"
        ) from error
