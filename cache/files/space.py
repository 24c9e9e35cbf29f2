"""How much room a job needs, and what is said when there is none."""

import errno
from dataclasses import dataclass

from ...errors import StoreError


class DiskFull(StoreError):
    """A shard could not be written for want of room; the next shard could not either."""


@dataclass(frozen=True)
class Space:
    """Bytes; `str()` gives both in GB.

    Attributes:
        needed: What the features will take at most: failed videos take nothing.
        free: What the store's file system has left, None behind a URL.
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
    """Tell a full disk, or a used up quota, from other errors."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
