"""The Zarr arrays of a store: whole shards are written, single rows are read.

Any Zarr reader opens them. Zarr makes their metadata, which follow from store.json and the number
of planned rows; the shard files are written and read by `shard_file`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.buffer.cpu import Buffer
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from ...errors import StoreError
from ..files.folder import Folder
from .shard_file import StoredArray, StoredRow, encode, read_crcs, read_row

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

    def grow(self, rows: int) -> list[str]:
        """Lengthen the arrays to a number of rows, a multiple of a shard; they never shrink.

        Metadata that are missing, empty or otherwise unreadable are written anew.

        Returns:
            The names of the files that were written.

        Raises:
            StoreError: An array is not laid out as store.json says.
        """
        files = {} if self._group_opens() else {f"{GROUP}/zarr.json": _group_metadata()}
        for name in self._layouts:
            found = self._length(name)
            if found is None or found < rows:
                files[f"{GROUP}/{name}/zarr.json"] = self._metadata(name, rows)
        for file, content in files.items():
            self._folder.write(file, content)
        return list(files)

    def lengths(self) -> dict[str, int]:
        """Return the number of rows of each array.

        Raises:
            StoreError: The metadata of the group or of an array are missing or unreadable, or an
                array is not laid out as store.json says.
        """
        if not self._group_opens():
            raise self._cannot_be_opened(GROUP)
        lengths = {}
        for name in self._layouts:
            rows = self._length(name)
            if rows is None:
                raise self._cannot_be_opened(f"{GROUP}/{name}")
            lengths[name] = rows
        return lengths

    def write(
        self,
        shard: int,
        rows: Mapping[int, StoredRow],
        ready: Callable[[], object] = lambda: None,
    ) -> None:
        """Write one whole shard of each array; rows that are not given are empty.

        Args:
            shard: Its number.
            rows: Row -> its values.
            ready: See `Folder.write_all`.
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

    def crcs(self, shard: int) -> dict[int, list[int]]:
        """Return the checksums that a shard's files give each row, in the order of the arrays.

        The values themselves are not read. A row that is empty has none.

        Raises:
            StoreError: A file is missing or its index is damaged.
        """
        size = self._rows_per_shard
        columns = [read_crcs(self._folder, self.file(n, shard), rows=size) for n in self._layouts]
        rows = enumerate(zip(*columns, strict=True), shard * size)
        return {row: [crc for crc in found if crc is not None] for row, found in rows}

    def file(self, name: str, shard: int) -> str:
        """Return the name of a shard's file below the store's folder."""
        zeros = "0" * len(self._layouts[name].shape)
        return "/".join([GROUP, name, "c", str(shard), *zeros])

    def missing(self, shard: int) -> list[str]:
        """Return the names of a shard's files that are not there."""
        files = [self.file(name, shard) for name in self._layouts]
        return [file for file in files if not self._folder.exists(file)]

    def _length(self, name: str) -> int | None:
        """Return the rows of an array; None where its metadata are missing or unreadable.

        Raises:
            StoreError: The array is not laid out as store.json says.
        """
        content = self._read(f"{GROUP}/{name}/zarr.json")
        try:
            store = MemoryStore({"zarr.json": Buffer.from_bytes(content)})
            found = zarr.open_array(store, mode="r", zarr_format=3).metadata
        except Exception:  # damaged metadata makes zarr raise many kinds
            return None
        rows = int(found.shape[0])
        expected = self._new_array(MemoryStore(), name, rows).metadata
        # Compared as texts, because NaN, the fill value, does not equal itself.
        if str(found.to_dict()) != str(expected.to_dict()):
            raise StoreError(
                f"{self._folder.url}/{GROUP}/{name} is not laid out as store.json says: restore "
                f"the zarr.json or the store.json that belongs here"
            )
        return rows

    def _cannot_be_opened(self, place: str) -> StoreError:
        url = self._folder.url
        return StoreError(
            f"{url}/{place} cannot be opened: its zarr.json is missing or damaged; "
            f"`finevq cache repair {url}` writes it again"
        )

    def _group_opens(self) -> bool:
        """Tell whether the group's metadata are there; zarr itself opens one without any."""
        try:
            return bool(json.loads(self._read(f"{GROUP}/zarr.json"))["node_type"] == "group")
        except (ValueError, KeyError, TypeError):
            return False

    def _read(self, file: str) -> bytes:
        """Return the content of a metadata file, nothing if there is none.

        Raises:
            StoreError: The disk fails.
        """
        try:
            return self._folder.read(file)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreError(
                f"{self._folder.url}/{file} cannot be read ({error.strerror}): mend its disk"
            ) from error

    def _metadata(self, name: str, rows: int) -> bytes:
        """Return the content of an array's zarr.json."""
        files: dict[str, Any] = {}
        self._new_array(MemoryStore(files), name, rows)
        return bytes(files[f"{name}/zarr.json"].to_bytes())

    def _new_array(self, store: MemoryStore, name: str, rows: int) -> zarr.Array[Any]:
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


def _group_metadata() -> bytes:
    """Return the content of the group's zarr.json."""
    files: dict[str, Any] = {}
    zarr.create_group(MemoryStore(files), zarr_format=3)
    return bytes(files["zarr.json"].to_bytes())
