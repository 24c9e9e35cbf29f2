"""The file that HDF5 writes, whose failed writes do not crash the process."""

import io
import os
from pathlib import Path
from typing import Any


class Hdf5Target(io.RawIOBase):
    """A new file that accepts every write.

    HDF5's library crashes the process, or leaves files open, when a write fails. So the first
    error is kept, later writes are dropped, and `check` and `sync` raise the error.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data unless a write has failed; always returns its length."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self._error is None:
                done += self._file.write(view[done:])
        except OSError as error:
            self._error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read as a file does."""
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek as a file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size unless that fails, which is kept as a failed write is."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def check(self) -> None:
        """Raise the first error of a write so far."""
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        """Wait until the file is on the disk; raises as `check`."""
        self.check()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
