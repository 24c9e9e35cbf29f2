"""The feature store: planned by one process, written shard by shard by many, read by any.

    store.json             identity and layout
    tokens.zarr/           spatial (rows, F, T, D) and motion (rows, C, M); chunk = 1 row, and
                           spatial_scale (rows, F, T) where tokens have 8 bits
    videos.parquet         row -> video id
    commits/000012.json    shard 12 is complete; what each of its rows holds

Commits are the truth: a shard without one does not exist, whatever lies in its files. Each kind of
file has its module: `layout`, `arrays`, `plan` and `commits`; `writing` keeps the order in which a
shard's files are written, `reading` checks what is read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import IdentityMismatch, StoreError
from .arrays.shard_file import StoredArray, StoredRow
from .arrays.zarr_arrays import GROUP, Arrays
from .commits import COMMITS, Commits
from .files.folder import Folder
from .files.space import DiskFull, Space, is_disk_full
from .identity import Identity
from .layout import FEATURES, STORE_JSON, Layout
from .plan import PlanFile
from .reading import RowReader
from .records import Failure, Features, RowRecord
from .settings import CacheSettings
from .values import restored
from .writing import ShardWriter

_MAX_DIFFERENCES = 5
"""The most differing values that an error about another identity names."""


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
        self._plan_file = PlanFile(self._folder, layout.rows_per_shard)
        self._commits = Commits(self._folder, self._plan_file)
        self._reader = RowReader(self.url, self._plan_file, self._arrays, self._commits)
        self._writer = ShardWriter(
            self.url, layout, self._plan_file, self._arrays, self._commits, self._reader
        )

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[str, Layout, str]]:
        return FeatureStore, (self.url, self.layout, self._folder.stage)

    @staticmethod
    def exists(url: str) -> bool:
        """Tell whether there is a store at a path or URL."""
        return Folder(url).exists(STORE_JSON)

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
            data = folder.read(STORE_JSON)
        except FileNotFoundError as error:
            raise StoreError(
                f"no feature store at {url}: run `finevq extract`, or correct cache.path"
            ) from error
        return cls(url, Layout.from_bytes(data, f"{folder.url}/{STORE_JSON}"), stage)

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
            url: A path or fsspec URL; `settings.path` is ignored.
            identity: What the features will be made with.
            shapes: {"spatial": (F, T, D), "motion": (C, M)}, the shape of one row.
            settings: Gives dtype and rows a shard.

        Raises:
            StoreError: There is a store already, or the remains of one.
        """
        store = cls(url, Layout.of(identity, shapes, settings))
        if store._folder.exists(STORE_JSON):
            raise StoreError(
                f"there is a feature store at {url} already: choose another cache.path"
            )
        if store._folder.names(COMMITS):
            raise StoreError(
                f"{store.url} holds features but no {STORE_JSON}: restore it, or choose another "
                f"cache.path"
            )
        store._arrays.create()
        # Last, as it makes the folder a store.
        store._folder.write(STORE_JSON, store.layout.to_bytes())
        return store

    @classmethod
    def open_or_create(
        cls,
        url: str,
        identity: Identity,
        shapes: Mapping[str, tuple[int, ...]],
        settings: CacheSettings,
    ) -> "FeatureStore":
        """Open the store at a path or URL, or make it if there is none; see `create`.

        Raises:
            IdentityMismatch: The store has another identity, other shapes, another dtype or other
                rows a shard.
            StoreError: As `open` and `create`.
        """
        if not cls.exists(url):
            return cls.create(url, identity, shapes, settings)
        store = cls.open(url)
        differences = store.layout.difference(Layout.of(identity, shapes, settings))
        if differences:
            more = len(differences) - _MAX_DIFFERENCES
            shown = differences[:_MAX_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
            raise IdentityMismatch(
                f"the feature store at {url} was made with other settings: {'; '.join(shown)}; "
                f"set these back, or choose another cache.path"
            )
        return store

    @property
    def shards(self) -> range:
        """The planned shards."""
        return self._plan_file.plan.shards

    def plan(self, videos: Sequence[str]) -> int:
        """Give a row to every video that has none, from a new shard on.

        Returns:
            The number of videos added.

        Raises:
            StoreError: A video is named twice.
        """
        known = self._plan_file.read_again()  # another process may have planned since
        plan = known.extended(videos)
        # Arrays first: a planned row always has its place, even if this process dies here.
        self._arrays.grow(len(plan.shards) * plan.rows_per_shard)
        added = len(plan.videos) - len(known.videos)
        if added:
            self._plan_file.write(plan)
        return added

    def shard_rows(self, shard: int) -> dict[int, str]:
        """Return row -> video of a planned shard, in the order of rows; raises StoreError."""
        return self._plan_file.plan.shard_rows(shard)

    def committed(self) -> list[int]:
        """Return the shards that have a commit, planned or not."""
        return self._commits.shards()

    def pending(self, among: range | None = None) -> list[int]:
        """Return the planned shards without a commit, all of them or those in a range."""
        committed = set(self.committed())
        shards = self.shards if among is None else among
        return [shard for shard in shards if shard in self.shards and shard not in committed]

    def space(self, among: range | None = None) -> Space:
        """Return the most bytes that the pending shards, see `pending`, take, and those free."""
        videos = sum(len(self.shard_rows(shard)) for shard in self.pending(among))
        return Space(videos * self.layout.row_bytes, self._folder.free())

    def write_shard(self, shard: int, results: Mapping[str, Features | Failure]) -> None:
        """Write a whole shard and commit it; the same results give the same bytes.

        Features that are not finite in the store's dtype become a failure of their row. Where
        another job writes the same shard at the same time with other results, the results of one
        of the two are stored whole.

        Args:
            shard: A planned shard; one that was written before is replaced.
            results: What became of each of its videos, and of no other. A video of a committed
                shard may be left out: it keeps what is stored.

        Raises:
            StoreError: The videos are not those of the shard, features have another shape than the
                store's rows, the stored values of a video that was left out are damaged, or
                another job writes the same shard again and again.
            DiskFull: There is no room. A shard that was committed stays as it was; another one
                stays pending and leaves no files.
        """
        try:
            self._writer.write(shard, results)
        except OSError as error:
            if not is_disk_full(error):
                raise
            space, pending = self.space(), len(self.pending())
            raise DiskFull(
                f"disk full at {self.url}: {pending} shards are left, they need {space}: make "
                f"room, or move the store and set cache.path, then run the same command again"
            ) from error

    def withdraw(self, shard: int) -> None:
        """Take a shard's commit back: it is pending again, and the next job replaces its files."""
        self._commits.withdraw(shard)

    def shard_records(self, shard: int) -> dict[int, RowRecord]:
        """Return row -> record of a committed shard.

        Raises:
            StoreError: The commit is missing or damaged, or its videos are not the planned ones.
        """
        return self._commits.records(shard)

    def commit_content(self, shard: int) -> bytes:
        """Return the content of a shard's commit file; raises StoreError if there is none."""
        return self._commits.content(shard)

    def records(self) -> dict[str, RowRecord]:
        """Return video -> record of all committed rows, in the order of rows; see shard_records."""
        return {record.video: record for record in self._commits.all_records().values()}

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
        return self._reader.read_video(video)

    def read_row(self, row: int) -> dict[str, StoredArray | None]:
        """Return the values that each array holds in a row, None where the row is empty.

        They are checked against their own checksums, not against the shard's commit.

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
        """Return the names, below the store's folder, of the array files that a shard lacks."""
        return self._arrays.missing(shard)

    def info(self) -> dict[str, Any]:
        """Return what the store holds.

        Returns:
            url, digest, identity (its content), shapes, dtype, rows_per_shard; the numbers of
            shards (planned), committed (shards), planned, ok, failed and pending (videos);
            damaged_videos (of the ok ones), concealed_frames and missing_frames (of these); bytes
            (of tokens.zarr on disk); failures (reason -> number of videos, most frequent first).
        """
        records = self.records().values()
        status = Counter(record.status for record in records)
        sources = [rec.source for rec in records if rec.status == "ok" and rec.source is not None]
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
            "planned": len(self._plan_file.plan.videos),
            "ok": status["ok"],
            "failed": status["failed"],
            "pending": len(self._plan_file.plan.videos) - len(records),
            "damaged_videos": sum(source.concealed + source.missing > 0 for source in sources),
            "concealed_frames": sum(source.concealed for source in sources),
            "missing_frames": sum(source.missing for source in sources),
            "bytes": self._folder.size(GROUP),
            "failures": dict(reasons.most_common()),
        }
