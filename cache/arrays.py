"""The two Zarr arrays of a store: whole shards are written, single rows are read.

An empty row is NaN, the fill value, and features are always finite. So a row that was never
written, or whose shard file is gone, cannot be taken for features.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from ..errors import StoreError
from ._files import Folder
from .layout import ARRAYS, Layout

GROUP = "tokens.zarr"

# Tokens of a network hardly compress; higher levels cost time and gain nothing.
_ZSTD_LEVEL = 1


class Arrays:
    """The arrays below `tokens.zarr`; nothing is opened before the first use."""

    def __init__(self, folder: Folder, layout: Layout) -> None:
        self._folder = folder
        self._layout = layout

    def create(self) -> None:
        """Make the group and its arrays with no rows; what is there already stays."""
        store = self._folder.zarr_store(GROUP, read_only=False)
        group = zarr.open_group(store, mode="a", zarr_format=3)
        for name in ARRAYS:
            if name not in group:
                self._new_array(store, name, rows=0)

    def grow(self, rows: int) -> None:
        """Lengthen the arrays to a number of rows, a multiple of a shard; they never shrink."""
        store = self._folder.zarr_store(GROUP, read_only=False)
        for name in ARRAYS:
            array = self._open_array(store, name, mode="r+")
            if array.shape[0] < rows:
                array.resize((rows, *array.shape[1:]))
        self.__dict__.pop("opened", None)  # they were opened with fewer rows

    @cached_property
    def opened(self) -> dict[str, zarr.Array[Any]]:
        """The arrays for reading, by name.

        Raises:
            StoreError: An array is missing, damaged or not laid out as store.json says.
        """
        store = self._folder.zarr_store(GROUP, read_only=True)
        return {name: self._open_array(store, name, mode="r") for name in ARRAYS}

    def write(self, shard: int, blocks: Mapping[str, np.ndarray]) -> None:
        """Write one whole shard of each array.

        zarr would first read the shard that it replaces, and stop if that one is damaged. So zarr
        encodes into memory, and the file is then replaced as a whole.

        Args:
            shard: The shard's number.
            blocks: name -> (rows a shard, *row shape) of the stored dtype; empty rows are NaN.
        """
        for name in ARRAYS:
            files: dict[str, Buffer] = {}
            array = self._new_array(MemoryStore(files), name, rows=self._layout.rows_per_shard)
            array[:] = blocks[name]
            self._folder.write(self.file(name, shard), files[self._key(name, 0)].to_bytes())

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the spatial and motion values of a row, NaN where it is empty.

        Raises:
            StoreError: The bytes are damaged or cannot be read.
        """
        spatial, motion = (self._read(name, row) for name in ARRAYS)
        return spatial, motion

    def file(self, name: str, shard: int) -> str:
        """Return the name of a shard's file below the store's folder."""
        return f"{GROUP}/{self._key(name, shard)}"

    def missing(self, shard: int) -> list[str]:
        """Return the names of a shard's files that are not there."""
        files = [self.file(name, shard) for name in ARRAYS]
        return [file for file in files if not self._folder.exists(file)]

    def _read(self, name: str, row: int) -> np.ndarray:
        array = self.opened[name]
        try:
            return np.asarray(array[row])
        except Exception as error:  # codecs and file systems raise what they like
            why = str(error).split(". ")[0]
            raise StoreError(f"{name} cannot be read ({why})") from error

    def _key(self, name: str, shard: int) -> str:
        return "/".join([name, "c", str(shard), *"0" * len(self._layout.shapes[name])])

    def _new_array(self, store: Store, name: str, rows: int) -> zarr.Array[Any]:
        shape = self._layout.shapes[name]
        return zarr.create_array(
            store,
            name=name,
            shape=(rows, *shape),
            chunks=(1, *shape),
            shards=(self._layout.rows_per_shard, *shape),
            dtype=self._layout.stored_dtype,
            filters=None,
            compressors=[ZstdCodec(level=_ZSTD_LEVEL), Crc32cCodec()],
            fill_value=float("nan"),
            # A shard file then always exists, and looking for empty rows costs a third of a write.
            config={"write_empty_chunks": True},
        )

    def _open_array(self, store: Store, name: str, mode: Any) -> zarr.Array[Any]:
        where = f"{self._folder.url}/{GROUP}/{name}"
        try:
            array = zarr.open_array(store, path=name, mode=mode, zarr_format=3)
        except Exception as error:  # whatever damaged metadata makes zarr raise
            raise StoreError(
                f"{where} cannot be opened ({error}): restore its zarr.json"
            ) from error
        shape, rows = self._layout.shapes[name], self._layout.rows_per_shard
        found = (array.shape[1:], array.dtype, array.chunks, array.shards)
        if found != (shape, self._layout.stored_dtype, (1, *shape), (rows, *shape)):
            raise StoreError(f"{where} is not laid out as store.json says: restore its zarr.json")
        return array
