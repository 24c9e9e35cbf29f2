"""The bytes of one shard file: rows, each with its checksum, and an index of them.

The layout is Zarr's `sharding_indexed` with one row a chunk, chunks of `bytes, crc32c` and the
index at the end, so that plain Zarr reads a store. Writing it here instead of through Zarr saves
copies of whole shards, and reading it here gives the checksum beside the values. Rows without
features take no space. Features of a network hardly compress (docs/store.md), so nothing here
tries to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from awscrt import checksums

from ..errors import StoreError
from .files.folder import Folder

_ABSENT = 2**64 - 1
_WORD = np.dtype("<u8")
_CRC = np.dtype("<u4")
_RESIDUE = 0x48674BC7
"""The CRC-32C of any bytes with their own CRC-32C behind them."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One row of one array.

    Attributes:
        values: In the stored dtype, C order.
        crc: CRC-32C of their bytes.
    """

    values: np.ndarray
    crc: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Stored":
        """Take values of the stored dtype."""
        values = np.ascontiguousarray(values)
        return cls(values, crc32c(values))


def crc32c(values: np.ndarray) -> int:
    """Return the CRC-32C of an array's bytes, which lie in C order."""
    return int(checksums.crc32c(values.reshape(-1).view(np.uint8)))


def encode(rows: Sequence[Stored | None]) -> list[memoryview]:
    """Return the parts of a shard file, in order; None is a row without features."""
    parts, index, offset = [], np.full((len(rows), 2), _ABSENT, _WORD), 0
    for number, row in enumerate(rows):
        if row is not None:
            parts += [row.values, np.array(row.crc, _CRC)]
            index[number] = offset, row.values.nbytes + _CRC.itemsize
            offset += int(index[number, 1])
    parts += [index, np.array(crc32c(index), _CRC)]
    return [part.reshape(-1).view(np.uint8).data for part in parts]


def read_row(
    folder: Folder, name: str, number: int, *, rows: int, shape: Sequence[int], dtype: np.dtype[Any]
) -> Stored | None:
    """Read one row of a shard file; None if it is one without features.

    Args:
        folder: Where the file lies.
        name: The file's.
        number: The row's place in the shard.
        rows: Rows a shard.
        shape: The row's.
        dtype: The stored one.

    Raises:
        StoreError: The file is missing or damaged.
    """
    length = int(np.prod(shape)) * dtype.itemsize
    try:
        places, _ = _checked(folder, name, -(16 * rows + _CRC.itemsize), 16 * rows)
        offset, size = map(int, places.view(_WORD).reshape(rows, 2)[number])
        if offset == size == _ABSENT:
            return None
        if size != length + _CRC.itemsize:
            raise ValueError(f"its index gives the row {size} bytes")
        values, crc = _checked(folder, name, offset, length)
    except FileNotFoundError as error:
        raise StoreError(f"{name} is missing") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{name} cannot be read ({error})") from error
    return Stored(values.view(dtype).reshape(shape), crc)


def _checked(folder: Folder, name: str, start: int, size: int) -> tuple[np.ndarray, int]:
    """Read bytes and the checksum behind them, and return both."""
    raw = np.empty(size + _CRC.itemsize, np.uint8)
    if folder.read_into(name, start, raw) != _RESIDUE:
        raise ValueError("its bytes do not match their checksum")
    return raw[:size], int(raw[size:].view(_CRC)[0])
