"""Reading one video's features from a store, checked against their commit."""

from ..errors import StoreError
from .arrays.shard_file import StoredArray, StoredRow
from .arrays.zarr_arrays import Arrays
from .commits import Commits
from .files.space import DiskFull
from .plan import PlanFile
from .values import checksum


class RowReader:
    """Reads single rows of a store."""

    def __init__(self, url: str, plan_file: PlanFile, arrays: Arrays, commits: Commits) -> None:
        """Take the parts of a store; `url` is for messages."""
        self._url = url
        self._plan_file = plan_file
        self._arrays = arrays
        self._commits = commits

    def read_video(self, video: str) -> StoredRow:
        """Return the stored arrays of a video by name; see `FeatureStore.read_stored`."""
        plan = self._plan_file.plan
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

    def matches_commit(self, shard: int) -> bool:
        """Tell whether a shard's files hold what its commit, whichever job wrote it, records."""
        try:
            for row, record in self._commits.records(shard).items():
                values = without_empty(self._arrays.read(row))
                if (checksum(values) if values else None) != record.checksum:
                    return False
        except StoreError:
            return False
        return True


def without_empty(arrays: dict[str, StoredArray | None]) -> dict[str, StoredArray]:
    """Leave out the arrays whose row is empty."""
    return {name: array for name, array in arrays.items() if array is not None}
