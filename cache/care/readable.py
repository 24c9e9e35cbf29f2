"""A store for reports, which show the rest of it where a commit is damaged."""

from typing import Any

from ...errors import StoreError
from ..layout import Layout
from ..records import RowRecord
from ..store import FeatureStore


class ReadableStore(FeatureStore):
    """A store that sets damaged commits aside, where a `FeatureStore` raises.

    The videos of their shards count as not extracted.

    Attributes:
        damaged: shard -> what is wrong with its commit, for the damaged commits read so far.
    """

    def __init__(self, url: str, layout: Layout, stage: str = "") -> None:
        """Use `open` instead."""
        super().__init__(url, layout, stage)
        self.damaged: dict[int, str] = {}

    @classmethod
    def open(cls, url: str, stage: str = "") -> "ReadableStore":
        """Open the store at a path or URL; see `FeatureStore.open`."""
        store = super().open(url, stage)
        assert isinstance(store, ReadableStore)
        return store

    def records(self) -> dict[str, RowRecord]:
        """Return video -> record of all rows whose commit can be read, in the order of rows."""
        try:
            return super().records()  # all commits at once
        except StoreError:
            return self._records_one_by_one()

    def _records_one_by_one(self) -> dict[str, RowRecord]:
        found: dict[str, RowRecord] = {}
        for shard in self.committed():
            if shard in self.shards:
                try:
                    found |= {rec.video: rec for rec in self.shard_records(shard).values()}
                except StoreError as error:
                    self.damaged[shard] = str(error)
        return found

    def info(self) -> dict[str, Any]:
        """Return what `FeatureStore.info` returns, and `damaged`."""
        return super().info() | {"damaged": self.damaged}
