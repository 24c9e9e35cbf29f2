"""Files on disk that appear whole or not at all, and what killed writers leave of them."""

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

_SUFFIX = ".partial"
"""How the name of a file ends that is not complete yet."""

_ABANDONED_S = 24 * 3600.0
"""Age from which a partial file has no writer any more, where the file system has no locks."""

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system without hard links, as of memory sticks and some network shares."""


def replace_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Create or replace a file; a reader sees the old bytes or the new ones, never a mixture."""
    with partial_file(path, parts) as partial:
        partial.replace(path)
    sync_folder(path.parent)


def create_file(path: Path, data: bytes) -> bool:
    """Create a file with all its bytes, unless there is one.

    Of several processes that try at once, on whichever machines, one succeeds. Without hard links
    a reader may see the file before all its bytes are there.

    Returns:
        Whether it was created.
    """
    with partial_file(path, [data]) as partial:
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _created_in_place(path, data)
    sync_folder(path.parent)
    return True


@contextmanager
def partial_file(path: Path, parts: Iterable[bytes | memoryview]) -> Iterator[Path]:
    """Write bytes to a new file beside a path, and yield its name once they are on the disk.

    The caller renames it to `path`. If it does not, the file is removed. It is locked as long as
    its writer lives, so that `sweep` leaves it alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, partial = _new_locked_file(path)
    with file:
        try:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            yield partial
        finally:
            partial.unlink(missing_ok=True)


def sweep(folder: Path) -> list[int]:
    """Remove the partial files of writers that were killed, wherever they lie below a folder.

    Those that are still being written stay, and so do all in a folder that cannot be written.

    Returns:
        The sizes of the files removed, in bytes.
    """
    removed = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(_SUFFIX):
                size = _removed(os.path.join(parent, name))
                removed += [] if size is None else [size]
    return removed


def sync_folder(folder: Path) -> None:
    """Make renames survive a power cut: a commit must not outlive the shard that it vouches for."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_locked_file(path: Path) -> tuple[BufferedWriter, Path]:
    """Make an empty file beside a path and lock it; returns the open file and its name."""
    while True:
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_SUFFIX}")
        file = partial.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # no locks in this file system
            return file, partial
        if partial.exists():
            return file, partial
        file.close()  # swept before it was locked


def _removed(partial: str) -> int | None:
    """Remove a partial file if its writer is gone; returns its size, None if it stays."""
    try:
        with open(partial, "r+b") as file:
            found = os.fstat(file.fileno())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None  # its writer lives
            except OSError:  # no locks in this file system
                if time.time() - found.st_mtime < _ABANDONED_S:
                    return None
            os.unlink(partial)
            return found.st_size
    except OSError:  # another process has removed it, or this one may not
        return None


def _created_in_place(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return True
