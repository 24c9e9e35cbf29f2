"""The feature store: planned, written shard by shard and read, by any number of processes.

    store.json             identity and layout
    tokens.zarr/           spatial (rows, F, T, D) and motion (rows, C, M); chunk = 1 row, and
                           spatial_scale (rows, F, T) where tokens have 8 bits
    videos.parquet         row -> video id
    plan/000012.parquet    the same for the rows that were planned from shard 12 on
    commits/000012.json    shard 12 is complete; what each of its rows holds

Commits are the truth: a shard without one does not exist, whatever lies in its files. Each kind of
file has its module: `layout`, `arrays`, `plan` and `commits`; `writing` keeps the order in which a
shard's files are written, `reading` checks what is read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import IdentityMismatch, StoreError
from .arrays.shard_file import StoredArray, StoredRow
from .arrays.zarr_arrays import GROUP, Arrays
from .commits import Commits, committed_shards
from .files.folder import Folder
from .files.space import DiskFull, Space, is_disk_full
from .identity import Identity
from .layout import FEATURES, STORE_JSON, Layout
from .plan import VIDEOS_PARQUET, PlanFiles
from .reading import RowReader
from .records import Failure, Features, RowRecord
from .settings import CacheSettings
from .values import restored
from .writing import ShardWriter

_MAX_DIFFERENCES = 5
"""The most differing values that an error about another identity names."""


class FeatureStore:
    """A feature store in a folder or behind an fsspec URL.

    It can be pickled and opens its files at the first use, in whichever process that is. Any
    number of processes may create it, plan, and write shards at once.
    """

    def __init__(self, url: str, layout: Layout, stage: str = "") -> None:
        """Use `open`, `create` or `open_or_create` instead."""
        self._folder = Folder(url, stage)
        self.url = self._folder.url
        self.layout = layout
        self._arrays = Arrays(self._folder, layout.arrays, layout.rows_per_shard)
        self._plan_files = PlanFiles(
            self._folder, layout.rows_per_shard, partial(committed_shards, self._folder)
        )
        self._commits = Commits(self._folder, self._plan_files)
        self._reader = RowReader(self.url, self._plan_files, self._arrays, self._commits)
        self._writer = ShardWriter(
            self.url, layout, self._plan_files, self._arrays, self._commits, self._reader
        )

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[str, Layout, str]]:
        return type(self), (self.url, self.layout, self._folder.stage)

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
        store = cls._created(url, Layout.of(identity, shapes, settings))
        if store is None:
            raise StoreError(
                f"there is a feature store at {url} already: choose another cache.path"
            )
        return store

    @classmethod
    def _created(cls, url: str, layout: Layout) -> "FeatureStore | None":
        """Make an empty store; None if there is one, or another process makes it first."""
        store = cls(url, layout)
        if store.committed() and not store._folder.exists(STORE_JSON):
            raise StoreError(
                f"{store.url} holds features but no {STORE_JSON}: restore it, or choose another "
                f"cache.path"
            )
        # First, as it decides which of several processes makes the store, and how it is laid out.
        if not store._folder.create(STORE_JSON, layout.to_bytes()):
            return None
        store.plan([])  # makes the arrays
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
        asked = Layout.of(identity, shapes, settings)
        made = None if cls.exists(url) else cls._created(url, asked)
        if made is not None:
            return made
        store = cls.open(url)
        differences = store.layout.difference(asked)
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
        return self._plan_files.plan.shards

    def plan(self, videos: Sequence[str]) -> int:
        """Give a row to every video that has none, from a new shard on.

        Where everything has its place already, nothing is written. What killed writers left
        half-written is removed.

        Returns:
            The number of videos added.

        Raises:
            StoreError: A video is named twice, or an array is not laid out as store.json says.
            PlanDamaged: The plan is damaged or missing, or there are videos to be added and it
                contradicts the commits.
        """
        self._folder.sweep()
        while True:
            known = self._plan_files.read_again()  # another process may have planned since
            plan = known.extended(videos)
            added = len(plan.videos) - len(known.videos)
            if added:
                for shard, rows in self._commits.videos().items():
                    self._plan_files.check(shard, rows)
            # Arrays first: a planned row always has its place, even if this process dies here.
            grown = self._arrays.grow(len(plan.shards) * plan.rows_per_shard)
            if added and self._plan_files.add(known, plan):
                return added
            # Again, if another process has planned meanwhile: what was just written may be shorter
            # than what it wrote.
            if not (added or grown):
                return 0

    def plan_segments(self) -> list[int]:
        """Return the first shard of each file below `plan/`."""
        return self._plan_files.segments()

    def shard_rows(self, shard: int) -> dict[int, str]:
        """Return row -> video of a planned shard, in the order of rows; raises StoreError."""
        return self._plan_files.plan.shard_rows(shard)

    def committed(self) -> list[int]:
        """Return the shards that have a commit, planned or not."""
        return self._commits.shards()

    def pending(self, among: range | None = None) -> list[int]:
        """Return the planned shards without a commit, all of them or those in a range."""
        committed, planned = set(self.committed()), self._plan_files.plan.filled
        shards = self.shards if among is None else among
        return [shard for shard in shards if shard in planned and shard not in committed]

    def space(self, among: range | None = None) -> Space:
        """Return the most bytes that the pending shards, see `pending`, take, and those free."""
        videos = sum(len(self.shard_rows(shard)) for shard in self.pending(among))
        return Space(videos * self.layout.row_bytes, self._folder.free())

    def write_shard(
        self, shard: int, results: Mapping[str, Features | Failure]
    ) -> dict[int, RowRecord]:
        """Write a whole shard and commit it; the same results give the same bytes.

        Features that are not finite in the store's dtype become a failure of their row. Where
        another job writes the same shard at the same time with other results, the results of one
        of the two are stored whole.

        Args:
            shard: A planned shard; one that was written before is replaced.
            results: What became of each of its videos, and of no other. A video of a committed
                shard may be left out: it keeps what is stored.

        Returns:
            row -> record of the whole shard, as they are committed.

        Raises:
            StoreError: The videos are not those of the shard, features have another shape than the
                store's rows, the stored values of a video that was left out are damaged, or
                another job writes the same shard again and again.
            DiskFull: There is no room. A shard that was committed stays as it was; another one
                stays pending and leaves no files.
        """
        try:
            return self._writer.write(shard, results)
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
            StoreError: The commit is missing or damaged.
            PlanDamaged: Its videos are not the planned ones.
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
        """Raise StoreError if the plan or the metadata of an array are missing or damaged."""
        rows = len(self.shards) * self.layout.rows_per_shard
        for name, found in self._arrays.lengths().items():
            if found < rows:
                raise StoreError(
                    f"{self.url}/{GROUP}/{name} has {found} rows, {rows} are planned: "
                    f"`finevq cache repair {self.url}` lengthens it"
                )

    def mend(self) -> list[str]:
        """Make the plan and the arrays' metadata whole, and remove what killed writers left.

        No shard is read, and no commit withdrawn.

        Returns:
            A line for each thing that was done.

        Raises:
            StoreError: Two commits name one video, or an array is not laid out as store.json says.
        """
        done = []
        if self._plan_files.correct(self._commits.videos()):
            done.append(f"{VIDEOS_PARQUET} was made again from the plan and the commits")
        grown = self._arrays.grow(len(self.shards) * self.layout.rows_per_shard)
        done += [f"{name} was made again from {STORE_JSON}" for name in grown]
        removed = self._folder.sweep()
        if removed:
            done.append(
                f"{len(removed)} files of killed writers were removed, {sum(removed) / 1e9:.2f} GB"
            )
        return done

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
        plan, records = self._plan_files.plan, self.records().values()
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
            "shards": len(plan.filled),
            "committed": len(plan.filled) - len(self.pending()),
            "planned": len(plan.videos),
            "ok": status["ok"],
            "failed": status["failed"],
            "pending": len(plan.videos) - len(records),
            "damaged_videos": sum(source.concealed + source.missing > 0 for source in sources),
            "concealed_frames": sum(source.concealed for source in sources),
            "missing_frames": sum(source.missing for source in sources),
            "bytes": self._folder.size(GROUP),
            "failures": dict(reasons.most_common()),
        }
