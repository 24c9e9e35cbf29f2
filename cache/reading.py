"""Reading one video's features from a store, checked against their commit."""

from ..errors import StoreError
from .arrays.shard_file import StoredArray, StoredRow
from .arrays.zarr_arrays import Arrays
from .commits import Commits
from .files.space import DiskFull
from .plan import PlanDamaged, PlanFiles
from .records import RowRecord
from .values import checksum, joined


class RowReader:
    """Reads single rows of a store."""

    def __init__(self, url: str, plan_files: PlanFiles, arrays: Arrays, commits: Commits) -> None:
        """Take the parts of a store; `url` is for messages."""
        self._url = url
        self._plan_files = plan_files
        self._arrays = arrays
        self._commits = commits

    def read_video(self, video: str) -> StoredRow:
        """Return the stored arrays of a video by name; see `FeatureStore.read_stored`."""
        plan = self._plan_files.plan
        row = plan.rows.get(video)
        if row is None:
            raise StoreError(f"{video} is not in the feature store {self._url}: extract it first")
        shard = row // plan.rows_per_shard
        record = self._commits.remembered(shard)[row]
        if record.status == "failed":
            raise StoreError(f"{video} has no features: {record.reason}")
        where = f"shard {shard}, row {row} ({video})"
        try:
            arrays = self._arrays.read(row)
        except DiskFull:
            raise  # the stage is full: nothing is wrong with the store
        except StoreError as error:
            raise StoreError(f"{where}: {error}; `finevq cache repair {self._url}`") from error
        values = without_empty(arrays)
        if len(values) < len(arrays) or checksum(values) != record.checksum:
            raise StoreError(
                f"{where}: the stored values are not those of the commit; "
                f"`finevq cache repair {self._url}`"
            )
        return values

    def vouched_records(self, shard: int) -> dict[int, RowRecord] | None:
        """Return row -> record of a shard's commit, whichever job wrote it, if its files match.

        The checksums in the files are compared, as one job may have written the files and another
        the commit. The values are not read. None if there is no commit or something is damaged.

        Raises:
            PlanDamaged: The commit's videos are not the planned ones.
        """
        try:
            records = self._commits.records(shard)
            written = self._arrays.crcs(shard)
        except PlanDamaged:
            raise
        except StoreError:
            return None
        for row, crcs in written.items():
            record = records.get(row)
            expected = record.checksum if record else None
            if (joined(crcs) if crcs else None) != expected:
                return None
        return records


def without_empty(arrays: dict[str, StoredArray | None]) -> dict[str, StoredArray]:
    """Leave out the arrays whose row is empty."""
    return {name: array for name, array in arrays.items() if array is not None}
