"""The feature store: planned by one process, written shard by shard by many, read by any.

    store.json             identity and layout
    tokens.zarr/           spatial (rows, F, T, D) and motion (rows, C, M); chunk = 1 row, and
                           spatial_scale (rows, F, T) where tokens have 8 bits
    videos.parquet         row -> video id
    commits/000012.json    shard 12 is complete; what each of its rows holds

Commits are the truth: a shard without one does not exist, whatever lies in its files.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import IdentityMismatch, StoreError
from .arrays.shard_file import StoredArray, StoredRow
from .arrays.zarr_arrays import GROUP, Arrays
from .files.folder import Folder
from .files.space import DiskFull, Space, is_disk_full
from .identity import Identity
from .layout import FEATURES, Layout
from .plan import Plan
from .records import Failure, Features, RowRecord, commit_bytes, parse_commit
from .settings import CacheSettings
from .values import checksum, restored, stored_shard

STORE = "store.json"
VIDEOS = "videos.parquet"
_COMMITS = "commits"
_COMMIT = re.compile(r"(\d{6,})\.json")
_DIFFERENCES_SHOWN = 5
_ATTEMPTS = 3  # at a shard that another job writes with other results


class FeatureStore:
    """A feature store in a folder or behind an fsspec URL.

    It can be pickled and opens its files at the first use, in whichever process that is. One
    process at a time may plan; different shards may be written at once, from anywhere.
    """

    def __init__(self, url: str, layout: Layout, stage: str = "") -> None:
        """Use `open`, `create` or `open_or_create` instead."""
        self._folder = Folder(url, stage)
        self.url = self._folder.url
        self.layout = layout
        self._arrays = Arrays(self._folder, layout.arrays, layout.rows_per_shard)
        self._commits: dict[int, dict[int, RowRecord]] = {}

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[str, Layout, str]]:
        return FeatureStore, (self.url, self.layout, self._folder.stage)

    @staticmethod
    def exists(url: str) -> bool:
        """Tell whether there is a store at a path or URL."""
        return Folder(url).exists(STORE)

    @classmethod
    def open(cls, url: str, stage: str = "") -> "FeatureStore":
        """Open the store at a path or URL.

        Args:
            url: The path or URL.
            stage: A local folder that shards behind a URL are copied to when they are first read.

        Raises:
            StoreError: There is none, its store.json is damaged or of another format version.
        """
        folder = Folder(url)
        try:
            data = folder.read(STORE)
        except FileNotFoundError as error:
            raise StoreError(
                f"no feature store at {url}: run `finevq extract`, or correct cache.path"
            ) from error
        return cls(url, Layout.from_bytes(data, f"{folder.url}/{STORE}"), stage)

    @classmethod
    def create(
        cls,
        url: str,
        identity: Identity,
        shapes: Mapping[str, tuple[int, ...]],
        settings: CacheSettings,
    ) -> "FeatureStore":
        """Make an empty store.

        Args:
            url: A path or fsspec URL; `settings.path` is not looked at.
            identity: What the features will be made with.
            shapes: {"spatial": (F, T, D), "motion": (C, M)}, the shape of one row.
            settings: Gives dtype and rows a shard.

        Raises:
            StoreError: There is a store already, or the remains of one.
        """
        store = cls(url, Layout.of(identity, shapes, settings))
        if store._folder.exists(STORE):
            raise StoreError(
                f"there is a feature store at {url} already: choose another cache.path"
            )
        if store._folder.names(_COMMITS):
            raise StoreError(
                f"{store.url} holds features but no {STORE}: restore it, or choose another "
                f"cache.path"
            )
        store._arrays.create()
        store._folder.write(STORE, store.layout.to_bytes())  # last: it makes the folder a store
        return store

    @classmethod
    def open_or_create(
        cls,
        url: str,
        identity: Identity,
        shapes: Mapping[str, tuple[int, ...]],
        settings: CacheSettings,
    ) -> "FeatureStore":
        """Open the store if it is the one asked for, make it if there is none; see `create`.

        Raises:
            IdentityMismatch: Its identity, shapes, dtype or rows a shard are others.
            StoreError: As `open` and `create`.
        """
        if not cls.exists(url):
            return cls.create(url, identity, shapes, settings)
        store = cls.open(url)
        lines = store.layout.difference(Layout.of(identity, shapes, settings))
        if lines:
            more = len(lines) - _DIFFERENCES_SHOWN
            shown = lines[:_DIFFERENCES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise IdentityMismatch(
                f"the feature store at {url} was made with other settings: {'; '.join(shown)}; "
                f"set these back, or choose another cache.path"
            )
        return store

    @property
    def shards(self) -> range:
        """The planned shards."""
        return self._plan.shards

    def plan(self, videos: Sequence[str]) -> int:
        """Give a row to every video that has none, from a fresh shard on.

        Returns:
            The number of videos added.

        Raises:
            StoreError: A video is named twice.
        """
        self.__dict__.pop("_plan", None)  # another process may have planned since
        plan = self._plan.extended(videos)
        # Arrays first: a planned row always has its place, even if this process dies here.
        self._arrays.grow(len(plan.shards) * plan.rows_per_shard)
        added = len(plan.videos) - len(self._plan.videos)
        if added:
            self._folder.write(VIDEOS, plan.to_bytes())
            self._plan = plan
        return added

    def shard_rows(self, shard: int) -> dict[int, str]:
        """Return row -> video of a planned shard, in the order of rows; raises StoreError."""
        return self._plan.shard_rows(shard)

    def committed(self) -> list[int]:
        """Return the shards that have a commit, planned or not."""
        names = (_COMMIT.fullmatch(name) for name in self._folder.names(_COMMITS))
        return sorted(int(match[1]) for match in names if match)

    def pending(self, among: range | None = None) -> list[int]:
        """Return the planned shards, or those of a range of them, that have no commit."""
        done = set(self.committed())
        shards = self.shards if among is None else among
        return [shard for shard in shards if shard in self.shards and shard not in done]

    def space(self, among: range | None = None) -> Space:
        """Return the bytes that the pending shards need at most, and those that are free."""
        videos = sum(len(self.shard_rows(shard)) for shard in self.pending(among))
        return Space(videos * self.layout.row_bytes, self._folder.free())

    def write_shard(self, shard: int, results: Mapping[str, Features | Failure]) -> None:
        """Write a whole shard and commit it; the same results give the same bytes.

        Features that are not finite in the store's dtype become a failure of their row. Where
        another job writes the same shard at the same time with other results, one of the two stays
        whole.

        Args:
            shard: A planned shard; one that was written before is replaced.
            results: What became of each of its videos, and of no other. A video of a committed
                shard may be left out: it keeps what is stored.

        Raises:
            StoreError: The videos are not those of the shard, features have another shape than the
                store's rows, what is to be kept is damaged, or another job goes on writing.
            DiskFull: There is no room. A shard that was committed stays as it was; another one
                stays pending and leaves no files.
        """
        rows = self.shard_rows(shard)
        kept = self._kept(shard, rows, results)
        named = {row: video for row, video in rows.items() if video in results}
        values, records = stored_shard(self.layout, named, results)
        for row, record in kept.items():
            records[row] = record
            if record.status == "ok":
                values[row] = self.read_stored(record.video)
        for _ in range(_ATTEMPTS):
            versions = self._write(shard, values, commit_bytes(shard, records))
            if self._arrays.versions(shard) == versions or self._is_whole(shard):
                self._commits[shard] = records
                return
            self.withdraw(shard)
        raise StoreError(
            f"shard {shard} of {self.url}: another job writes it at the same time with other "
            "results: give the jobs different shards (--shards), then run the same command again"
        )

    def _kept(
        self, shard: int, rows: Mapping[int, str], results: Mapping[str, Features | Failure]
    ) -> dict[int, RowRecord]:
        """Records of the rows that keep what is stored."""
        absent = set(rows.values()).difference(results)
        odd = set(results).difference(rows.values())
        if absent and not odd and self._folder.exists(commit_name(shard)):
            self._commits[shard] = self.shard_records(shard)
            return {r: rec for r, rec in self._commits[shard].items() if rec.video in absent}
        if odd or absent:
            named = ", ".join(sorted({*odd, *absent})[:3])
            raise StoreError(
                f"results must be those of the {len(rows)} videos planned for shard {shard}: "
                f"{named} missing or not among them"
            )
        return {}

    def _write(
        self, shard: int, values: Mapping[int, StoredRow], commit: bytes
    ) -> list[str | None]:
        """Write a shard's arrays and commit; returns the versions of the arrays' files."""
        name = commit_name(shard)

        def ready() -> None:
            # A commit that the coming values would contradict, if this process died now.
            if self._folder.exists(name) and self._folder.read(name) != commit:
                self.withdraw(shard)
            placed.append(shard)

        placed: list[int] = []
        try:
            versions = self._arrays.write(shard, values, ready)
            self._folder.write(name, commit)
        except OSError as error:
            if not is_disk_full(error):
                raise
            if placed:  # the files lie there without a commit: they take room and are worth nothing
                self.withdraw(shard)
                self._arrays.delete(shard)
            raise DiskFull(self._full()) from error
        return versions

    def _is_whole(self, shard: int) -> bool:
        """Tell whether what lies in a shard's files is what its commit, whose ever, says."""
        try:
            for row, record in self.shard_records(shard).items():
                values = {n: a for n, a in self.read_row(row).items() if a is not None}
                if (checksum(values) if values else None) != record.checksum:
                    return False
        except StoreError:
            return False
        return True

    def withdraw(self, shard: int) -> None:
        """Take a shard's commit back: it is pending again, and the next job replaces its files."""
        self._folder.delete(commit_name(shard))
        self._commits.pop(shard, None)

    def shard_records(self, shard: int) -> dict[int, RowRecord]:
        """Return row -> record of a committed shard.

        Raises:
            StoreError: The commit is missing or damaged, or its videos are not the planned ones.
        """
        return self._parsed(shard, self.commit(shard))

    def commit(self, shard: int) -> bytes:
        """Return the content of a shard's commit file; raises StoreError if there is none."""
        try:
            return self._folder.read(commit_name(shard))
        except FileNotFoundError as error:
            raise StoreError(f"shard {shard} of {self.url} is not extracted yet") from error

    def records(self) -> dict[str, RowRecord]:
        """Return video -> record of all committed rows, in the order of rows; see shard_records."""
        return {record.video: record for record in self._row_records().values()}

    def failures(self) -> dict[str, str]:
        """Return video -> reason of all failed videos."""
        records = self.records().values()
        return {rec.video: rec.reason for rec in records if rec.reason is not None}

    def read(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a video's spatial (F, T, D) and motion (C, M) features.

        They are of the layout's `float_dtype`, and each byte was checked against the commit.

        Raises:
            StoreError: As `read_stored`.
        """
        return restored(self.read_stored(video), self.layout)

    def read_stored(self, video: str) -> StoredRow:
        """Return the stored arrays of a video by name, checked against its commit.

        Raises:
            StoreError: The video is not planned, not extracted yet or failed, or its stored values
                are damaged or not those that were committed.
        """
        row = self._plan.rows.get(video)
        if row is None:
            raise StoreError(f"{video} is not in the feature store {self.url}: extract it first")
        shard = row // self.layout.rows_per_shard
        if shard not in self._commits:
            self._commits[shard] = self.shard_records(shard)
        record = self._commits[shard][row]
        if record.status == "failed":
            raise StoreError(f"{video} has no features: {record.reason}")
        where = f"shard {shard}, row {row} ({video})"
        try:
            arrays = self.read_row(row)
        except DiskFull:
            raise  # of the staging folder: nothing is wrong with the store
        except StoreError as error:
            raise StoreError(f"{where}: {error}; `finevq cache repair {self.url}`") from error
        values = {name: array for name, array in arrays.items() if array is not None}
        if len(values) < len(arrays) or checksum(values) != record.checksum:
            raise StoreError(
                f"{where}: the stored values are not those of the commit; "
                f"`finevq cache repair {self.url}`"
            )
        return values

    def read_row(self, row: int) -> dict[str, StoredArray | None]:
        """Return what each array holds in a row, whatever its commit says; None where empty.

        Raises:
            StoreError: A file is missing or damaged.
        """
        return self._arrays.read(row)

    def check_layout(self) -> None:
        """Raise StoreError if videos.parquet or an array's metadata is missing or damaged."""
        rows = len(self.shards) * self.layout.rows_per_shard
        for name, found in self._arrays.lengths().items():
            if found < rows:
                raise StoreError(f"{self.url}/{GROUP}/{name} has {found} rows, {rows} are planned")

    def missing_files(self, shard: int) -> list[str]:
        """Return the names, below the store, of a shard's array files that are not there."""
        return self._arrays.missing(shard)

    def info(self) -> dict[str, Any]:
        """Return what the store holds.

        Returns:
            url, digest, identity (its content), shapes, dtype, rows_per_shard; the numbers of
            shards (planned), committed (shards), planned, ok, failed and pending (videos); bytes
            (of tokens.zarr on disk); failures (reason -> number of videos, most frequent first).
        """
        records = self.records().values()
        status = Counter(record.status for record in records)
        reasons = Counter(rec.reason for rec in records if rec.reason is not None)
        return {
            "url": self.url,
            "digest": self.layout.identity.digest,
            "identity": self.layout.identity.content,
            "shapes": {name: tuple(self.layout.shapes[name]) for name in FEATURES},
            "dtype": self.layout.dtype,
            "rows_per_shard": self.layout.rows_per_shard,
            "shards": len(self.shards),
            "committed": len(self.shards) - len(self.pending()),
            "planned": len(self._plan.videos),
            "ok": status["ok"],
            "failed": status["failed"],
            "pending": len(self._plan.videos) - len(records),
            "bytes": self._folder.size(GROUP),
            "failures": dict(reasons.most_common()),
        }

    @cached_property
    def _plan(self) -> Plan:
        rows_per_shard = self.layout.rows_per_shard
        try:
            data = self._folder.read(VIDEOS)
        except FileNotFoundError:
            return Plan({}, rows_per_shard)
        return Plan.from_bytes(data, rows_per_shard, f"{self.url}/{VIDEOS}")

    def _row_records(self) -> dict[int, RowRecord]:
        shards = [shard for shard in self.committed() if shard in self.shards]
        commits = self._folder.read_many([commit_name(shard) for shard in shards])
        parsed = (self._parsed(*pair) for pair in zip(shards, commits, strict=True))
        return {row: record for rows in parsed for row, record in rows.items()}

    def _full(self) -> str:
        space, left = self.space(), len(self.pending())
        return (
            f"disk full at {self.url}: {left} shards are left, they need {space}: make room, or "
            f"move the store and set cache.path, then run the same command again"
        )

    def _parsed(self, shard: int, data: bytes) -> dict[int, RowRecord]:
        where = f"{self.url}/{commit_name(shard)}"
        records = parse_commit(data, shard, where)
        if {row: record.video for row, record in records.items()} != self.shard_rows(shard):
            raise StoreError(
                f"{where} names other videos than {VIDEOS}: delete it and extract again"
            )
        return records


def commit_name(shard: int) -> str:
    """Return the name of a shard's commit file below the store's folder."""
    return f"{_COMMITS}/{shard:06}.json"
