"""Files of a store by name; a local folder and an fsspec URL look the same."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Literal

import fsspec
import numpy as np
from awscrt import checksums
from fsspec.implementations.local import LocalFileSystem

from ...errors import StoreError
from .atomic import create_file, partial_file, replace_file, sweep, sync_folder
from .outage import outage_reported
from .page_cache import read_range
from .stage import staged_file


class Folder:
    """A folder on disk or behind a URL; names are relative to it, with forward slashes.

    Raises:
        StoreError: The URL's protocol is unknown or the package that serves it is not installed.
        StoreUnavailable: By every method: the place does not answer, or denies access. A file that
            is missing or damaged and a full disk raise OSErrors of their own.
    """

    def __init__(self, url: str, stage: str = "") -> None:
        """Name a folder, which need not exist.

        Args:
            url: A path or fsspec URL.
            stage: A local folder. A file behind a URL of which `read_into` reads a part is first
                copied there, whole. Empty: parts are read from the URL.
        """
        try:
            self._fs, path = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"cannot open {url}: {error}") from error
        self._path: str = path.rstrip("/")
        self.local = isinstance(self._fs, LocalFileSystem)
        # An absolute path: a worker that receives this store may run in another folder.
        self.url = self._path if self.local else url.rstrip("/")
        self.stage = stage
        self._staged: dict[str, str] = {}

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or folder of that name."""
        self._fs.invalidate_cache()  # object stores remember listings; other processes write too
        with self._outage_reported("read"):
            return bool(self._fs.exists(self._path_of(name)))

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""
        with self._outage_reported("read"):
            return bytes(self._fs.cat_file(self._path_of(name)))

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Return the bytes of several files, which object stores fetch at once."""
        paths = [self._path_of(name) for name in names]
        with self._outage_reported("read"):
            return list(self._fs.cat_ranges(paths, None, None, on_error="raise"))

    def read_into(self, name: str, start: int, buffer: np.ndarray) -> int:
        """Fill a buffer with bytes of a file.

        Args:
            name: Name of the file.
            start: Its first byte to read; a negative one counts from the end.
            buffer: uint8, one axis.

        Returns:
            The CRC-32C of the bytes.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file ends before the range does.
        """
        if not self.local and self.stage:
            # The copy is no part of the place: what is wrong with it is no outage.
            return read_range(self._staged_path(name), start, buffer)
        with self._outage_reported("read"):
            if self.local:
                return read_range(self._path_of(name), start, buffer)
            end = start + len(buffer) if start >= 0 else None
            raw = self._fs.cat_file(self._path_of(name), start=start, end=end)
        if len(raw) != len(buffer):
            raise ValueError(f"{len(raw)} of {len(buffer)} bytes are there")
        buffer[:] = np.frombuffer(raw, np.uint8)
        return int(checksums.crc32c(buffer))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return ranges of a file, each from its first byte to before its last.

        Object stores fetch them at once. Raises FileNotFoundError; a range that the file does not
        have comes back shorter.
        """
        starts, ends = [first for first, _ in ranges], [end for _, end in ranges]
        with self._outage_reported("read"):
            paths = [self._path_of(name)] * len(ranges)
            return list(self._fs.cat_ranges(paths, starts, ends, on_error="raise"))

    def write(self, name: str, *parts: bytes | memoryview) -> None:
        """Create or replace a file; a reader sees the old bytes or the new, never a mixture."""
        with self._outage_reported("written"):
            if self.local:
                replace_file(Path(self._path_of(name)), parts)
            else:
                self._fs.pipe_file(self._path_of(name), b"".join(parts))

    def create(self, name: str, content: bytes) -> bool:
        """Create a file unless there is one; of several processes that try at once, one succeeds.

        An object store decides by `If-None-Match`, a disk by a link that must be new. On a server
        that knows neither, a file that another process creates in the same moment is replaced.

        Returns:
            Whether it was created.
        """
        if self.exists(name):
            return False
        with self._outage_reported("written"):
            if self.local:
                return create_file(Path(self._path_of(name)), content)
            try:
                self._fs.pipe_file(self._path_of(name), content, mode="create")
            except OSError:  # FileExistsError from some servers, others have errors of their own
                if self.exists(name):
                    return False
                raise
            return True

    def write_all(
        self, files: Mapping[str, Sequence[bytes | memoryview]], ready: Callable[[], object]
    ) -> None:
        """Create or replace several files; on a disk none is touched if there is no room for all.

        Args:
            files: Name -> the parts of its bytes.
            ready: Called after all bytes are on the disk and before the first file is put in
                place; behind a URL before the first file is written.
        """
        if not self.local:
            ready()
            for name, parts in files.items():
                self.write(name, *parts)
            return
        with self._outage_reported("written"), ExitStack() as stack:
            paths = {Path(self._path_of(name)): parts for name, parts in files.items()}
            partials = {
                path: stack.enter_context(partial_file(path, parts))
                for path, parts in paths.items()
            }
            ready()
            for path, partial in partials.items():
                partial.replace(path)
        for folder in {path.parent for path in paths}:
            sync_folder(folder)

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.exists(name):
            with self._outage_reported("written"), suppress(FileNotFoundError):
                self._fs.rm_file(self._path_of(name))

    def sweep(self) -> list[int]:
        """Remove what killed writers left half-written on a disk; returns the sizes, in bytes.

        Behind a URL nothing is left: an object appears when its last byte is there.
        """
        return sweep(Path(self._path)) if self.local else []

    def clear(self) -> None:
        """Remove the folder and all that is in it."""
        with self._outage_reported("written"):
            if self._fs.exists(self._path):
                self._fs.rm(self._path, recursive=True)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a subfolder, none where it does not exist."""
        self._fs.invalidate_cache()  # as in `exists`
        try:
            with self._outage_reported("read"):
                paths = self._fs.ls(self._path_of(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def size(self, folder: str) -> int:
        """Return the bytes of all files below a subfolder."""
        self._fs.invalidate_cache()
        with self._outage_reported("read"):
            return int(self._fs.du(self._path_of(folder)))

    def free(self) -> int | None:
        """Return the bytes that may still be written here; None behind a URL."""
        if not self.local:
            return None
        existing = Path(self._path)
        while not existing.exists():
            existing = existing.parent
        return shutil.disk_usage(existing).free

    def _staged_path(self, name: str) -> str:
        """Return where a file's copy lies in the stage, after making it if need be."""
        if name not in self._staged:
            with self._outage_reported("read"):
                version = str(self._fs.ukey(self._path_of(name)))
            url = f"{self.url}/{name}"
            self._staged[name] = staged_file(self.stage, url, version, lambda: self.read(name))
        return self._staged[name]

    def _outage_reported(self, action: Literal["read", "written"]) -> AbstractContextManager[None]:
        return outage_reported(self.url, action, local=self.local)

    def _path_of(self, name: str) -> str:
        return f"{self._path}/{name}"
