"""The Zarr arrays of a store: whole shards are written, single rows are read.

Zarr keeps the arrays' metadata, so that any Zarr reader opens them. The shard files themselves are
written and read by `shard_file`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from ...errors import StoreError, StoreUnavailable
from ..files.folder import Folder
from .shard_file import StoredArray, StoredRow, encode, read_row

GROUP = "tokens.zarr"


@dataclass(frozen=True)
class ArrayLayout:
    """How one array is laid out.

    Attributes:
        shape: Shape of one row.
        dtype: Of the stored values, little endian on every machine.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Arrays:
    """The arrays below `tokens.zarr`; nothing is opened before it is used."""

    def __init__(
        self, folder: Folder, layouts: Mapping[str, ArrayLayout], rows_per_shard: int
    ) -> None:
        """Name the arrays, which need not exist.

        Args:
            folder: The store's.
            layouts: Name of an array -> its layout.
            rows_per_shard: Rows in one shard.
        """
        self._folder = folder
        self._layouts = layouts
        self._rows_per_shard = rows_per_shard

    def create(self) -> None:
        """Make the group and its arrays with no rows; those that exist are left as they are."""
        store = self._folder.zarr_store(GROUP, read_only=False)
        group = zarr.open_group(store, mode="a", zarr_format=3)
        for name in self._layouts:
            if name not in group:
                self._new_array(store, name, rows=0)

    def grow(self, rows: int) -> None:
        """Lengthen the arrays to a number of rows, a multiple of a shard; they never shrink.

        Raises:
            StoreError: An array is missing, damaged or not laid out as store.json says.
        """
        store = self._folder.zarr_store(GROUP, read_only=False)
        for name in self._layouts:
            array = self._open_array(store, name, mode="r+")
            if array.shape[0] < rows:
                array.resize((rows, *array.shape[1:]))

    def lengths(self) -> dict[str, int]:
        """Return the number of rows of each array.

        Raises:
            StoreError: An array is missing, damaged or not laid out as store.json says.
        """
        store = self._folder.zarr_store(GROUP, read_only=True)
        return {name: self._open_array(store, name, mode="r").shape[0] for name in self._layouts}

    def write(
        self,
        shard: int,
        rows: Mapping[int, StoredRow],
        ready: Callable[[], object] = lambda: None,
    ) -> list[str | None]:
        """Write one whole shard of each array; rows that are not given are empty.

        Args:
            shard: Its number.
            rows: Row -> its values.
            ready: See `Folder.write_all`.

        Returns:
            The versions of the shard's files, see `versions`.
        """
        first = shard * self._rows_per_shard
        shard_rows = [rows.get(row) for row in range(first, first + self._rows_per_shard)]
        files = {
            self.file(name, shard): encode(
                [None if row is None else row[name] for row in shard_rows]
            )
            for name in self._layouts
        }
        self._folder.write_all(files, ready)
        return self.versions(shard)

    def versions(self, shard: int) -> list[str | None]:
        """Return texts, one a file of a shard, that change whenever the file is written."""
        return [self._folder.version(self.file(name, shard)) for name in self._layouts]

    def delete(self, shard: int) -> None:
        """Remove a shard's files."""
        for name in self._layouts:
            self._folder.delete(self.file(name, shard))

    def read(self, row: int) -> dict[str, StoredArray | None]:
        """Return the values that each array holds in a row, None where the row is empty.

        Raises:
            StoreError: A file is missing or damaged.
        """
        shard, number = divmod(row, self._rows_per_shard)
        return {
            name: read_row(
                self._folder,
                self.file(name, shard),
                number,
                rows=self._rows_per_shard,
                shape=layout.shape,
                dtype=layout.dtype,
            )
            for name, layout in self._layouts.items()
        }

    def file(self, name: str, shard: int) -> str:
        """Return the name of a shard's file below the store's folder."""
        zeros = "0" * len(self._layouts[name].shape)
        return "/".join([GROUP, name, "c", str(shard), *zeros])

    def missing(self, shard: int) -> list[str]:
        """Return the names of a shard's files that are not there."""
        files = [self.file(name, shard) for name in self._layouts]
        return [file for file in files if not self._folder.exists(file)]

    def _new_array(self, store: Store, name: str, rows: int) -> zarr.Array[Any]:
        layout = self._layouts[name]
        return zarr.create_array(
            store,
            name=name,
            shape=(rows, *layout.shape),
            chunks=(1, *layout.shape),
            shards=(self._rows_per_shard, *layout.shape),
            dtype=layout.dtype,
            filters=None,
            compressors=[Crc32cCodec()],
            # Rows without features read as NaN; 8-bit tokens are NaN by their scale, a float.
            fill_value=float("nan") if layout.dtype.kind == "f" else 0,
        )

    def _open_array(self, store: Store, name: str, mode: Any) -> zarr.Array[Any]:
        where = f"{self._folder.url}/{GROUP}/{name}"
        try:
            # Read here first: zarr's errors do not tell an outage from damage.
            self._folder.read(f"{GROUP}/{name}/zarr.json")
            array = zarr.open_array(store, path=name, mode=mode, zarr_format=3)
        except StoreUnavailable:
            raise
        except Exception as error:  # damaged metadata makes zarr raise many kinds
            raise StoreError(
                f"{where} cannot be opened ({error}): restore its zarr.json"
            ) from error
        # Compared as texts, because NaN, the fill value, does not equal itself.
        expected = self._new_array(MemoryStore(), name, rows=array.shape[0])
        if str(array.metadata.to_dict()) != str(expected.metadata.to_dict()):
            raise StoreError(f"{where} is not laid out as store.json says: restore its zarr.json")
        return array
