"""A range of a local file: from the page cache where it lies there, from the disk otherwise."""

import os
from io import FileIO

import numpy as np
from awscrt import checksums

_BLOCK = 1 << 18
"""Bytes read at once: few enough to lie in the processor's second cache for their checksum."""

_ADVICE_BYTES = 1 << 21
"""The most that Linux fetches for one call of posix_fadvise."""

# Both are None on systems that lack them.
_ADVISE = getattr(os, "posix_fadvise", None)
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


def read_range(path: str, start: int, buffer: np.ndarray) -> int:
    """Fill a buffer with bytes of a local file.

    Blocks that lie in memory are copied from there. From the first one on that does not, the disk
    is asked for the rest of the range. Linux's own read-ahead would fetch bytes behind it as well.

    Args:
        path: The file.
        start: Its first byte to read; a negative one counts from the end.
        buffer: uint8, one axis.

    Returns:
        The CRC-32C of the bytes, taken while they are in the processor's cache.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file ends before the range does.
    """
    with open(path, "rb", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        first = start if start >= 0 else length + start
        if not 0 <= first <= length - len(buffer):
            raise ValueError(f"{length} bytes are there, {len(buffer)} from {start} on asked for")
        return _read_blocks(file, first, buffer)


def _read_blocks(file: FileIO, first: int, buffer: np.ndarray) -> int:
    """Fill a buffer block by block; returns the CRC-32C."""
    crc, cached = 0, True
    for done in range(0, len(buffer), _BLOCK):
        block, position = buffer[done : done + _BLOCK], first + done
        if cached and not _copied_from_memory(file, position, block):
            cached = False
            _prefetch(file, position, len(buffer) - done)
        if not cached:
            file.seek(position)
            if file.readinto(block.data) != len(block):
                raise ValueError("it ends while it is read")
        crc = checksums.crc32c(block, crc)
    return crc


def _copied_from_memory(file: FileIO, position: int, block: np.ndarray) -> bool:
    """Fill a block if all its bytes lie in memory; False if some do not or the system can't say."""
    if _NOWAIT is None:
        return False
    try:
        return os.preadv(file.fileno(), [block.data], position, _NOWAIT) == len(block)
    except OSError:  # nothing lies there, or this file system always waits
        return False


def _prefetch(file: FileIO, first: int, length: int) -> None:
    """Have the disk begin to read a range, without waiting for it."""
    if _ADVISE is not None:
        for position in range(first, first + length, _ADVICE_BYTES):
            size = min(_ADVICE_BYTES, first + length - position)
            _ADVISE(file.fileno(), position, size, os.POSIX_FADV_WILLNEED)
