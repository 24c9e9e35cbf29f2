"""The room that a job needs on the disk, and the error when there is none."""

import errno
from dataclasses import dataclass

from ...errors import StoreError


class DiskFull(StoreError):
    """There is no room for a shard or a file, so there is none for the next one either."""


@dataclass(frozen=True)
class Space:
    """Bytes needed and bytes free; `str()` gives both in GB.

    Attributes:
        needed: The most that the features can take; failed videos take nothing.
        free: Bytes left in the store's file system, None behind a URL.
    """

    needed: int
    free: int | None

    @property
    def enough(self) -> bool:
        """Whether there is room, as far as is known."""
        return self.free is None or self.needed <= self.free

    def __str__(self) -> str:
        free = "" if self.free is None else f", {self.free / 1e9:.2f} GB are free"
        return f"{self.needed / 1e9:.2f} GB{free}"


def is_disk_full(error: OSError) -> bool:
    """Tell a full disk, or an exhausted quota, from other errors."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
