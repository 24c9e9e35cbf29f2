"""Files on disk that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Create or replace a file; a reader sees the old bytes or the new ones, never a mixture."""
    with partial_file(path, parts) as partial:
        partial.replace(path)
    sync_folder(path.parent)


@contextmanager
def partial_file(path: Path, parts: Iterable[bytes | memoryview]) -> Iterator[Path]:
    """Write bytes to a new file beside a path, and yield its name once they are on the disk.

    The caller renames it to `path`. If it does not, the file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames survive a power cut: a commit must not outlive the shard that it vouches for."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
