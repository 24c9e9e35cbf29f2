"""Writing a whole shard: first its arrays, then its commit.

A commit must never vouch for other values than those in the shard's files, wherever the process
dies, however full the disk is and whichever other job writes the same shard. So

1. all bytes are on the disk before the first file is put in place;
2. a commit with other content is withdrawn before the files that it vouches for are replaced;
3. the commit is written after the files, and then compared with them: the checksums that it names
   were taken before the first file was put in place, so that files which another job has put there
   since are not taken for those of this one.
"""

from collections.abc import Mapping

from ..errors import StoreError
from .arrays.shard_file import StoredRow
from .arrays.zarr_arrays import Arrays
from .commits import Commits, commit_bytes
from .files.space import is_disk_full
from .layout import Layout
from .plan import PlanFiles
from .reading import RowReader
from .records import Failure, Features, RowRecord
from .values import stored_shard

_ATTEMPTS = 3
"""How often a shard is written that another job writes at the same time with other results."""


class ShardWriter:
    """Writes shards of a store."""

    def __init__(
        self,
        url: str,
        layout: Layout,
        plan_files: PlanFiles,
        arrays: Arrays,
        commits: Commits,
        reader: RowReader,
    ) -> None:
        """Take the parts of a store; `url` is for messages."""
        self._url = url
        self._layout = layout
        self._plan_files = plan_files
        self._arrays = arrays
        self._commits = commits
        self._reader = reader

    def write(self, shard: int, results: Mapping[str, Features | Failure]) -> dict[int, RowRecord]:
        """Write a whole shard and commit it; see `FeatureStore.write_shard`.

        Raises:
            StoreError: As `FeatureStore.write_shard`.
            OSError: The disk is full, or fails.
        """
        planned = self._plan_files.plan.shard_rows(shard)
        kept = self._kept_records(shard, planned, results)
        given = {row: video for row, video in planned.items() if video in results}
        values, records = stored_shard(self._layout, given, results)
        for row, record in kept.items():
            records[row] = record
            if record.status == "ok":
                values[row] = self._reader.read_video(record.video)
        content = commit_bytes(shard, records)
        for _ in range(_ATTEMPTS):
            self._write_once(shard, values, content)
            vouched = self._reader.vouched_records(shard)
            if vouched is not None:
                self._commits.remember(shard, vouched)
                return vouched
            self._commits.withdraw(shard)
        raise StoreError(
            f"shard {shard} of {self._url}: another job writes it at the same time with other "
            "results: give the jobs different shards (--shards), then run the same command again"
        )

    def _kept_records(
        self, shard: int, planned: Mapping[int, str], results: Mapping[str, Features | Failure]
    ) -> dict[int, RowRecord]:
        """Return row -> record of the videos without a result, which keep what is stored.

        Raises:
            StoreError: There is a result of a video that is not in the shard, or none of one that
                is, though the shard has no commit.
        """
        missing = set(planned.values()).difference(results)
        foreign = set(results).difference(planned.values())
        content = self._commits.find(shard) if missing and not foreign else None
        if content is not None:
            committed = self._commits.parsed(shard, content)
            self._commits.remember(shard, committed)
            return {row: record for row, record in committed.items() if record.video in missing}
        if foreign or missing:
            names = ", ".join(sorted({*foreign, *missing})[:3])
            raise StoreError(
                f"results must be those of the {len(planned)} videos planned for shard {shard}: "
                f"{names} missing or not among them"
            )
        return {}

    def _write_once(self, shard: int, values: Mapping[int, StoredRow], commit: bytes) -> None:
        """Write a shard's arrays and commit."""
        replacing = False

        def withdraw_other_commit() -> None:
            nonlocal replacing
            if self._commits.find(shard) not in (None, commit):
                self._commits.withdraw(shard)
            replacing = True

        try:
            self._arrays.write(shard, values, withdraw_other_commit)
            self._commits.write(shard, commit)
        except OSError as error:
            if is_disk_full(error) and replacing:
                # Files without a commit are worth nothing, and take room.
                self._commits.withdraw(shard)
                self._arrays.delete(shard)
            raise
