"""The bytes of one shard of one array: rows, each with its checksum, and an index of them.

The layout is Zarr's `sharding_indexed` with one row a chunk, chunks of `bytes, crc32c` and the
index at the end, so that plain Zarr reads a store. Writing it here instead of through Zarr saves
copies of whole shards, and reading it here gives the checksum beside the values. Rows without
features take no space. Nothing is compressed, as a network's features hardly shrink
(docs/store.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from awscrt import checksums

from ...errors import StoreError
from ..files.folder import Folder

_EMPTY = 2**64 - 1
"""Offset and length, in the index, of a row without features."""
_INDEX_WORD = np.dtype("<u8")
_CRC = np.dtype("<u4")
_RESIDUE = 0x48674BC7
"""The CRC-32C of any bytes that are followed by their own CRC-32C."""


@dataclass(frozen=True, eq=False)
class StoredArray:
    """The values of one row of one array, as they are stored.

    Attributes:
        values: In the stored dtype, C order.
        crc: CRC-32C of their bytes.
    """

    values: np.ndarray
    crc: int

    @classmethod
    def of(cls, values: np.ndarray) -> "StoredArray":
        """Add the checksum to values of the stored dtype."""
        values = np.ascontiguousarray(values)
        return cls(values, crc32c(values))


StoredRow = Mapping[str, StoredArray]
"""The values of one video by array name, in the order of the store's layout."""


def crc32c(values: np.ndarray) -> int:
    """Return the CRC-32C of an array's bytes, which lie in C order."""
    return int(checksums.crc32c(values.reshape(-1).view(np.uint8)))


def encode(rows: Sequence[StoredArray | None]) -> list[memoryview]:
    """Return the parts of a shard file, in order; None is a row without features."""
    parts, index, offset = [], np.full((len(rows), 2), _EMPTY, _INDEX_WORD), 0
    for number, row in enumerate(rows):
        if row is not None:
            parts += [row.values, np.array(row.crc, _CRC)]
            index[number] = offset, row.values.nbytes + _CRC.itemsize
            offset += int(index[number, 1])
    parts += [index, np.array(crc32c(index), _CRC)]
    return [part.reshape(-1).view(np.uint8).data for part in parts]


def read_row(
    folder: Folder, name: str, number: int, *, rows: int, shape: Sequence[int], dtype: np.dtype[Any]
) -> StoredArray | None:
    """Read one row of a shard file; None for a row without features.

    Args:
        folder: The store's.
        name: Name of the file below it.
        number: Place of the row in the shard, from 0.
        rows: Rows in one shard.
        shape: Shape of one row.
        dtype: Of the stored values.

    Raises:
        StoreError: The file is missing or damaged.
    """
    length = int(np.prod(shape)) * dtype.itemsize
    with _damage_named(name):
        offset, size = map(int, _read_index(folder, name, rows)[number])
        if offset == size == _EMPTY:
            return None
        if size != length + _CRC.itemsize:
            raise ValueError(f"its index gives the row {size} bytes")
        values, crc = _read_checked(folder, name, offset, length)
    return StoredArray(values.view(dtype).reshape(shape), crc)


def read_crcs(folder: Folder, name: str, *, rows: int) -> list[int | None]:
    """Return the checksum behind each row of a shard file; None for a row without features.

    The values are not read, so these are the checksums that were written, not those of the bytes.

    Args:
        folder: The store's.
        name: Name of the file below it.
        rows: Rows in one shard.

    Raises:
        StoreError: The file is missing or its index is damaged.
    """
    with _damage_named(name):
        index = _read_index(folder, name, rows)
        ends = [int(offset) + int(size) for offset, size in index if offset != _EMPTY]
        found = folder.read_ranges(name, [(end - _CRC.itemsize, end) for end in ends])
        crcs = iter([int(np.frombuffer(raw, _CRC)[0]) for raw in found])
    return [None if offset == _EMPTY else next(crcs) for offset, _ in index]


def _read_index(folder: Folder, name: str, rows: int) -> np.ndarray:
    """Read offset and length of each row (rows, 2)."""
    index, _ = _read_checked(folder, name, -(16 * rows + _CRC.itemsize), 16 * rows)
    return index.view(_INDEX_WORD).reshape(rows, 2)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn the errors of a shard file that is missing or damaged into StoreErrors."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{name} is missing") from error
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"{name} cannot be read ({error})") from error


def _read_checked(folder: Folder, name: str, start: int, size: int) -> tuple[np.ndarray, int]:
    """Read bytes and the checksum behind them, compare the two, and return both."""
    raw = np.empty(size + _CRC.itemsize, np.uint8)
    if folder.read_into(name, start, raw) != _RESIDUE:
        raise ValueError("its bytes do not match their checksum")
    return raw[:size], int(raw[size:].view(_CRC)[0])
