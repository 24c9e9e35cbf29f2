"""Reading a whole store back and saying what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import StoreError
from .records import RowRecord
from .store import FeatureStore
from .values import checksum


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `str()` gives it as one line.

    Attributes:
        shard: The shard, None if the whole store is concerned.
        row: The row, None if the whole shard is concerned.
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


def verify(store: FeatureStore) -> Iterator[Problem]:
    """Read every row of every committed shard and yield each problem found.

    A store that is merely unfinished has none.
    """
    try:
        store.check_layout()
    except StoreError as error:
        yield Problem(None, None, None, str(error))
        return
    for shard in store.committed():
        yield from verify_shard(store, shard)


def verify_shard(store: FeatureStore, shard: int) -> Iterator[Problem]:
    """Read every row of one committed shard and yield each problem found."""
    try:
        records = store.shard_records(shard)
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
        what = _row_problem(store, row, record)
        if what:
            yield Problem(shard, row, record.video if record else None, what)


def _row_problem(store: FeatureStore, row: int, record: RowRecord | None) -> str | None:
    try:
        spatial, motion = store.read_row(row)
    except StoreError as error:
        return str(error)
    if record is None or record.status == "failed":
        empty = np.isnan(spatial).all() and np.isnan(motion).all()
        return None if empty else "a row without features must be empty, it holds values"
    if not (np.isfinite(spatial).all() and np.isfinite(motion).all()):
        return "the stored values are not finite"
    if checksum(spatial, motion) != record.checksum:
        return "the stored values do not match their checksum"
    return None
