"""The Zarr arrays of a store: whole shards are written, single rows are read.

Zarr keeps the arrays' metadata, so that any Zarr reader opens them; the shard files themselves
are written and read by `shards`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from ..errors import StoreError, StoreUnavailable
from .files.folder import Folder
from .layout import Layout
from .shards import Stored, encode, read_row
from .values import StoredRow

GROUP = "tokens.zarr"


class Arrays:
    """The arrays below `tokens.zarr`; nothing is opened before it is used."""

    def __init__(self, folder: Folder, layout: Layout) -> None:
        self._folder = folder
        self._layout = layout

    def create(self) -> None:
        """Make the group and its arrays with no rows; what is there already stays."""
        store = self._folder.zarr_store(GROUP, read_only=False)
        group = zarr.open_group(store, mode="a", zarr_format=3)
        for name in self._layout.arrays:
            if name not in group:
                self._new_array(store, name, rows=0)

    def grow(self, rows: int) -> None:
        """Lengthen the arrays to a number of rows, a multiple of a shard; they never shrink.

        Raises:
            StoreError: An array is missing, damaged or not laid out as store.json says.
        """
        store = self._folder.zarr_store(GROUP, read_only=False)
        for name in self._layout.arrays:
            array = self._open_array(store, name, mode="r+")
            if array.shape[0] < rows:
                array.resize((rows, *array.shape[1:]))

    def lengths(self) -> dict[str, int]:
        """Return the number of rows of each array.

        Raises:
            StoreError: An array is missing, damaged or not laid out as store.json says.
        """
        store = self._folder.zarr_store(GROUP, read_only=True)
        return {
            name: self._open_array(store, name, mode="r").shape[0] for name in self._layout.arrays
        }

    def write(
        self,
        shard: int,
        rows: Mapping[int, StoredRow],
        ready: Callable[[], object] = lambda: None,
    ) -> list[str | None]:
        """Write one whole shard of each array; rows that are not given are empty.

        Args:
            shard: Its number.
            rows: What they hold.
            ready: See `Folder.write_all`.

        Returns:
            The versions of its files, see `versions`.
        """
        size = self._layout.rows_per_shard
        places = [rows.get(row) for row in range(shard * size, (shard + 1) * size)]
        files = {
            self.file(name, shard): encode([None if row is None else row[name] for row in places])
            for name in self._layout.arrays
        }
        self._folder.write_all(files, ready)
        return self.versions(shard)

    def versions(self, shard: int) -> list[str | None]:
        """Return what differs from before if a file of a shard has been written since."""
        return [self._folder.version(self.file(name, shard)) for name in self._layout.arrays]

    def delete(self, shard: int) -> None:
        """Remove a shard's files."""
        for name in self._layout.arrays:
            self._folder.delete(self.file(name, shard))

    def read(self, row: int) -> dict[str, Stored | None]:
        """Return what each array holds in a row, None where it is empty.

        Raises:
            StoreError: A file is missing or damaged.
        """
        shard, number = divmod(row, self._layout.rows_per_shard)
        return {
            name: read_row(
                self._folder,
                self.file(name, shard),
                number,
                rows=self._layout.rows_per_shard,
                shape=array.shape,
                dtype=array.dtype,
            )
            for name, array in self._layout.arrays.items()
        }

    def file(self, name: str, shard: int) -> str:
        """Return the name of a shard's file below the store's folder."""
        zeros = "0" * len(self._layout.arrays[name].shape)
        return "/".join([GROUP, name, "c", str(shard), *zeros])

    def missing(self, shard: int) -> list[str]:
        """Return the names of a shard's files that are not there."""
        files = [self.file(name, shard) for name in self._layout.arrays]
        return [file for file in files if not self._folder.exists(file)]

    def _new_array(self, store: Store, name: str, rows: int) -> zarr.Array[Any]:
        array = self._layout.arrays[name]
        return zarr.create_array(
            store,
            name=name,
            shape=(rows, *array.shape),
            chunks=(1, *array.shape),
            shards=(self._layout.rows_per_shard, *array.shape),
            dtype=array.dtype,
            filters=None,
            compressors=[Crc32cCodec()],
            # Rows without features cannot be taken for some; 8-bit ones get it from their scale.
            fill_value=float("nan") if array.dtype.kind == "f" else 0,
        )

    def _open_array(self, store: Store, name: str, mode: Any) -> zarr.Array[Any]:
        where = f"{self._folder.url}/{GROUP}/{name}"
        try:
            self._folder.read(f"{GROUP}/{name}/zarr.json")  # zarr takes an outage for damage
            array = zarr.open_array(store, path=name, mode=mode, zarr_format=3)
        except StoreUnavailable:
            raise
        except Exception as error:  # whatever damaged metadata makes zarr raise
            raise StoreError(
                f"{where} cannot be opened ({error}): restore its zarr.json"
            ) from error
        expected = self._new_array(MemoryStore(), name, rows=array.shape[0])
        if str(array.metadata.to_dict()) != str(expected.metadata.to_dict()):  # NaN is not NaN
            raise StoreError(f"{where} is not laid out as store.json says: restore its zarr.json")
        return array
