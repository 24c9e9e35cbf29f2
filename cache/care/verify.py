"""Reading every value of a store and naming what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import StoreError
from ..plan import PlanDamaged
from ..reading import without_empty
from ..records import RowRecord
from ..store import FeatureStore
from ..values import checksum, finite

Progress = Callable[[int, int], None]
"""Called with the numbers of shards that are done and of all shards."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `str()` gives it as one line.

    Attributes:
        shard: The shard, None for a problem of the whole store.
        row: The row, None for a problem of the whole shard.
        video: The row's video, None for a row without one.
        what: What is wrong.
    """

    shard: int | None
    row: int | None
    video: str | None
    what: str

    def __str__(self) -> str:
        place = "" if self.shard is None else f"shard {self.shard}"
        place += "" if self.row is None else f", row {self.row}"
        place += "" if self.video is None else f" ({self.video})"
        return f"{place}: {self.what}" if place else self.what


def verify(store: FeatureStore, progress: Progress = lambda *_: None) -> Iterator[Problem]:
    """Read every row of every committed shard and yield each problem found.

    That shards are still pending is no problem.

    Args:
        store: The store, in any state.
        progress: Called after every committed shard, planned or not, and after its problems.
    """
    try:
        store.check_layout()
    except StoreError as error:
        yield Problem(None, None, None, str(error))
        return
    committed = store.committed()
    for done, shard in enumerate(committed, start=1):
        yield from verify_shard(store, shard)
        progress(done, len(committed))


def verify_shard(store: FeatureStore, shard: int) -> Iterator[Problem]:
    """Read every row of one committed shard and yield each problem found."""
    try:
        yield from _shard_problems(store, shard)
    except PlanDamaged as error:
        yield Problem(shard, None, None, str(error))


def repair(store: FeatureStore, shard: int) -> list[Problem]:
    """Verify one committed shard, and withdraw its commit if there is a problem.

    The next job then extracts the shard again. `FeatureStore.mend` comes first.

    Returns:
        The problems.

    Raises:
        PlanDamaged: The plan is at fault, not the shard.
    """
    problems = list(_shard_problems(store, shard))
    if problems:
        store.withdraw(shard)
    return problems


def _shard_problems(store: FeatureStore, shard: int) -> Iterator[Problem]:
    """Yield what is wrong with one committed shard; raises PlanDamaged."""
    try:
        records = store.shard_records(shard)
    except PlanDamaged:
        raise
    except StoreError as error:
        yield Problem(shard, None, None, str(error))
        return
    missing = store.missing_files(shard)
    if missing:
        yield Problem(shard, None, None, f"{' and '.join(missing)} missing: extract it again")
        return
    size = store.layout.rows_per_shard
    for row in range(shard * size, (shard + 1) * size):
        record = records.get(row)
        problem = _row_problem(store, row, record)
        if problem:
            yield Problem(shard, row, record.video if record else None, problem)


def _row_problem(store: FeatureStore, row: int, record: RowRecord | None) -> str | None:
    """Return what is wrong with a row, None if nothing is."""
    try:
        arrays = store.read_row(row)
    except StoreError as error:
        return str(error)
    values = without_empty(arrays)
    if record is None or record.status == "failed":
        return "a row without features must be empty, it holds values" if values else None
    if len(values) < len(arrays):
        return "the row is empty, its commit says that it holds features"
    if not all(finite(array.values) for array in values.values()):
        return "the stored values are not finite"
    if checksum(values) != record.checksum:
        return "the stored values do not match their checksum"
    return None
